"""What has been had under which rules, and whether it is asked for again."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from pretend import Line
from synthetic import with_options

from facevid.failures import FailureCode, Stage
from pipeline.fetched_video import FetchedVideo, write_fetched
from pipeline.job import Job, fetch_keys
from pipeline.manifest import ManifestRow
from pipeline.row_state import row_state

ROW = ManifestRow(video_id="a", url="https://x.org/a.mp4")
RULES = list(product([False, True], repeat=2))


def under(line: Line, rules: tuple[bool, bool]) -> Job:
    allow_private, ignore_opt_out = rules
    fetch = replace(line.job.options.fetch, allow_private=allow_private, ignore_opt_out=ignore_opt_out)
    return with_options(line.job, fetch=fetch)


def have(line: Line, job: Job, sha256: str) -> None:
    video = FetchedVideo(
        sha256=sha256, path=line.store.video_path(sha256), url=ROW.url, title=None, uploader=None, licence=None,
        fetched_at="2026-11-22T12:00:00Z", bytes=5,
    )  # fmt: skip
    key = fetch_keys(ROW, job)[0]
    line.store.commit(Stage.FETCH, key, lambda folder: write_fetched(folder, video, local=False))


@pytest.mark.parametrize("had", RULES)
def test_a_video_is_not_asked_for_again_where_no_less_is_permitted_than_when_it_was_had(
    had: tuple[bool, bool], tmp_path: Path
) -> None:
    line = Line(tmp_path)
    have(line, under(line, had), "a" * 64)

    for now in RULES:
        is_had = row_state(ROW, under(line, now), line.store).next_stage is not Stage.FETCH
        assert is_had is all(before <= after for before, after in zip(had, now, strict=True))


def test_what_was_had_under_the_very_rules_of_now_comes_first(tmp_path: Path) -> None:
    line = Line(tmp_path)
    for rules, letter in zip(RULES, "abcd", strict=True):
        have(line, under(line, rules), letter * 64)

    found = [row_state(ROW, under(line, rules), line.store).fetched for rules in RULES]

    assert [video and video.sha256[0] for video in found] == ["a", "b", "c", "d"]


def test_what_failed_is_asked_for_again_where_more_is_permitted(tmp_path: Path) -> None:
    line = Line(tmp_path)
    line.store.commit_failure(Stage.FETCH, fetch_keys(ROW, line.job)[1], FailureCode.OPT_OUT, "reserved")

    assert row_state(ROW, line.job, line.store).next_stage is None
    assert row_state(ROW, under(line, (False, True)), line.store).next_stage is Stage.FETCH
