"""What processes use and do, read off /proc: memory shared fairly, CPU time, bytes. Elsewhere nothing is known."""

import ctypes
import gc
import os
from pathlib import Path

from pipeline.memory_limit import memory_limit_bytes
from pipeline.processes import descendants

_PROC = Path("/proc")
_SHARE = 0.9
_BYTES_PER_S = 20e6


def can_watch() -> bool:
    """Whether this system tells what processes use."""
    return (_PROC / "self" / "smaps_rollup").exists()


def memory_bytes(pid: int, enough: int = 0) -> int:
    """Memory that a process and all below it hold: proportional set size, so that shared pages count once.

    Args:
        pid: A process of this machine; one that is gone holds nothing.
        enough: Where the resident sizes, which are cheap to read but count shared pages several times, sum up to no
            more than this, that sum is the answer.
    """
    tree = [pid, *descendants(pid)]
    resident = sum(_resident_bytes(each) for each in tree)
    return resident if resident <= enough else sum(_proportional_bytes(each) for each in tree)


def work_s(pid: int) -> float:
    """What a process and those now below it have done: CPU time, seconds, and reads and writes at 20 MB a second."""
    return sum(cpu_s(each) + _moved_bytes(each) / _BYTES_PER_S for each in (pid, *descendants(pid)))


def cpu_s(pid: int) -> float:
    """CPU time of one process so far, without those below it, seconds; 0 where it is gone."""
    try:
        words = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def memory_per_worker_bytes(workers: int) -> int:
    """A fair share of the memory that this process may use with those below it, a tenth left to others."""
    return int(_SHARE * memory_limit_bytes()) // workers


def give_back_memory() -> None:
    """Give back to the system all that this process no longer needs, where that can be told."""
    gc.collect()
    give_back_freed()


def give_back_freed() -> None:
    """Give back to the system what this process has freed and its C library keeps for later: some milliseconds."""
    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:  # glibc
        trim(0)


def _resident_bytes(pid: int) -> int:
    try:
        return int((_PROC / str(pid) / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _proportional_bytes(pid: int) -> int:
    try:
        text = (_PROC / str(pid) / "smaps_rollup").read_text()
    except PermissionError:
        return _resident_bytes(pid)
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:")), 0)


def _moved_bytes(pid: int) -> int:
    try:
        text = (_PROC / str(pid) / "io").read_text()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith(("rchar:", "wchar:")))
