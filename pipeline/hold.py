"""A hold on what is being made, over all processes that see the file's locks."""

import fcntl
import hashlib
import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_ASK_EVERY_S = 0.2


@contextmanager
def held(path: Path, name: str, *, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Keep everybody else who asks for a hold of this name waiting for the time of the block.

    The kernel ends the hold with the process. All holds are bytes of one file, so none is left behind.

    Args:
        path: That file; it is made where there is none.
        name: What is held.
        on_wait: Called now and then while another has the hold, and when it has come.
    """
    wanted = _wanted(name)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        while not _try_hold(descriptor, wanted):
            on_wait()
            time.sleep(_ASK_EVERY_S)
        on_wait()
        yield
    finally:
        os.close(descriptor)


def is_held(path: Path, name: str) -> bool:
    """Whether anybody has a hold of this name now, in this process or another, of any machine that sees the locks."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        return not _try_hold(descriptor, _wanted(name))
    finally:
        os.close(descriptor)


def _wanted(name: str) -> bytes:
    place = int(hashlib.sha256(name.encode()).hexdigest()[:15], 16)
    return struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, place, 1, 0)


def _try_hold(descriptor: int, wanted: bytes) -> bool:
    try:
        # Of the open file, not of the process as `lockf` has it: two threads are two as well.
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, wanted)
    except (BlockingIOError, PermissionError):  # POSIX leaves open which of the two
        return False
    return True
