"""Whether what the tables of a dataset say can be: row by row, of one table about another, and in the pictures.

Shard by shard, in memory the tracks of one and a row group. Damage is gathered by its kind: a line for each, with how
many rows have it and where the first one is.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int32

from facevid.counted import counted
from facevid.dataset import Dataset
from facevid.description import RELEASE_STEP, DatasetError
from facevid.release.choice import Home, homes
from facevid.release.row_rules import wrong_rows
from facevid.schema import TABLES
from facevid.shard_file import ShardFile
from facevid.shards import shard_of

_LONGEST_SHOWN = 80
_SAID_OF_FRAMES = ("frames", "first_frame", "last_frame", "start_s", "end_s")
_SAID_BY_DATASET = ("face_model", "face_model_sha256", "detector", "detector_sha256", "landmark_scheme")
_KEYS = ("video_id", "track", "frame")
_NEEDED = {
    "tracks": (
        "video_id", "track", "subject_id", "split", "kept", "identity", "source_sha256", *_SAID_OF_FRAMES,
        *_SAID_BY_DATASET,
    ),
    "frames": (*_KEYS, "pts_s", "kept"), "crops": _KEYS, "failures": _KEYS[:2],
}  # fmt: skip
"""Columns that were there from the first version on."""

_Key = tuple[str, int | None]
Decode = Callable[[bytes], object]
"""Pixels of a picture, or as text what is wrong with it, which ends a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """Which crops to decode, and how.

    Attributes:
        decode: See `Decode`.
        most: So many, spread evenly over the dataset; 0 for all.
    """

    decode: Decode
    most: int


