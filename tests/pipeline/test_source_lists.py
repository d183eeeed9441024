from pathlib import Path

import pytest
from synthetic import job_in

from facevid.failures import FailureCode, Stage
from pipeline.config import BuildOptions, FetchOptions
from pipeline.job import Job
from pipeline.manifest import ManifestRow
from pipeline.row_state import row_state
from pipeline.source_lists import keep_lists
from pipeline.store import Store

ROWS = [
    ManifestRow(video_id="a", url="https://one.example/a.mp4"), ManifestRow(video_id="b", url="https://two.example/b"),
    ManifestRow(video_id="c", url="c.mp4", subject_id="anna"),
]  # fmt: skip


def job_with(folder: Path, **lists: str) -> Job:
    paths = {}
    for name, text in lists.items():
        paths[name] = folder / f"{name}.source"
        paths[name].write_text(text)
    job = job_in(folder, BuildOptions(fetch=FetchOptions(**paths)))
    keep_lists(job.options.fetch, job.state)
    return job


def denied(job: Job) -> dict[str, str]:
    store = Store(job.store_folder)
    states = {row.video_id: row_state(row, job, store) for row in ROWS}
    failures = {name: state.failure for name, state in states.items() if state.failure is not None}
    assert {(failure.stage, failure.code) for failure in failures.values()} <= {(Stage.FETCH, FailureCode.DENIED)}
    return {name: failure.message for name, failure in failures.items()}


def test_without_lists_nothing_is_denied(tmp_path: Path) -> None:
    assert denied(job_with(tmp_path)) == {}


def test_denied_rows_fail_before_they_are_fetched_and_say_by_which_entry(tmp_path: Path) -> None:
    assert denied(job_with(tmp_path, deny_list="one.example\nid:c\n")) == {
        "a": "denied by list: the deny list has one.example", "c": "denied by list: the deny list has id:c",
    }  # fmt: skip


def test_a_person_is_denied_in_all_rows_that_say_who_it_is(tmp_path: Path) -> None:
    assert denied(job_with(tmp_path, deny_list="subject:anna")) == {
        "c": "denied by list: the deny list has subject:anna"
    }


def test_with_an_allow_list_all_others_are_denied_and_the_deny_list_still_counts(tmp_path: Path) -> None:
    both = denied(job_with(tmp_path, allow_list="one.example\nid:c", deny_list="https://one.example/a.mp4"))

    assert both == {
        "a": "denied by list: the deny list has https://one.example/a.mp4",
        "b": "denied by list: the allow list does not have it",
    }


def test_a_build_judges_by_the_lists_as_they_were_when_it_began(tmp_path: Path) -> None:
    job = job_with(tmp_path, deny_list="one.example")

    (tmp_path / "deny_list.source").write_text("two.example")
    assert set(denied(job)) == {"a"}
    keep_lists(job.options.fetch, job.state)
    assert set(denied(job)) == {"b"}


def test_a_list_that_cannot_be_used_stops_the_build_before_it_begins(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"line 1: 'one two'"):
        job_with(tmp_path, deny_list="one two")
