import json
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pretend import Line
from synthetic import manifest_of

from facevid.description import DESCRIPTION_FILE, DatasetError
from facevid.failures import FailureCode, Stage
from pipeline import funnel
from pipeline.job import fetch_keys
from pipeline.manifest import BadRow, ManifestRow
from pipeline.marks import in_hand
from pipeline.output_lock import StoreBusyError, build_lock
from pipeline.plan import Plan, write_plan
from pipeline.progress import Counters
from pipeline.row_state import RowState, row_state
from pipeline.run_record import write_begin
from pipeline.status import render, status
from pipeline.tell import LookTeller, duration_text, quiet_s, time_left_s


def test_a_running_build_tells_who_does_what_and_how_long_it_will_take(tmp_path: Path) -> None:
    line = Line(tmp_path)
    rows = [line.row("a"), line.row("b", b"another"), line.row("dark", b"black")]
    line.run(rows[0], rows[2])
    write_plan(Plan(job=line.job, manifest=manifest_of(*rows)))
    begun = datetime.now(UTC) - timedelta(seconds=100)
    write_begin(line.job.state, begun.strftime("%Y-%m-%dT%H:%M:%SZ"), todo=4)
    counters = Counters(line.job.state)
    counters.add("read", 2)
    counters.add("videos", 2)
    counters.flush()

    with build_lock(line.job.state), in_hand(line.job.state, ["b"], Stage.FACES):
        seen = status(line.job.out)

    assert (seen.running, seen.finished, seen.videos, seen.videos_done) == (True, False, 3, 2)
    assert [(hand.video_ids, hand.stage, hand.pid) for hand in seen.in_hand] == [(("b",), "faces", os.getpid())]
    assert seen.left_s == pytest.approx(100, abs=5)
    text = render(seen)
    assert "running" in text
    assert f"  b (process {os.getpid()})" in text
    plain = json.loads(seen.to_json())
    assert plain["failures"] == {"no_face": 1}
    ((said,),) = plain["examples"].values()
    assert said.startswith("dark: ")
    assert said in text
    assert plain["in_hand"][0]["video_ids"] == ["b"]
    assert plain["funnel"][0]["entered"] == 3


def test_a_build_that_is_not_finished_says_what_failed_without_what_lets_someone_in(tmp_path: Path) -> None:
    line = Line(tmp_path)
    gone = ManifestRow(video_id="gone", url="https://x.org/1?token=abc")
    said = f"no answer from {gone.url}"
    line.store.commit_failure(Stage.FETCH, fetch_keys(gone, line.job)[1], FailureCode.NETWORK, said)
    bad = [BadRow(line=line, video_id="b", url="", reason=f"url: {line} is none") for line in (4, 7)]
    write_plan(Plan(job=line.job, manifest=replace(manifest_of(gone), bad_rows=tuple(bad))))

    seen = status(line.job.out)

    assert seen.examples == {
        "bad_row": ("line 4: url: 4 is none", "line 7: url: 7 is none"),
        "network": ("gone: no answer from https://x.org/1?token=removed",),
    }
    assert dict(seen.failures) == {"bad_row": 2, "network": 1}


def test_a_finished_dataset_says_of_each_code_the_first_few_things_that_were_said(
    write_dataset: Callable[..., Path], toy_track: Callable[..., Any]
) -> None:
    said = ["clips/a.mp4 is a local path; --allow-local permits them", "second", "third", "fourth"]
    failures = [
        {"video_id": name, "track": None, "url": "u", "stage": "fetch", "code": "denied", "retryable": False,
         "attempt": 1, "message": message}
        for name, message in zip("abcde", [said[0], *said], strict=True)
    ]  # fmt: skip
    out = write_dataset(toy_track(video_id="v"), shards=1, failures=failures)
    described = json.loads((out / DESCRIPTION_FILE).read_text())
    described["funnel"][0] |= {"step": "fetch", "unit": "videos"}
    (out / DESCRIPTION_FILE).write_text(json.dumps(described))

    seen = status(out)

    assert seen.failures == (("denied", 5),)
    shown = [f"a: {said[0]}", "c: second", "d: third"]
    assert json.loads(seen.to_json())["examples"] == {"denied": shown}
    lines = render(seen).splitlines()
    first = lines.index(f"  denied                    5  {shown[0]}")
    assert [line.strip() for line in lines[first + 1 :]] == shown[1:]


