"""The allow and the deny list of a build: what rows fall under them.

The files are copied into the state folder when a build begins, so that all its workers, and a later `status`,
judge by the same lists.
"""

import functools
from pathlib import Path

from facevid import storage
from pipeline.config import FetchOptions
from pipeline.egress.lists import SourceList

_NAMES = ("allow_list", "deny_list")


def keep_lists(options: FetchOptions, state: Path) -> None:
    """Copy the lists of a build that begins into its state folder.

    Raises:
        ValueError: A list cannot be used; all its bad lines are named.
    """
    for name in _NAMES:
        source: Path | None = getattr(options, name)
        kept = state / f"{name}.txt"
        if source is None:
            storage.remove(kept)
        else:
            SourceList.read(source)
            storage.write_bytes(kept, source.read_bytes())


def changed_lists(options: FetchOptions, state: Path) -> list[Path]:
    """The lists of a build that are not what they were when it began; those that are gone stay as they were."""
    changed = []
    for name in _NAMES:
        source: Path | None = getattr(options, name)
        if source is not None and source.is_file() and source.read_bytes() != (state / f"{name}.txt").read_bytes():
            changed.append(source)
    return changed


def denial(url: str, video_id: str, options: FetchOptions, state: Path) -> str | None:
    """Why a row is denied by list, as one sentence, or None.

    Args:
        url: The row's address or path.
        video_id: The row's id.
        options: Options of acquisition.
        state: The build's state folder.
    """
    if options.deny_list is not None and (entry := _kept("deny_list", state, options.deny_list).names(url, video_id)):
        return f"the deny list has {entry}"
    if options.allow_list is not None and _kept("allow_list", state, options.allow_list).names(url, video_id) is None:
        return "the allow list does not have it"
    return None


def _kept(name: str, state: Path, source: Path) -> SourceList:
    path = state / f"{name}.txt"
    if not path.is_file():  # no build has begun here yet: a dry run
        path = source
    seen = path.stat()
    return _read(path, seen.st_mtime_ns, seen.st_size, seen.st_ino)


@functools.lru_cache(maxsize=8)
def _read(path: Path, *_: int) -> SourceList:
    return SourceList.read(path)
