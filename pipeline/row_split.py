"""Which split a row falls into: by the manifest's word or a hash, and one with all others that show the same footage.

The frames of a file are near-duplicates of themselves, whatever ids the manifest gives it. Only who has looked at all
rows knows which are of one file: that is who finishes a build, and what it finds goes to the workers as a file.
"""

import hashlib
import json
import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from facevid import storage
from facevid.splits import Split, split_of
from facevid.video_address import video_address
from pipeline.manifest import ManifestRow

_FILE = "moved_splits.json"


def own_split(row: ManifestRow) -> Split:
    """The split of a row as far as it alone can tell."""
    return split_of(video_id=_together(row), subject_id=row.subject_id, given=row.split)


def _together(row: ManifestRow) -> str:
    # Clips of one video show the same people in the same light: they must not fall on both sides of a split.
    return video_address(row.url) if row.is_clip else row.video_id


class FilesOfRows:
    """Gathers which part of which file each row shows; some 40 bytes a row.

    Rows belong together that show the same part of a file, or parts of it without saying who is seen; clips of a film
    with another named subject in each do not. With a row go all others of its subject, or of its clips' address.
    """

    def __init__(self) -> None:
        self._places, self._keys, self._files = array("q"), array("Q"), array("Q")
        self._starts_s, self._ends_s, self._named = array("d"), array("d"), array("b")

    def add(self, place: int, row: ManifestRow, source_sha256: str) -> None:
        """A row whose video is there.

        Args:
            place: Its place among the manifest's good rows.
            row: The row.
            source_sha256: The sha256 of its file.
        """
        self._places.append(place)
        self._keys.append(_number(f"subject:{row.subject_id}" if row.subject_id else f"video:{_together(row)}"))
        self._files.append(_number(source_sha256))
        self._starts_s.append(row.start_s or 0.0)
        self._ends_s.append(math.inf if row.end_s is None else row.end_s)
        self._named.append(bool(row.subject_id))

    def moved(self, rows: Sequence[ManifestRow]) -> dict[str, Split]:
        """The videos that fall into another split than their own, by id.

        Those that belong together get the split that the manifest gives to the first of them by id, or where it gives
        none, the first one's own. To which the manifest gives a split, those keep it.

        Args:
            rows: The manifest's good rows.
        """
        groups = self._groups()
        keys = np.array(self._keys, np.uint64)
        members: dict[int, list[ManifestRow]] = {}
        for index in np.flatnonzero(np.isin(keys, np.array(list(groups), np.uint64))).tolist():
            members.setdefault(groups[self._keys[index]], []).append(rows[self._places[index]])
        found: dict[str, Split] = {}
        for group in members.values():
            group.sort(key=lambda row: row.video_id)
            split = next((row.split for row in group if row.split), own_split(group[0]))
            found |= {row.video_id: split for row in group if not row.split and own_split(row) != split}
        return found

    def _groups(self) -> dict[int, int]:
        """Of each key that belongs together with others, one that stands for all of them."""
        parents: dict[int, int] = {}

        def root(key: int) -> int:
            while (above := parents.setdefault(key, key)) != key:
                parents[key] = key = parents[above]
            return key

        for one, other in self._pairs():
            parents[root(one)] = root(other)
        return {key: root(key) for key in list(parents)}

    def _pairs(self) -> Iterator[tuple[int, int]]:
        """Keys of which a file says that they belong together."""
        files, keys = np.array(self._files, np.uint64), np.array(self._keys, np.uint64)
        order = np.lexsort((np.array(self._starts_s), files))
        # Most files are of one row, or of one address.
        differs = (files[order][1:] == files[order][:-1]) & (keys[order][1:] != keys[order][:-1])
        shared = np.unique(files[order][1:][differs])
        file = shown = unnamed = -1
        until_s = 0.0
        for index in order[np.isin(files[order], shared)].tolist():
            key = self._keys[index]
            if self._files[index] != file:
                file, unnamed, until_s = self._files[index], -1, -math.inf
            if self._starts_s[index] < until_s and shown != key:
                yield shown, key
            until_s = max(until_s, self._ends_s[index])
            shown = key
            if not self._named[index]:
                if unnamed not in {-1, key}:
                    yield unnamed, key
                unnamed = key


def _number(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")


def write_moved(state: Path, moved: Mapping[str, Split]) -> None:
    """Put down for the workers what `FilesOfRows.moved` has found."""
    storage.write_bytes(state / _FILE, json.dumps(moved).encode())


def read_moved(state: Path) -> dict[str, Split]:
    """What `write_moved` has put down."""
    moved: dict[str, Split] = json.loads(storage.read_bytes(state / _FILE))
    return moved