def test_looking_at_a_build_makes_nothing(tmp_path: Path) -> None:
    line = Line(tmp_path)
    write_plan(Plan(job=line.job, manifest=manifest_of(line.row("a"))))
    before = sorted(tmp_path.rglob("*"))

    assert not status(line.job.out).running

    assert sorted(tmp_path.rglob("*")) == before
    with pytest.raises(DatasetError, match=r"no build was begun in .*none: it is not there$"):
        status(tmp_path / "none")
    with pytest.raises(DatasetError, match=r"no build was begun in .*: it holds no dataset$"):
        status(tmp_path)
    assert not (tmp_path / "none").exists()


def test_a_second_build_is_told_who_is_at_work(tmp_path: Path) -> None:
    who = rf"another build \(process {os.getpid()} on .+, since 20\d\d-.+ UTC\) is at work in .*; wait for it"
    with build_lock(tmp_path / ".build"), pytest.raises(StoreBusyError, match=who), build_lock(tmp_path / ".build"):
        pass


def test_time_left_goes_by_seconds_of_video_where_they_are_known() -> None:
    # Three short videos are done, one of two hours has only begun.
    counts = {"videos": 3.0, "read": 3.0, "begun": 4.0, "video_s": 3 * 30.0 + 7200.0, "searched_s": 90.0}

    left_s = time_left_s(counts, todo=4, elapsed_s=60.0)

    # By videos it would be 20 s.
    assert left_s == pytest.approx(60 * 7200 / 90)
    assert time_left_s({"videos": 4.0, "read": 4.0}, todo=4, elapsed_s=60.0) is None
    assert time_left_s({}, todo=4, elapsed_s=60.0) is None
    assert time_left_s({}, todo=0, elapsed_s=60.0) is None


def test_time_left_runs_down_while_one_row_goes_on_and_then_nobody_can_tell() -> None:
    counts = {"videos": 63.0, "read": 63.0, "begun": 64.0, "video_s": 64 * 30.0, "searched_s": 63 * 30.0}
    first = time_left_s(counts, todo=64, elapsed_s=630.0)
    assert first is not None

    waits_s = (0.0, 4.0, 8.0, 60.0, 6000.0)
    later = [time_left_s(counts, todo=64, elapsed_s=630.0 + wait_s, since_s=wait_s) for wait_s in waits_s]

    assert later == [first, pytest.approx(first - 4), pytest.approx(first - 8), None, None]


def test_nothing_was_finished_since_the_last_thing_was_begun() -> None:
    assert quiet_s([700.0, 12.0, 40.0]) == 12.0
    assert quiet_s([]) == 0.0


@pytest.mark.parametrize(("seconds", "text"), [(7.4, "7 s"), (119.0, "119 s"), (600.0, "10 min"), (9000.0, "2.5 h")])
def test_durations_are_said_as_people_say_them(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_the_folder_of_a_builds_own_affairs_is_its_users_own(tmp_path: Path) -> None:
    with build_lock(tmp_path / "out" / ".build"):
        pass

    assert stat.S_IMODE((tmp_path / "out" / ".build").stat().st_mode) == 0o700
    assert (tmp_path / "out").stat().st_mode & 0o055  # datasets are for others too, where the user lets them


def test_each_row_is_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line(tmp_path)
    rows = [line.row(name, name.encode()) for name in ("video", "black", "broken")]
    line.run(*rows[:2])
    write_plan(Plan(job=line.job, manifest=manifest_of(*rows)))
    looked: list[str] = []

    def look(row: ManifestRow, *rest: Any) -> RowState:
        looked.append(row.video_id)
        return row_state(row, *rest)

    monkeypatch.setattr(funnel, "row_state", look)
    seen = status(line.job.out)

    assert looked == ["video", "black", "broken"]
    assert (seen.videos_done, seen.failures) == (2, (("no_face", 1),))


def test_a_look_at_very_many_rows_tells_rate_and_time_left() -> None:
    now_s, lines = 0.0, []
    teller = LookTeller("counting results", 100_000, lines.append, clock=lambda: now_s)
    for _ in range(25_000):
        now_s += 1e-3
        teller.seen()

    # A line every five seconds or so, none in the first five.
    assert 3 <= len(lines) <= 5
    assert lines[0] == "counting results: 5120 of 100000 rows, 1000 a second, about 95 s left"
