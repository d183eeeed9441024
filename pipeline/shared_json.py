"""A small file of JSON that several processes change, one after the other.

Who changes it may be killed, or find the disk full, at any moment; what others then find is what was there before. So
a new file takes the place of the old one, and the lock is on another that stays.
"""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def begin_shared(path: Path, plain: dict[str, Any]) -> None:
    """Make the file anew, before anybody shares it."""
    path.write_text(json.dumps(plain))
    _lock_of(path).touch()


@contextmanager
def shared_json(path: Path) -> Iterator[dict[str, Any]]:
    """What the file holds, for this process alone; what the block makes of it is written, unless it raises.

    Args:
        path: Made by `begin_shared`.
    """
    with _lock_of(path).open("r+") as lock:  # NFS gives an exclusive lock only to those who may write
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = path.read_text()
        plain: dict[str, Any] = json.loads(before)
        yield plain
        # Many only look.
        if (text := json.dumps(plain)) != before:
            partial = path.with_name(f"{path.name}.partial")
            partial.write_text(text)
            partial.replace(path)


def _lock_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")
