"""Looks at the workers from outside, and ends those whose row takes too long or too much memory.

A process that hangs, or that fills the memory, cannot be trusted to notice it. So the parent reads what each
worker has in hand since when (`pipeline.marks`), how much memory it and its decoder hold, and whether it gives signs
of life. It also ends a driver that has nothing in hand and does nothing, or that did not notice the death of a worker:
Beam's local runner can wait for ever.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from facevid.failures import FailureCode, Stage
from pipeline.config import LimitOptions
from pipeline.marks import Mark, read_marks, set_apart_the_dead
from pipeline.processes import is_alive, kill
from pipeline.usage import cpu_s, memory_bytes, memory_per_worker_bytes, work_s

QUIET_S = 300.0
"""A driver with no row in hand that does next to nothing for this long hangs."""

_LOOK_EVERY_S = 0.5
_NOTICED_WITHIN_S = 15.0
_BUSY = 0.05
"""Share of a core's time; Beam's idle threads need less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Why a worker was ended.

    Attributes:
        code: For the failures table.
        message: One sentence for a person, the same for every row that it befalls.
    """

    code: FailureCode
    message: str


class Watch:
    """Watches over the processes of one wave after the other.

    Args:
        state: The build's state folder.
        limits: What one row may cost.
        clock: The machine's monotonic clock, seconds; tests replace it and the two below.
        memory: Memory that a process and those below it hold, bytes.
        cpu: CPU time of a process so far, seconds.
        work: What a process and those below it have done, see `usage.work_s`; None where nobody can tell.
        share: The even share of the machine's memory among so many workers, bytes.
    """

    def __init__(
        self,
        state: Path,
        limits: LimitOptions,
        *,
        clock: Callable[[], float] = time.monotonic,
        memory: Callable[[int, int], int] = memory_bytes,
        cpu: Callable[[int], float] = cpu_s,
        work: Callable[[int], float] | None = work_s,
        share: Callable[[int], int] = memory_per_worker_bytes,
    ) -> None:
        self._state, self._limits, self._share = state, limits, share
        self._clock, self._memory, self._cpu, self._work = clock, memory, cpu, work
        self.expect(workers=1)
        self._driver_pid = 0
        self._looked_s = float("-inf")
        self._verdicts: dict[int, Verdict] = {}
        self._died_s: dict[int, float] = {}
        self._signs: dict[int, tuple[int, float]] = {}
        self._fetching: dict[int, tuple[float, float]] = {}
        self._quiet: tuple[float, float] | None = None

    def expect(self, *, workers: int) -> None:
        """Say how many workers the next wave has: one that is alone may hold what else all of them would share."""
        self._worker_memory_bytes = self._limits.worker_memory_bytes or self._share(workers)

    def verdict(self, pid: int) -> Verdict | None:
        """Why a process of the last wave was ended, if it was ended from here."""
        return self._verdicts.get(pid)

    def look(self, driver_pid: int) -> None:
        """Look at all that is in hand, a few times a second at most.

        Args:
            driver_pid: The process that drives the wave.
        """
        if driver_pid != self._driver_pid:
            self._begin(driver_pid)
        now_s = self._clock()
        if now_s - self._looked_s < _LOOK_EVERY_S:
            return
        self._looked_s = now_s
        marks = read_marks(self._state)
        if marks:
            self._quiet = None
        elif self._does_nothing(driver_pid, now_s):
            kill(driver_pid)
        for mark in marks:
            if not is_alive(mark.pid):
                if now_s - self._died_s.setdefault(mark.pid, now_s) > _NOTICED_WITHIN_S:
                    set_apart_the_dead(self._state)
                    kill(driver_pid)
            elif (verdict := self._judge(mark, now_s)) and mark.pid not in self._verdicts:
                self._verdicts[mark.pid] = verdict
                kill(mark.pid)

    def _begin(self, driver_pid: int) -> None:
        # Process ids may be used again in another wave.
        self._driver_pid = driver_pid
        self._verdicts.clear()
        self._died_s.clear()
        self._signs.clear()
        self._fetching.clear()
        self._quiet = None

    def _judge(self, mark: Mark, now_s: float) -> Verdict | None:
        name = f"{mark.stage.value}_s"
        limit_s: float = getattr(self._limits, name)
        # Rows that are worked on together may take as long as one after the other.
        if now_s - mark.since_s > limit_s * len(mark.video_ids):
            message = f"{mark.stage.value} took longer than the limit {name}={limit_s:g}"
            return Verdict(code=FailureCode.TIMEOUT, message=message)
        if mark.stage is Stage.FETCH and self._computed_s(mark) > self._limits.fetch_cpu_s:
            message = f"fetch computed for longer than the limit fetch_cpu_s={self._limits.fetch_cpu_s:g}"
            return Verdict(code=FailureCode.TIMEOUT, message=message)
        if mark.stage is Stage.FACES and self._silence_s(mark, now_s) > self._limits.stall_s + mark.quiet_s:
            message = f"no frame came for longer than the limit stall_s={self._limits.stall_s:g}"
            return Verdict(code=FailureCode.TIMEOUT, message=message)
        if self._memory(mark.pid, self._worker_memory_bytes) > self._worker_memory_bytes:
            message = f"{mark.stage.value} took more memory than a worker may have; see the limit worker_memory_bytes"
            return Verdict(code=FailureCode.OUT_OF_MEMORY, message=message)
        return None

    def _computed_s(self, mark: Mark) -> float:
        """CPU time of the worker since this row was first seen in its hands."""
        now_s = self._cpu(mark.pid)
        since_s, began_s = self._fetching.get(mark.pid, (mark.since_s, now_s))
        if since_s != mark.since_s:
            began_s = now_s
        self._fetching[mark.pid] = (mark.since_s, began_s)
        return now_s - began_s

    def _silence_s(self, mark: Mark, now_s: float) -> float:
        # Workers write their counters as frames come; see `progress.Counters`.
        written = 0
        for path in (self._state / "progress").glob(f"{mark.pid}-*.json"):
            try:
                written = max(written, path.stat().st_mtime_ns)
            except FileNotFoundError:
                continue
        before, since_s = self._signs.get(mark.pid, (-1, now_s))
        if written != before:
            self._signs[mark.pid] = (written, now_s)
            since_s = now_s
        return now_s - max(since_s, mark.since_s)

    def _does_nothing(self, driver_pid: int, now_s: float) -> bool:
        if self._work is None:
            return False
        done_s = self._work(driver_pid)
        if self._quiet is None or done_s - self._quiet[1] > 1 + _BUSY * (now_s - self._quiet[0]):
            self._quiet = (now_s, done_s)
        return now_s - self._quiet[0] > QUIET_S