@dataclass(slots=True)
class _Damage:
    """Rows by kind of damage, as found so far."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, example: str, *, rows: int = 1) -> None:
        self.counts[kind] += rows
        self.examples.setdefault(kind, example)

    def sentences(self) -> Iterator[str]:
        for kind, count in self.counts.items():
            yield f"{kind}: {counted(count, 'row')}, such as {self.examples[kind]}"


@dataclass(slots=True)
class _Track:
    """What the tracks table says of a track, and what the frames table has; `numbers` are its frames, in pieces."""

    name: str
    row: Mapping[str, Any] | None = None
    frames: int = 0
    kept: int = 0
    first_frame: int = 0
    last_frame: int = 0
    start_s: float = 0.0
    end_s: float = 0.0
    numbers: list[Int32[np.ndarray, " some"]] = field(default_factory=list)


def value_faults(
    dataset: Dataset, pictures: Pictures, *, on_rows: Callable[[int], None] = lambda _: None
) -> Iterator[str]:
    """Everything that cannot be, one sentence for each kind; nothing where there is nothing.

    Args:
        dataset: One whose files are those that it lists.
        pictures: Which of the crops are decoded.
        on_rows: Called with the rows of the frames and crops tables that were read.

    Raises:
        DatasetError: A shard cannot be read, or the tables are not split into shards alike.
    """
    look = _Look(dataset, pictures, on_rows)
    for home in homes(dataset, TABLES):
        look.at(home)
    yield from look.damage.sentences()
    step = RELEASE_STEP if dataset.description.is_release else "frames"
    for each in dataset.description.funnel:
        if each.step == step and each.ok != look.kept:
            yield f"the funnel says that {each.ok:,} frames went out, the frames table has {look.kept:,}"


class _Look:
    """What was seen so far.

    Args:
        dataset: The dataset.
        pictures: Which of the crops are decoded.
        on_rows: Called with the rows of the frames and crops tables that were read.

    Attributes:
        damage: What is wrong.
        kept: Frames that are kept.
    """

    def __init__(self, dataset: Dataset, pictures: Pictures, on_rows: Callable[[int], None]) -> None:
        self._dataset, self._decode, self._on_rows = dataset, pictures.decode, on_rows
        crops = sum(shard.rows for shard in dataset.shards("crops"))
        last = max(0, crops - 1)
        chosen = np.linspace(0, last, min(pictures.most or crops, crops)).round()
        self._chosen = np.unique(chosen.astype(np.int64))
        self._splits: dict[tuple[str, str], str] = {}
        self._parts_of_files: dict[str, set[tuple[float, float, str]]] = {}
        self.damage = _Damage()
        self.kept = self._crops_seen = 0

    def at(self, home: Home) -> None:
        """Look at the shards of one number, of all tables."""
        tracks = self._tracks(home)
        self._frames(home, tracks)
        for track in tracks.values():
            self._compare(track)
        self._crops(home, tracks)
        for _ in self._parts(home, "failures"):
            pass

    def _parts(self, home: Home, name: str) -> Iterator[tuple[ShardFile, int, pa.Table]]:
        """The row groups of a shard, each looked at by itself and for its order; nothing where there is no shard."""
        shard = home.shards.get(name)
        if shard is None:
            return
        with self._dataset.open_shard(shard) as file:
            columns = [column for column in file.columns if column != "jpeg"]
            if lacking := [column for column in _NEEDED[name] if column not in columns]:
                raise DatasetError(f"{shard.path} lacks columns: {', '.join(lacking)}")
            before = None
            for group in range(len(file.row_groups)):
                table = file.read(columns, row_group=group)
                for wrong in wrong_rows(name, table, before):
                    if wrong.rows.any():
                        example = _shown(table, int(wrong.rows.argmax()), wrong.column)
                        self.damage.add(f"{name}: {wrong.words}", example, rows=int(wrong.rows.sum()))
                for key, rows in _runs(table):
                    if shard_of(*key, home.count) != home.number:
                        example = f"{_shown(table, rows.start)} in {shard.path}"
                        self.damage.add(f"{name}: the shard is not the track's", example, rows=rows.stop - rows.start)
                before = table.slice(len(table) - 1) if len(table) else before
                yield file, group, table

    def _tracks(self, home: Home) -> dict[_Key, _Track]:
        about = self._dataset.description
        found: dict[_Key, _Track] = {}
        for _, _, table in self._parts(home, "tracks"):
            for row in table.drop_columns(["identity"]).to_pylist():
                name = f"video_id {row['video_id']!r} track {row['track']}"
                found[row["video_id"], row["track"]] = _Track(name=name, row=row)
                for column in _SAID_BY_DATASET:
                    if row[column] != getattr(about, column):
                        kind = f"tracks: {column} is not the dataset's, {getattr(about, column)}"
                        self.damage.add(kind, f"{name}: {row[column]!r}")
                together = ("subject", row["subject_id"]) if row["subject_id"] else ("video", row["video_id"])
                if (other := self._splits.setdefault(together, row["split"])) != row["split"]:
                    kind = f"tracks: a {together[0]} is in two splits, and training would leak"
                    self.damage.add(kind, f"{together[1]!r} in {other} and {row['split']}")
                else:
                    self._compare_files(name, row)
        return found

    def _compare_files(self, name: str, row: Mapping[str, Any]) -> None:
        """Whether what a track's file shows is in another split too; clips that share no time may be dealt out."""
        end_s = row.get("clip_end_s")
        part = row.get("clip_start_s") or 0.0, math.inf if end_s is None else end_s, row["split"]
        parts = self._parts_of_files.setdefault(row["source_sha256"], set())
        parts.add(part)
        begin_s, stop_s, split = part
        for start_s, until_s, other in parts:
            if other != split and start_s < stop_s and begin_s < until_s:
                kind = "tracks: a file is in two splits under several ids, and training would leak"
                self.damage.add(kind, f"{name} in {split}, of a file that is in {other} too")
                return

    def _frames(self, home: Home, tracks: dict[_Key, _Track]) -> None:
        for _, _, table in self._parts(home, "frames"):
            numbers, pts_s, keeps = (table[name].to_numpy() for name in ("frame", "pts_s", "kept"))
            for key, rows in _runs(table):
                track = tracks.setdefault(key, _Track(name=f"video_id {key[0]!r} track {key[1]}"))
                if not track.frames:
                    track.first_frame, track.start_s = int(numbers[rows.start]), float(pts_s[rows.start])
                track.last_frame, track.end_s = int(numbers[rows.stop - 1]), float(pts_s[rows.stop - 1])
                track.frames += rows.stop - rows.start
                track.kept += int(keeps[rows].sum())
                track.numbers.append(numbers[rows])
            self.kept += int(keeps.sum())
            self._on_rows(len(table))

    def _compare(self, track: _Track) -> None:
        if self._dataset.description.is_release and track.kept < track.frames:
            self.damage.add("frames: not kept, in a release", track.name, rows=track.frames - track.kept)
        if track.row is None:
            self.damage.add("frames: the tracks table lacks the track", track.name, rows=track.frames)
            return
        for column in _SAID_OF_FRAMES if track.frames else _SAID_OF_FRAMES[:1]:
            said, seen = track.row[column], getattr(track, column)
            if not math.isclose(said, seen, rel_tol=0, abs_tol=1e-9):
                kind = f"tracks: {column} is not what the frames table has"
                self.damage.add(kind, f"{track.name}: {said!r}, not {seen!r}")
        if track.kept and not track.row["kept"]:
            self.damage.add("frames: kept, of a track that is not", track.name, rows=track.kept)

    def _crops(self, home: Home, tracks: Mapping[_Key, _Track]) -> None:
        for file, group, table in self._parts(home, "crops"):
            numbers = table["frame"].to_numpy()
            for key, rows in _runs(table):
                there = tracks[key].numbers if key in tracks else []
                known = np.isin(numbers[rows], np.concatenate([np.zeros(0, np.int32), *there]))
                if not known.all():
                    example = _shown(table, rows.start + int(known.argmin()))
                    self.damage.add("crops: the frames table lacks the frame", example, rows=int((~known).sum()))
            mine = self._chosen[np.searchsorted(self._chosen, self._crops_seen) :]
            mine = mine[mine < self._crops_seen + len(table)] - self._crops_seen
            pictures = file.read(["jpeg"], row_group=group)["jpeg"].take(mine).to_pylist() if len(mine) else []
            for place, data in zip(mine.tolist(), pictures, strict=True):
                if isinstance(said := self._decode(data), str):
                    self.damage.add(f"crops: a picture {said}", _shown(table, place))
            self._crops_seen += len(table)
            self._on_rows(len(table))


def _shown(table: pa.Table, place: int, column: str = "") -> str:
    names = [name for name in dict.fromkeys([*_KEYS, column]) if name in table.column_names]
    row = table.slice(place, 1).select(names).to_pylist()[0]
    value = f": {column} {row[column]!r}" if column else ""
    where = " ".join(f"{name} {row[name]!r}" for name in _KEYS if row.get(name) is not None)
    return where + (value if len(value) <= _LONGEST_SHOWN else f"{value[:_LONGEST_SHOWN]}...")


def _runs(table: pa.Table) -> Iterator[tuple[_Key, slice]]:
    """Rows of one track that follow one another."""
    if not len(table):
        return
    video = table["video_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    track = pc.fill_null(table["track"], -1).to_numpy()
    starts = np.concatenate([[0], np.flatnonzero((np.diff(video) != 0) | (np.diff(track) != 0)) + 1, [len(table)]])
    keys = table.select(["video_id", "track"]).take(pa.array(starts[:-1])).to_pylist()
    for key, start, stop in zip(keys, starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        yield (key["video_id"], key["track"]), slice(start, stop)
