"""What of a dataset goes out, and what stays back for which reason: whole tracks first, then their kept frames."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int32

from facevid import storage
from facevid.counted import counted
from facevid.dataset import Dataset
from facevid.description import DatasetError
from facevid.shards import ShardInfo, numbers_of
from facevid.track_arrays import by_track

OUT, FILTERED, DENIED, LICENCE = "out", "filtered", "deny_list", "licence"
"""What becomes of a track: it goes out, or stays back because the build filtered it, or by one of the two rules."""
WORDS = {FILTERED: "filtered by the build", DENIED: "on the deny list", LICENCE: "of another licence or none"}
Key = tuple[str, int]
_MOST_SHOWN, _LONGEST_SHOWN = 20, 80


def nobody(track: Mapping[str, Any]) -> bool:  # noqa: ARG001
    """The deny list of those who have none."""
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The rules.

    Attributes:
        denied: Whether a track must stay back, given its row, which has at least `url`, `video_id` and `subject_id`.
        licences: Only videos with one of these licence statements go out, in any case; all where it is empty.
    """

    denied: Callable[[Mapping[str, Any]], bool] = nobody
    licences: tuple[str, ...] = ()

    def fate(self, track: Mapping[str, Any]) -> str:
        """What becomes of a track, given its row; what the build filtered is not asked any further."""
        if not track["kept"]:
            return FILTERED
        if self.denied(track):
            return DENIED
        allowed = {_folded(name) for name in self.licences}
        return LICENCE if allowed and _folded(track["licence"] or "") not in allowed else OUT

    def require_known(self, stated: Iterable[str | None]) -> None:
        """Refuse a licence that no video has, which is a slip of the pen more often than a wish.

        Args:
            stated: The licence statements that there are.

        Raises:
            ValueError: Naming it, and what there is.
        """
        there = sorted({name for name in stated if name})
        folded = {_folded(name) for name in there}
        for name in self.licences:
            if _folded(name) not in folded:
                known = ", ".join(repr(each[:_LONGEST_SHOWN]) for each in there[:_MOST_SHOWN]) or "none at all"
                raise ValueError(f"licence={name!r}: no kept track has it; there are: {known}")


def _folded(licence: str) -> str:
    return " ".join(licence.split()).casefold()


@dataclass(slots=True)
class Tally:
    """What was counted so far.

    Attributes:
        tracks: Tracks by what becomes of them.
        frames: Kept frames by what becomes of them.
        videos: Ids of the videos that go out.
        extra: Names of the manifest's further columns that any track has.
    """

    tracks: Counter[str] = field(default_factory=Counter)
    frames: Counter[str] = field(default_factory=Counter)
    videos: set[str] = field(default_factory=set)
    extra: set[str] = field(default_factory=set)

    def kept_back(self) -> str:
        """Why how many tracks stay back, in words; "" where all go out."""
        there = ((self.tracks[name], words) for name, words in WORDS.items() if self.tracks[name])
        return ", ".join(f"{counted(tracks, 'track')} {words}" for tracks, words in there)


@dataclass(slots=True)
class Span:
    """The frames of one track that go out.

    Attributes:
        first: (index, presentation time in seconds) of the first.
        last: The same of the last.
        count: How many.
        pieces: Their indices, in the order of the table.
    """

    first: tuple[int, float]
    last: tuple[int, float]
    count: int = 0
    pieces: list[Int32[np.ndarray, " some"]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """The shards of one number, one per table: a track's rows of all tables are in the same.

    Attributes:
        number: Index of the shards.
        count: Shards per table.
        shards: By table.
    """

    number: int
    count: int
    shards: Mapping[str, ShardInfo]


def homes(dataset: Dataset, tables: Sequence[str]) -> list[Home]:
    """The shards of some tables by number.

    Raises:
        DatasetError: The tables are not split alike.
    """
    found: dict[tuple[int, int], dict[str, ShardInfo]] = {}
    for table in tables:
        for shard in dataset.shards(table):
            found.setdefault(numbers_of(shard), {})[table] = shard
    if len({count for _, count in found}) > 1:
        raise DatasetError(f"{dataset.root}: its tables are not split into shards alike; build the dataset again")
    return [Home(number=key[0], count=key[1], shards=found[key]) for key in sorted(found)]


def frames_out(
    dataset: Dataset,
    shard: ShardInfo,
    fates: Mapping[Key, str],
    spans: dict[Key, Span],
    tally: Tally,
    *,
    columns: Sequence[str],
    on_rows: Callable[[int], None],
) -> Iterator[pa.Table]:
    """The frames of a shard that go out, a row group at a time.

    Args:
        dataset: The dataset.
        shard: One of its frames shards.
        fates: What becomes of each track of this shard.
        spans: Receives what goes out of each.
        tally: Receives the counts.
        columns: What to read; `video_id`, `track`, `frame`, `pts_s` and `kept` must be among them.
        on_rows: Called with the rows of each row group.

    Raises:
        DatasetError: The shard is damaged, or has frames of a track that the tracks table lacks.
    """
    with dataset.open_shard(shard) as file:
        for group, rows in enumerate(file.row_groups):
            parts = []
            for key, part in by_track([file.read(columns, row_group=group).filter(pc.field("kept"))]):
                fate = fates.get(key)
                if fate is None:
                    where = storage.join(dataset.root, shard.path)
                    raise DatasetError(f"{where} has frames of {key}, which the tracks table lacks; build again")
                tally.frames[fate] += part.num_rows
                if fate == OUT:
                    _add(spans, key, part)
                    parts.append(part)
            on_rows(rows)
            if parts:
                yield pa.concat_tables(parts)


def _add(spans: dict[Key, Span], key: Key, frames: pa.Table) -> None:
    index, pts_s = frames["frame"].to_numpy(), frames["pts_s"].to_numpy()
    last = int(index[-1]), float(pts_s[-1])
    span = spans.setdefault(key, Span(first=(int(index[0]), float(pts_s[0])), last=last))
    span.last = last
    span.count += len(index)
    span.pieces.append(index)


def crops_out(
    dataset: Dataset, shard: ShardInfo, spans: Mapping[Key, Span], *, on_rows: Callable[[int], None]
) -> Iterator[pa.Table]:
    """The crops of a shard whose frames go out, a row group at a time.

    Raises:
        DatasetError: The shard is damaged.
    """
    with dataset.open_shard(shard) as file:
        for group, rows in enumerate(file.row_groups):
            parts = []
            for key, part in by_track([file.read(dataset.schema("crops").names, row_group=group)]):
                if key in spans:
                    chosen = np.isin(part["frame"].to_numpy(), np.concatenate(spans[key].pieces))
                    parts.append(part.filter(pa.array(chosen)))
            on_rows(rows)
            if parts and (whole := pa.concat_tables(parts)).num_rows:
                yield whole
