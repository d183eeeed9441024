"""The child process that drives one Beam run, and the parent's side of it.

`python -m pipeline.drive --wave FILE` runs what FILE says and exits 0, or `EXIT_WORKER_DIED`, or 1 with a
traceback in the log. Parent and child share the lock of the output, so that it is free only when both are
gone; the child ends with the parent, however that ends.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pipeline.job import Job
from pipeline.marks import Mark, read_marks, take_marks
from pipeline.processes import kill_group, worker_died
from pipeline.stop import look_for_full_disk, make_room_for_reason, take_reason
from pipeline.wave import Wave, row_queue

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
"""Variables that are 1 in every worker: libraries read them when they load."""

_LOOK_EVERY_S = 0.25
_LOG_LINES = 25


class BuildError(Exception):
    """The build cannot go on; what is finished is kept, and running it again resumes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveEnd:
    """How a wave ended.

    Attributes:
        died: Whether a worker process died, and the wave with it.
        left: What those who died by themselves had in hand. Others, who were ended with them, are not to blame.
        resting: Rows that were not asked for as their host is left alone, and until when (monotonic clock, seconds).
    """

    died: bool
    left: tuple[Mark, ...] = ()
    resting: Mapping[int, float] = field(default_factory=dict)


class Driver:
    """Runs waves in child processes, one after the other.

    Args:
        job: The build.
        beam_options: Further options of Beam, checked.
        lock: Descriptor of the output's lock.
        on_wait: Called a few times a second while a child works, with its process id.
    """

    def __init__(self, job: Job, beam_options: Sequence[str], *, lock: int, on_wait: Callable[[int], None]) -> None:
        self._job = job
        self._beam_options = tuple(beam_options)
        self._lock = lock
        self._on_wait = on_wait
        self._folder = job.state / "waves"
        self._folder.mkdir(parents=True, exist_ok=True)
        for old in self._folder.iterdir():
            old.unlink()
        take_reason(job.state)  # of a build that was killed before it could say it
        self._count = 0

    def run(
        self,
        kind: Literal["label", "assemble"],
        rows: Sequence[int],
        *,
        workers: int,
        fit_batch: int = 1,
        hosts: Sequence[str] = (),
        may_rest: bool = False,
        leave_long: bool = False,
    ) -> WaveEnd:
        """Run one wave to its end, good or bad.

        Args:
            kind: Which of the two jobs.
            rows: Places of the rows.
            workers: Worker processes.
            fit_batch: The most spans whose tracks are fitted together.
            hosts: Of a label job, the host that each row waits for: rows are taken as these are free.
            may_rest: Rows whose host is left alone stay as they are; else they fail.
            leave_long: Videos of several spans are only fetched.

        Raises:
            BuildError: The child met a bug, whose traceback the message ends with, or a reason to stop that is none.
        """
        self._count += 1
        name = f"{self._count:05d}-{kind}"
        order, log = self._folder / f"{name}.json", self._folder / f"{name}.log"
        wave = Wave(
            kind=kind, out=self._job.out, rows=tuple(rows), workers=workers, beam_options=self._beam_options,
            parent_pid=os.getpid(), hosts=tuple(hosts), fit_batch=fit_batch, may_rest=may_rest,
            leave_long=leave_long,
        )  # fmt: skip
        wave.begin(order)
        make_room_for_reason(self._job.state)
        with log.open("wb") as output:
            child = subprocess.Popen(
                [sys.executable, "-m", "pipeline.drive", "--wave", str(order)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=_environment(),
                start_new_session=True,
                pass_fds=(self._lock,),
            )
        try:
            while child.poll() is None:
                self._on_wait(child.pid)
                time.sleep(_LOOK_EVERY_S)
        finally:
            # Workers first outlive a child that was killed, and all of them an interrupted parent.
            kill_group(child.pid)
            child.wait()
        held = sorted({video_id for mark in read_marks(self._job.state) for video_id in mark.video_ids})
        # One that was ended by a signal is to blame for what it had in hand itself, not for its workers' rows.
        left = take_marks(self._job.state, died={child.pid})
        # On a full disk, much goes wrong of which that is the cause.
        reason = take_reason(self._job.state)
        if child.returncode in {1, 2}:
            if full := look_for_full_disk([self._job.store_folder, self._job.out]) or reason:
                raise BuildError(f"the build has stopped: {full}")
            tail = "\n".join(log.read_text("utf-8", errors="replace").splitlines()[-_LOG_LINES:])
            hands = f" (in hand: {', '.join(held)})" if held else ""
            raise BuildError(
                f"the {kind} job met an error that is not one video's fault{hands}; {log} ends with:\n{tail}"
            )
        died = worker_died(child.returncode)
        resting = row_queue(order, wave).resting() if kind == "label" and not died else {}
        return WaveEnd(died=died, left=left, resting=resting)


def _environment() -> dict[str, str]:
    # The child must find the very code that its parent runs, wherever it was started.
    root = str(Path(__file__).parents[1])
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return os.environ | dict.fromkeys(ONE_THREAD, "1") | {"PYTHONPATH": os.pathsep.join(paths)}
