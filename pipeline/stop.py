"""Reasons to stop a build that are neither a video's fault nor a bug, such as a full store or a full disk.

The worker that meets one leaves it in the state folder, and the build's parent says it instead of a traceback. The file
is there, and long enough, before it is needed: on a full disk none could be made.
"""

import errno
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from facevid import storage

_FILE = "stop.txt"
_LONGEST_BYTES = 4096
_FULL_BYTES = 1 << 20
_WORDS = {
    errno.ENOSPC: "there is no space left on the disk of {folder}",
    errno.EDQUOT: "your quota on the disk of {folder} is used up",
    errno.EFBIG: "a file in {folder} would become larger than is permitted here (see `ulimit -f`)",
}
_NEXT = (
    ": make room (`facevid purge DIR`, of the dataset's folder, says what may go from the store), and run the build "
    "again; what is finished is kept"
)


def full_disk(error: OSError, folders: Sequence[Path]) -> str | None:
    """What to say of an error of this machine: in one sentence, if it is that nothing more can be written; else None.

    Args:
        error: What was raised, with the system's number.
        folders: Where the build writes, the largest first.
    """
    if error.errno not in _WORDS:
        return None
    there = [folder for folder in folders if folder.exists()]
    folder = min(there, key=lambda each: shutil.disk_usage(each).free, default=folders[0])
    return _WORDS[error.errno].format(folder=folder) + _NEXT


def look_for_full_disk(folders: Sequence[Path]) -> str | None:
    """The same sentence where one of the folders has no room now: for who cannot know what others met."""
    full = any(shutil.disk_usage(each).free < _FULL_BYTES for each in folders if each.exists())
    return full_disk(OSError(errno.ENOSPC, ""), folders) if full else None


@contextmanager
def leaving_reason(state: Path, folders: Sequence[Path], *others: type[Exception]) -> Iterator[None]:
    """Leave the reason for the parent where the block ends with one; what was raised goes on, and ends the wave.

    Args:
        state: The build's state folder.
        folders: Where the build writes, the largest first.
        others: Exceptions that say by themselves why the build must stop.
    """
    try:
        yield
    except others as error:
        _leave(state, str(error))
        raise
    except OSError as error:
        if reason := full_disk(error, folders):
            _leave(state, reason)
        raise


def make_room_for_reason(state: Path) -> None:
    """Have the place where a reason can be left."""
    storage.write_bytes(state / _FILE, b" " * _LONGEST_BYTES)


def _leave(state: Path, reason: str) -> None:
    data = reason.encode("utf-8", "replace")[:_LONGEST_BYTES].ljust(_LONGEST_BYTES)
    try:
        with (state / _FILE).open("r+b") as file:
            file.write(data)
    except FileNotFoundError:
        storage.write_bytes(state / _FILE, data)


def take_reason(state: Path) -> str | None:
    """The reason that a worker has left, which is removed; None where there is none."""
    path = state / _FILE
    if not path.is_file():
        return None
    reason = path.read_bytes().decode("utf-8", "replace").strip()
    storage.remove(path)
    return reason or None
