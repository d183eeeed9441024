"""A folder that appears whole or not at all, whatever ends the process that writes it."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from facevid.storage import sync_folder


def refuse(target: Path) -> None:
    """Says of no folder that it may be replaced.

    Raises:
        FileExistsError: Always.
    """
    raise FileExistsError(f"{target} exists; name another folder")


@contextmanager
def whole_folder(target: Path, *, require_replaceable: Callable[[Path], None] = refuse) -> Iterator[Path]:
    """A folder to write into, which gets its name when the block ends well, and is removed if it raises.

    What a killed process left behind is cleared by the next one. A folder that stood there is put aside first and
    removed last: if the process is killed in between, the next one puts it back.

    Args:
        target: The folder to be.
        require_replaceable: Raises where what stands there must stay. It is asked last of all, as something may have
            appeared under that name while the folder was written; of an empty folder it is not asked.

    Raises:
        FileExistsError: What stands there must stay.
        OSError: It cannot be written, or another process is writing it.
    """
    target = target.absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    partial, aside = (target.with_name(f".{target.name}.{word}") for word in ("partial", "aside"))
    partial.mkdir(exist_ok=True)
    # No link, which somebody else could have put there for us to clear what it points to.
    descriptor = os.open(partial, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
    try:
        _lock(descriptor, partial, target)
        if aside.exists() and not target.exists():
            aside.rename(target)
        shutil.rmtree(aside, ignore_errors=True)
        try:
            for left in partial.iterdir():
                shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
            yield partial
            if os.path.lexists(target):
                if target.is_symlink() or not target.is_dir() or any(target.iterdir()):
                    require_replaceable(target)
                target.rename(aside)
            partial.rename(target)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        sync_folder(target.parent)
        shutil.rmtree(aside, ignore_errors=True)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, partial: Path, target: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever had it may have given it its name since it was opened here.
        same = os.fstat(descriptor).st_ino == partial.lstat().st_ino
    except (BlockingIOError, FileNotFoundError):
        same = False
    if not same:
        raise BlockingIOError(f"another process is writing {target}; wait for it, or stop it")
