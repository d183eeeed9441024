from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pretend import Line, pieces
from synthetic import manifest_of, with_options

from facevid.description import DatasetError
from facevid.failures import FailureCode, Stage
from pipeline import retry
from pipeline.config import BuildOptions
from pipeline.faces.options import FacesOptions
from pipeline.fetched_video import FetchedVideo, write_fetched
from pipeline.job import Job, fetch_keys, limited_key
from pipeline.manifest import Manifest, ManifestRow
from pipeline.plan import Plan, write_plan
from pipeline.retry import retry_build, retry_codes, retry_text
from pipeline.row_state import row_state
from pipeline.waves import BuildSummary, Waves


@pytest.fixture
def failed(tmp_path: Path) -> Iterator[Line]:
    """A build of one good row, one that nobody answered for, and one that had no face."""
    line = Line(tmp_path)
    gone = ManifestRow(video_id="gone", url="https://x.org/1")
    rows = (line.row("a"), line.row("dark", b"black"), gone)
    line.run(*rows[:2])
    line.store.commit_failure(Stage.FETCH, fetch_keys(gone, line.job)[1], FailureCode.NETWORK, "no route")
    write_plan(Plan(job=line.job, manifest=manifest_of(*rows)))
    return line


def test_without_codes_all_that_may_pass_is_tried_again() -> None:
    assert retry_codes([]) == {code for code in FailureCode if code.retryable}
    assert retry_codes([FailureCode.NO_FACE]) == {FailureCode.NO_FACE}


def test_codes_that_trying_again_cannot_change_are_refused() -> None:
    with pytest.raises(ValueError, match="only=bad_row, fit_diverged: only another manifest"):
        retry_codes([FailureCode.NETWORK, FailureCode.FIT_DIVERGED, FailureCode.BAD_ROW])


def test_a_dry_run_lists_codes_and_hosts(failed: Line) -> None:
    assert retry_text(failed.job.out).splitlines() == [
        "1 video would be tried again", "       1  network             x.org", "1 would be left alone: 1 no_face",
        "these fail again as they are; where you have changed that, name them: --only CODE[,CODE ...]",
    ]  # fmt: skip
    assert "local files" in retry_text(failed.job.out, [FailureCode.NO_FACE])


def test_a_folder_without_a_build_has_nothing_to_try_again(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no build was begun in .*none"):
        retry_text(tmp_path / "none")


def test_the_build_is_the_same_but_for_the_workers(failed: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def with_workers(rows: Any, out: Path, options: BuildOptions, networks: Path) -> tuple[Job, None]:
        return with_options(failed.job, workers=options.workers), None

    def run_job(job: Job, model: None, rows: Manifest, **others: Any) -> BuildSummary:
        seen.append((job, rows, others["retry"]))
        return BuildSummary(funnel=(), failures={}, counts={}, worker_deaths=0, assembled=True, wall_s=0.0)

    monkeypatch.setattr(retry, "make_job", with_workers)
    monkeypatch.setattr(retry, "run_job", run_job)
    monkeypatch.setattr(retry.assets, "fetch_landmark_networks", lambda: failed.folder)

    assert retry_build(failed.job.out, only=[FailureCode.NETWORK], workers=3, report=print).assembled

    ((job, rows, codes),) = seen
    assert job == with_options(failed.job, workers=3)
    assert [row.video_id for row in rows.rows] == ["a", "dark", "gone"]
    assert codes == {FailureCode.NETWORK}


def test_another_face_model_is_no_retry(failed: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry.assets, "fetch_landmark_networks", lambda: failed.folder)
    monkeypatch.setattr("pipeline.prepare.detector_sha256", lambda options, networks: "e" * 64)

    with pytest.raises(ValueError, match=r"detector_sha256 is eeee.* but was dddd"):
        retry_build(failed.job.out, report=print)


def test_all_spans_that_failed_alike_are_tried_again(tmp_path: Path) -> None:
    line = Line(tmp_path)
    line.job = with_options(line.job, faces=FacesOptions(span_s=20.0))
    row = line.row("talk", b"long broken")
    line.run(row)
    broken = row_state(row, line.job, line.store)
    line.store.commit_failure(Stage.FACES, broken.spans[2].faces_key, FailureCode.CORRUPT, "it too")
    waves = Waves.__new__(Waves)
    waves._job, waves._rows, waves._store = line.job, manifest_of(row), line.store
    waves._retry = frozenset({FailureCode.CORRUPT})
    waves._report = [].append

    waves._prepare()

    states = row_state(row, line.job, line.store).spans
    assert [state.next_stage for state in states] == [Stage.FIT, Stage.FACES, Stage.FACES]
    assert len(pieces(row, line.job)) == 3


def test_a_video_that_was_removed_from_the_store_is_fetched_before_it_is_tried_again(tmp_path: Path) -> None:
    line = Line(tmp_path)
    row = ManifestRow(video_id="talk", url="https://x.org/talk.mp4")
    video = FetchedVideo(
        sha256="a" * 64, path=line.store.video_path("a" * 64), url=row.url, title=None, uploader=None, licence=None,
        fetched_at="2026-11-22T12:00:00Z", bytes=5,
    )  # fmt: skip
    more = with_options(line.job, fetch=replace(line.job.options.fetch, allow_private=True, ignore_opt_out=True))
    for job in (line.job, more):
        key = fetch_keys(row, job)[0]
        line.store.commit(Stage.FETCH, key, lambda folder: write_fetched(folder, video, local=False))
    line.job = more
    (span,) = row_state(row, line.job, line.store).spans
    line.store.commit_failure(Stage.FACES, limited_key(span.faces_key, line.job), FailureCode.TIMEOUT, "too late")
    waves = Waves.__new__(Waves)
    waves._job, waves._rows, waves._store = line.job, manifest_of(row), line.store
    waves._retry = frozenset({FailureCode.TIMEOUT})
    waves._report = [].append

    waves._prepare()

    assert row_state(row, line.job, line.store).next_stage is Stage.FETCH


def test_a_dry_run_does_not_count_what_trying_again_leaves_as_it_is(tmp_path: Path) -> None:
    line = Line(tmp_path)
    options = replace(line.job.options.fetch, max_bytes=3)
    row = line.row("large", b"video")
    line.run(row)
    job = with_options(line.job, fetch=options)
    write_plan(Plan(job=job, manifest=manifest_of(row)))
    failure = row_state(row, job, line.store).failure
    assert failure is not None
    assert failure.code is FailureCode.TOO_LARGE

    assert retry_text(job.out, [FailureCode.TOO_LARGE]).splitlines() == [
        "0 videos would be tried again", "1 would be left alone: 1 too_large",
    ]  # fmt: skip
