"""Whether locks work in a folder: some network file systems grant every lock, or none, unless mounted for it."""

import fcntl
import os
import secrets
import struct
from collections.abc import Callable
from pathlib import Path

_MEND = (
    "a build needs both flock and locks of byte ranges there: NFS 4, Lustre mounted with `flock`, BeeGFS with "
    "`tuneUseGlobalFileLocks`, or a local disk"
)


def require_locks(folder: Path) -> None:
    """Lock a file of a folder over one of two open descriptions, and see that the other cannot have the lock.

    What this cannot show is whether another machine sees the lock: NFS with `nolock` or `local_lock` keeps it here.

    Args:
        folder: A folder that is there and can be written.

    Raises:
        ValueError: Locks do not work there; saying what to do.
    """
    path = folder / f"lock-check-{secrets.token_hex(6)}"
    first = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        second = os.open(path, os.O_RDWR)
        try:
            for kind, lock in (("flock", _flock), ("byte range", _hold)):
                _require(kind, lock, first, second, folder)
        finally:
            os.close(second)
    finally:
        os.close(first)
        path.unlink()


def _require(kind: str, lock: Callable[[int], None], first: int, second: int, folder: Path) -> None:
    try:
        lock(first)
    except OSError as error:
        raise ValueError(f"{folder} takes no lock ({kind}: {error.strerror}); {_MEND}") from error
    try:
        lock(second)
    except OSError:
        return
    raise ValueError(f"{folder} gives one lock ({kind}) to two at once; {_MEND}")


def _flock(descriptor: int) -> None:
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _hold(descriptor: int) -> None:
    fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0))
