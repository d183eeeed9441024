"""What a dataset holds, counted: tracks and frames by split and by licence, and failures by kind."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from facevid.dataset import Dataset
from facevid.splits import SPLITS

MOST_NAMED = 20
"""Videos without a licence that are named."""
_COLUMNS = ("video_id", "split", "subject_id", "frames", "start_s", "end_s", "licence", "kept")


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Some of the kept tracks.

    Attributes:
        videos: Videos that they are from; clips count as videos.
        subjects: Persons that the manifest named.
        tracks: How many.
        frames: Their frames, those included that are filtered one by one.
        seconds: How long they last.
    """

    videos: int
    subjects: int
    tracks: int
    frames: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a dataset holds.

    Attributes:
        kept: All kept tracks.
        splits: The same by split, in the order of `facevid.splits.SPLITS`; those without tracks are left out.
        licences: The same by licence statement (None: none), most videos first.
        without_licence: Ids of the first videos without a licence statement, sorted, at most `MOST_NAMED`.
        failures: Failures by stage and code, sorted.
    """

    kept: Share
    splits: Mapping[str, Share]
    licences: Mapping[str | None, Share]
    without_licence: tuple[str, ...]
    failures: Mapping[tuple[str, str], int]


@dataclass(slots=True)
class _Count:
    videos: set[str] = field(default_factory=set)
    subjects: set[str] = field(default_factory=set)
    tracks: int = 0
    frames: int = 0
    seconds: float = 0.0

    def share(self) -> Share:
        return Share(
            videos=len(self.videos), subjects=len(self.subjects), tracks=self.tracks, frames=self.frames,
            seconds=self.seconds,
        )  # fmt: skip


def read_contents(dataset: Dataset) -> Contents:
    """Count, from the tracks and failures tables alone, one shard at a time.

    Raises:
        DatasetError: A shard is missing or damaged, or an earlier version wrote it without some of the columns.
    """
    kept = _Count()
    splits: dict[str, _Count] = defaultdict(_Count)
    licences: dict[str | None, _Count] = defaultdict(_Count)
    for shard in dataset.shards("tracks"):
        with dataset.open_shard(shard) as file:
            rows = file.read(_COLUMNS).to_pylist()
        for row in rows:
            if not row["kept"]:
                continue
            for count in (kept, splits[row["split"]], licences[row["licence"] or None]):
                count.videos.add(row["video_id"])
                if row["subject_id"]:
                    count.subjects.add(row["subject_id"])
                count.tracks += 1
                count.frames += row["frames"]
                count.seconds += row["end_s"] - row["start_s"]
    failures = count_failures(dataset)
    named = sorted(licences.items(), key=lambda pair: (-len(pair[1].videos), pair[0] or ""))
    unnamed = licences[None].videos if None in licences else set()
    return Contents(
        kept=kept.share(),
        splits=MappingProxyType({name: splits[name].share() for name in SPLITS if name in splits}),
        licences=MappingProxyType({name: count.share() for name, count in named}),
        without_licence=tuple(sorted(unnamed)[:MOST_NAMED]),
        failures=MappingProxyType(dict(sorted(failures.items()))),
    )


def count_failures(dataset: Dataset) -> Counter[tuple[str, str]]:
    """How many failures there are by stage and code, whether as rows or, in a release, as counts.

    Raises:
        DatasetError: As `read_contents`.
    """
    failures: Counter[tuple[str, str]] = Counter()
    for name, count in dataset.description.failures.items():
        stage, _, code = name.partition("/")
        failures[stage, code] += count
    for shard in dataset.shards("failures"):
        with dataset.open_shard(shard) as file:
            rows = file.read(("stage", "code"))
        failures.update(zip(rows["stage"].to_pylist(), rows["code"].to_pylist(), strict=True))
    return failures
