"""One build at a time per output folder: a lock that the kernel releases when its holder ends, `kill -9` included."""

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from facevid.storage import make_private_folder

_LOCK_PATIENCE_S = 1.0


class StoreBusyError(Exception):
    """Another build is at work on this output."""


@contextmanager
def build_lock(folder: Path) -> Iterator[int]:
    """Hold the lock of an output folder; yields the descriptor, which child processes may share.

    Raises:
        StoreBusyError: Another build holds it; the message says which process, where, and since when.
    """
    make_private_folder(folder)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        deadline = time.monotonic() + _LOCK_PATIENCE_S
        while not _try_lock(descriptor):
            # `is_locked` holds it for a moment; a build holds it for long.
            if time.monotonic() > deadline:
                holder = _holder(descriptor)
                raise StoreBusyError(f"another build{holder} is at work in {folder.parent}; wait for it, or stop it")
            time.sleep(0.02)
        _sign(descriptor)
        yield descriptor
    finally:
        os.close(descriptor)


def _sign(descriptor: int) -> None:
    since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}).encode(), 0)


def _holder(descriptor: int) -> str:
    try:
        found = json.loads(os.pread(descriptor, 4096, 0))
        return f" (process {found['pid']} on {found['host']}, since {found['since']})"
    except (ValueError, TypeError, KeyError):  # it has the lock, but did not sign yet
        return ""


def is_locked(folder: Path) -> bool:
    """Whether a build is at work on this output folder."""
    path = folder / "lock"
    if not path.is_file():
        return False
    try:
        # NFS gives an exclusive lock only to those who may write.
        descriptor = os.open(path, os.O_RDWR)
    except OSError as error:
        if error.errno not in {errno.EACCES, errno.EPERM, errno.EROFS}:
            raise
        descriptor = os.open(path, os.O_RDONLY)
    try:
        return not _try_lock(descriptor)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
