import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from facevid.failures import Stage
from pipeline.marks import in_hand, read_marks, set_apart_the_dead, take_marks

ROOT = Path(__file__).parents[2]
TAKE_AND_DIE = """
import os, sys
from pathlib import Path
from facevid.failures import Stage
from pipeline.marks import in_hand
with in_hand(Path(sys.argv[1]), sys.argv[2:], Stage.FACES):
    os._exit(9)
"""


def one_that_dies(state: Path, *video_ids: str) -> None:
    subprocess.run([sys.executable, "-c", TAKE_AND_DIE, str(state), *video_ids], cwd=ROOT, check=False)


def test_a_mark_says_who_has_what_in_hand_since_when(tmp_path: Path) -> None:
    before_s = time.monotonic()
    with in_hand(tmp_path, ["a", "b"], Stage.FIT):
        (mark,) = read_marks(tmp_path)
    assert (mark.video_ids, mark.stage, mark.pid) == (("a", "b"), Stage.FIT, os.getpid())
    assert before_s <= mark.since_s <= time.monotonic()
    assert read_marks(tmp_path) == ()


def test_rows_that_waited_begin_anew(tmp_path: Path) -> None:
    with in_hand(tmp_path, ["a"], Stage.FETCH) as begin:
        (before,) = read_marks(tmp_path)
        begin()
        (after,) = read_marks(tmp_path)
    assert (after.video_ids, after.stage) == (before.video_ids, before.stage)
    assert after.since_s > before.since_s
    assert read_marks(tmp_path) == ()


def test_two_processes_may_have_parts_of_one_video_in_hand(tmp_path: Path) -> None:
    one_that_dies(tmp_path, "a")
    with in_hand(tmp_path, ["a"], Stage.FACES):
        assert [mark.video_ids for mark in read_marks(tmp_path)] == [("a",), ("a",)]
    assert len(read_marks(tmp_path)) == 1


def test_a_mark_stays_where_work_ends_badly(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="crash"), in_hand(tmp_path, ["a"], Stage.FETCH):
        raise RuntimeError("crash")
    assert [mark.video_ids for mark in read_marks(tmp_path)] == [("a",)]


def test_the_dead_are_told_from_those_who_were_ended_with_them(tmp_path: Path) -> None:
    one_that_dies(tmp_path, "poison")
    with suppress(KeyboardInterrupt), in_hand(tmp_path, ["innocent"], Stage.FACES):
        set_apart_the_dead(tmp_path)
        raise KeyboardInterrupt

    assert [mark.video_ids for mark in take_marks(tmp_path)] == [("poison",)]
    assert read_marks(tmp_path) == take_marks(tmp_path) == ()


def test_who_is_known_to_have_died_needs_no_witness(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), in_hand(tmp_path, ["a"], Stage.FACES):
        raise KeyboardInterrupt

    assert [mark.video_ids for mark in take_marks(tmp_path, died={os.getpid()})] == [("a",)]


def test_no_marks_are_no_error(tmp_path: Path) -> None:
    assert read_marks(tmp_path) == take_marks(tmp_path) == ()
    set_apart_the_dead(tmp_path)


def test_a_mark_that_another_sets_apart_first_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one_that_dies(tmp_path, "poison")
    rename = Path.rename

    def twice(path: Path, target: Path) -> None:
        rename(path, target)
        rename(path, target)

    monkeypatch.setattr(Path, "rename", twice)

    set_apart_the_dead(tmp_path)

    assert [mark.video_ids for mark in take_marks(tmp_path)] == [("poison",)]
