"""The allow and the deny list of a build: what rows fall under them.

The files are copied into the state folder when a build begins, so that all its workers, and a later `status`,
judge by the same lists.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

from facevid import storage
from pipeline.config import FetchOptions
from pipeline.egress.lists import SourceList
from pipeline.list_use import ListUse
from pipeline.manifest import ManifestRow

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Lists:
    """The lists of a build, each None where there is none.

    Attributes:
        allow: Nothing else is fetched.
        deny: This is not.
    """

    allow: SourceList | None
    deny: SourceList | None

    def denial(self, row: ManifestRow) -> str | None:
        """Why a row is denied, as one sentence, or None."""
        if self.deny is not None and (entry := self.deny.names(row.url, row.video_id, row.subject_id)):
            return f"the deny list has {entry}"
        if self.allow is not None and self.allow.names(row.url, row.video_id, row.subject_id) is None:
            return "the allow list does not have it"
        return None

    def deny_use(self) -> ListUse:
        """Tells which entries of the deny list name nothing."""
        return ListUse(self.deny or SourceList())


def given_lists(options: FetchOptions) -> Lists:
    """The lists as their files are now: what a build that begins would judge by.

    Raises:
        ValueError: A list cannot be used.
    """
    allow, deny = (getattr(options, name) for name in _NAMES)
    return Lists(allow=SourceList.read(allow) if allow else None, deny=SourceList.read(deny) if deny else None)


def kept_lists(options: FetchOptions, state: Path) -> Lists:
    """The lists as they were when the build began.

    Args:
        options: Options of acquisition.
        state: The build's state folder.
    """
    allow, deny = (
        None if (source := getattr(options, name)) is None else _kept(name, state, source) for name in _NAMES
    )
    return Lists(allow=allow, deny=deny)


def denial(row: ManifestRow, options: FetchOptions, state: Path) -> str | None:
    """Why a row is denied by list, as one sentence, or None; see `kept_lists`."""
    if options.allow_list is None and options.deny_list is None:
        return None
    return kept_lists(options, state).denial(row)


def _kept(name: str, state: Path, source: Path) -> SourceList:
    path = state / f"{name}.txt"
    if not path.is_file():  # a build without the list was stopped before it wrote its plan
        path = source
    seen = path.stat()
    return _read(path, seen.st_mtime_ns, seen.st_size, seen.st_ino)


@functools.lru_cache(maxsize=8)
def _read(path: Path, *_: int) -> SourceList:
    return SourceList.read(path)
