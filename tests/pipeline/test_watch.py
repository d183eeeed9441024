"""Who is ended, when, and why: with a clock, a memory and victims that the tests hold in their hands."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from facevid.failures import FailureCode, Stage
from pipeline import watch
from pipeline.config import LimitOptions
from pipeline.marks import in_hand, take_marks
from pipeline.progress import Counters
from pipeline.watch import QUIET_S, Watch

LIMITS = LimitOptions(fetch_s=100.0, fetch_cpu_s=20.0, faces_s=1000.0, fit_s=50.0, stall_s=30.0)
DRIVER, WORKER = 1000, 2000


@dataclass
class Bench:
    """A watch over processes that are only numbers."""

    state: Path
    now_s: float = 0.0
    held_bytes: int = 0
    used_s: float = 0.0
    computed_s: float = 0.0
    dead: set[int] = field(default_factory=set)
    killed: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.watch = Watch(
            self.state, LIMITS, clock=lambda: self.now_s, memory=lambda pid, enough: self.held_bytes,
            cpu=lambda pid: self.computed_s, work=lambda pid: self.used_s, share=lambda workers: 1000 // workers,
        )  # fmt: skip

    def look(self, *times_s: float) -> list[int]:
        for self.now_s in times_s:
            self.watch.look(DRIVER)
        return self.killed


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench(tmp_path)
    monkeypatch.setattr("pipeline.marks.os.getpid", lambda: WORKER)
    monkeypatch.setattr("pipeline.marks.time.monotonic", lambda: made.now_s)
    monkeypatch.setattr("pipeline.progress.os.getpid", lambda: WORKER)
    for module in ("watch", "marks"):
        monkeypatch.setattr(f"pipeline.{module}.is_alive", lambda pid: pid not in made.dead)
    monkeypatch.setattr(watch, "kill", made.killed.append)
    return made


@pytest.mark.parametrize(
    ("stage", "rows", "limit_s"), [(Stage.FETCH, 1, 100.0), (Stage.FIT, 1, 50.0), (Stage.FIT, 3, 150.0)]
)
def test_a_stage_that_takes_too_long_is_ended(bench: Bench, stage: Stage, rows: int, limit_s: float) -> None:
    with in_hand(bench.state, [f"v{n}" for n in range(rows)], stage):
        assert bench.look(1.0, limit_s) == []
        assert bench.look(limit_s + 1, limit_s + 2) == [WORKER]
    verdict = bench.watch.verdict(WORKER)
    assert verdict is not None
    assert (verdict.code, verdict.message) == (
        FailureCode.TIMEOUT, f"{stage} took longer than the limit {stage}_s={getattr(LIMITS, f'{stage}_s'):g}",
    )  # fmt: skip


def test_a_download_that_computes_without_end_is_ended(bench: Bench) -> None:
    bench.computed_s = 1000.0  # of the rows before
    with in_hand(bench.state, ["a"], Stage.FETCH):
        assert bench.look(1.0) == []
        bench.computed_s += 20.0
        assert bench.look(30.0) == []
    with in_hand(bench.state, ["b"], Stage.FETCH):
        assert bench.look(31.0) == []
        bench.computed_s += 20.5
        assert bench.look(60.0) == [WORKER]
    verdict = bench.watch.verdict(WORKER)
    assert verdict is not None
    assert (verdict.code, verdict.message) == (
        FailureCode.TIMEOUT, "fetch computed for longer than the limit fetch_cpu_s=20",
    )  # fmt: skip


def test_frames_are_signs_of_life(bench: Bench) -> None:
    counters = Counters(bench.state, clock=lambda: bench.now_s)
    with in_hand(bench.state, ["a"], Stage.FACES):
        for moment_s in range(0, 200, 20):
            counters.add("decoded_frames")
            assert bench.look(float(moment_s)) == []
        assert bench.look(210.0) == []
        assert bench.look(211.0) == [WORKER]
    verdict = bench.watch.verdict(WORKER)
    assert verdict is not None
    assert (verdict.code, verdict.message) == (
        FailureCode.TIMEOUT, "no frame came for longer than the limit stall_s=30",
    )  # fmt: skip


def test_what_comes_before_a_span_may_take_its_time(bench: Bench) -> None:
    with in_hand(bench.state, ["a"], Stage.FACES, quiet_s=120.0):
        assert bench.look(0.0, 150.0) == []
        assert bench.look(151.0) == [WORKER]


def test_a_worker_that_fills_the_memory_is_ended(bench: Bench) -> None:
    with in_hand(bench.state, ["a"], Stage.FIT):
        bench.held_bytes = 1000
        assert bench.look(1.0) == []
        bench.held_bytes = 1001
        assert bench.look(2.0) == [WORKER]
    verdict = bench.watch.verdict(WORKER)
    assert verdict is not None
    assert verdict.code is FailureCode.OUT_OF_MEMORY


def test_a_worker_that_is_alone_may_hold_what_several_would_share(bench: Bench) -> None:
    bench.held_bytes = 501
    with in_hand(bench.state, ["a"], Stage.FIT):
        assert bench.look(1.0) == []
        bench.watch.expect(workers=2)
        assert bench.look(2.0) == [WORKER]


def test_memory_that_the_user_names_holds_for_any_number_of_workers(bench: Bench) -> None:
    limits = replace(LIMITS, worker_memory_bytes=1 << 28)
    bench.watch = Watch(bench.state, limits, clock=lambda: bench.now_s, memory=lambda pid, enough: bench.held_bytes)
    bench.held_bytes = 1 << 28
    with in_hand(bench.state, ["a"], Stage.FIT):
        bench.watch.expect(workers=100)
        assert bench.look(1.0) == []
        bench.held_bytes += 1
        assert bench.look(2.0) == [WORKER]


def test_a_driver_that_does_not_notice_a_death_is_ended_and_the_dead_is_named(bench: Bench) -> None:
    with pytest.raises(KeyboardInterrupt), in_hand(bench.state, ["a"], Stage.FACES):
        raise KeyboardInterrupt
    bench.dead.add(WORKER)

    assert bench.look(1.0, 15.0) == []
    assert bench.look(17.0) == [DRIVER]
    assert bench.watch.verdict(WORKER) is None
    assert [mark.video_ids for mark in take_marks(bench.state)] == [("a",)]


def test_a_driver_that_has_nothing_in_hand_and_does_nothing_is_ended(bench: Bench) -> None:
    assert bench.look(0.0, QUIET_S) == []
    bench.used_s = 20.0  # it has worked for 20 s meanwhile
    assert bench.look(QUIET_S + 1) == []
    bench.used_s += 0.9 + 0.05 * QUIET_S  # what idle threads use
    assert bench.look(2 * QUIET_S + 1) == []
    assert bench.look(2 * QUIET_S + 2) == [DRIVER]


def test_a_new_wave_starts_without_verdicts(bench: Bench) -> None:
    bench.held_bytes = 2000
    with in_hand(bench.state, ["a"], Stage.FIT):
        bench.look(1.0)
    bench.watch.look(DRIVER + 1)
    assert bench.watch.verdict(WORKER) is None


@pytest.fixture
def heavy() -> Iterator[int]:
    """A real process that holds 200 MB, half of it in a child."""
    code = (
        "import os, sys\nheld = bytearray(100_000_000)\nfor n in range(0, len(held), 4096): held[n] = 1\n"
        "if sys.argv[1:]:\n import subprocess\n"
        " command = [sys.executable, '-c', sys.argv[1]]\n"
        " child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        " child.stdout.readline()\n"
        "print('ready', flush=True)\nsys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


def test_memory_is_that_of_the_whole_family(heavy: int) -> None:
    from pipeline.usage import memory_bytes, work_s

    assert 200e6 < memory_bytes(heavy) < 260e6
    assert memory_bytes(heavy, enough=10**12) >= memory_bytes(heavy)
    assert work_s(heavy) > 0
    assert memory_bytes(2**22 + 1) == work_s(2**22 + 1) == 0


def test_reading_and_writing_is_work(tmp_path: Path) -> None:
    from pipeline.usage import work_s

    before_s = work_s(os.getpid())
    (tmp_path / "x").write_bytes(bytes(100_000_000))
    assert work_s(os.getpid()) - before_s > 4.9


def test_what_was_freed_is_given_back_to_the_system() -> None:
    code = (
        "import os; from pipeline.usage import give_back_memory, memory_bytes\n"
        "many = [b'x' * 100_000 for _ in range(1000)]; last = b'y' * 100_000\n"
        "del many; held = memory_bytes(os.getpid()); give_back_memory(); print(held - memory_bytes(os.getpid()))"
    )
    given_back = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    assert int(given_back) > 80e6


def test_where_nobody_can_tell_no_driver_is_ended_for_doing_nothing(bench: Bench) -> None:
    bench.watch = Watch(bench.state, LIMITS, clock=lambda: bench.now_s, work=None)
    assert bench.look(0.0, 2 * QUIET_S, 4 * QUIET_S) == []
