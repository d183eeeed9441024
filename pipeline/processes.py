"""Processes that must not outlive, or outwait, each other.

FnApiRunner waits for ever for a worker process that died: all that shows is a RuntimeError in a thread
(verified with Beam 2.77). So the process that drives a run leaves with a known exit status when it sees it,
and a parent in front of it decides what to do. The other way round, drivers and workers end when the
process they work for does, however it ended.
"""

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

EXIT_WORKER_DIED = 70
DRIVER_VARIABLE = "FACEVID_DRIVER_PID"
"""Tells a worker process which process it works for."""

_EXIT_ORPHAN = 71
_LOOK_EVERY_S = 1.0
_PROC = Path("/proc")
_DEATH_NOTE = "Worker subprocess exited"


def end_with(pid: int) -> None:
    """End this process and all below it, at once and without clean-up, when another ends; if that is gone, now.

    Those below may not know yet whom they work for: Beam's workers take seconds to start, and then wait a minute for
    a driver that is gone.

    Args:
        pid: A process of this machine, the parent or an ancestor.
    """
    try:
        watched = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None
    except ProcessLookupError:
        os._exit(_EXIT_ORPHAN)

    def wait() -> None:
        if watched is not None:
            poller = select.poll()
            poller.register(watched, select.POLLIN)
            poller.poll()
        while is_alive(pid):  # where there are no descriptors of processes, not on Linux
            time.sleep(_LOOK_EVERY_S)
        for below in descendants(os.getpid()):
            kill(below)
        os._exit(_EXIT_ORPHAN)

    threading.Thread(target=wait, name=f"ends with {pid}", daemon=True).start()


def leave_when_a_worker_dies(before_the_others: Callable[[], None]) -> None:
    """Make the death of one of Beam's worker processes end this process with `EXIT_WORKER_DIED`.

    Args:
        before_the_others: Called while the other workers are still alive: the last moment to tell who died.
    """
    before = threading.excepthook

    def hook(raised: threading.ExceptHookArgs) -> None:
        if raised.exc_type is RuntimeError and _DEATH_NOTE in str(raised.exc_value):
            print(f"a worker process died: {raised.exc_value}", file=sys.stderr, flush=True)
            try:
                before_the_others()
            finally:
                for pid in descendants(os.getpid()):
                    kill(pid)
                os._exit(EXIT_WORKER_DIED)
        before(raised)

    threading.excepthook = hook


def leave() -> NoReturn:
    """End this process well, at once: to take torch, Beam and its connections apart takes seconds and does no good."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def worker_died(exit_status: int) -> bool:
    """Whether a driver's exit status means that it, or a worker of it, was killed or crashed.

    A status of 1 or 2 is Python's own way to end with an error: a bug to be told of, not to be survived.
    """
    return exit_status not in {0, 1, 2}


def is_alive(pid: int) -> bool:
    """Whether a process runs, or could; one that has ended and waits for its parent to notice does not."""
    try:
        status = (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return not _PROC.is_dir() and _answers(pid)
    return status.rpartition(")")[2].split()[0] not in {"Z", "X"}


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def descendants(pid: int) -> list[int]:
    """All processes below a process."""
    children: list[int] = []
    try:
        tasks = list((_PROC / str(pid) / "task").iterdir())
    except OSError:  # it ended; glob would raise this only where it ends at the wrong moment
        return []
    for task in tasks:
        try:
            children += [int(child) for child in (task / "children").read_text().split()]
        except OSError:  # the thread ended meanwhile
            continue
    return children + [below for child in children for below in descendants(child)]


def kill(pid: int) -> None:
    """Kill a process; one that is gone is no error."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def kill_group(pid: int) -> None:
    """Kill all processes of a group; one that is gone is no error."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
