"""Which crops there are to train on, with their labels, and where in the shards each one lies.

Footers and narrow columns are read once; pictures stay on disk until `training.loader` wants them. An
example costs about 250 bytes of memory (two vectors of 28 coefficients), so ten million fit into 3 GB.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Float32, Int32, Int64

from facevid import storage
from facevid.dataset import Dataset
from facevid.description import DatasetError
from facevid.shard_file import ShardFile
from facevid.shards import ShardInfo
from facevid.splits import SPLITS, Split
from facevid.track_arrays import vectors
from training.used_videos import used_videos

_KEY = ["video_id", "track", "frame"]
_REPORT_EVERY_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CropShard:
    """One shard of crops of one of the datasets.

    Attributes:
        dataset: Whose.
        info: Which.
    """

    dataset: Dataset
    info: ShardInfo

    @property
    def path(self) -> str:
        """Where the file is."""
        return storage.join(self.dataset.root, self.info.path)

    def open(self) -> ShardFile:
        """The shard to read from; see `Dataset.open_shard`."""
        return self.dataset.open_shard(self.info)


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """The kept crops of one split, in stored order; an example is named by its index in this order.

    Attributes:
        split: Which split.
        expression: Labels, standard deviations.
        expression_sigma: Posterior standard deviation of each.
        video: Index into `videos` per example.
        videos: The videos that have any, sorted: number of the dataset, and id.
        track: Number of the face track per example, ascending.
        shard: Index into `shards` per example.
        row_group: Row group of the shard.
        row: Row in the row group.
        shards: The crops' shards, of all datasets.
    """

    split: Split
    expression: Float32[np.ndarray, "examples n_expression"]
    expression_sigma: Float32[np.ndarray, "examples n_expression"]
    video: Int32[np.ndarray, " examples"]
    videos: tuple[tuple[int, str], ...]
    track: Int32[np.ndarray, " examples"]
    shard: Int32[np.ndarray, " examples"]
    row_group: Int32[np.ndarray, " examples"]
    row: Int32[np.ndarray, " examples"]
    shards: tuple[CropShard, ...]

    def __len__(self) -> int:
        return len(self.expression)

    def evenly(self, most: int) -> Int64[np.ndarray, " chosen"]:
        """At most `most` examples, spread evenly over the stored order."""
        return np.unique(np.linspace(0, len(self) - 1, min(most, len(self))).round().astype(np.int64))


def load_splits(
    datasets: Sequence[Dataset], report: Callable[[str], None] = lambda _: None
) -> dict[Split, Examples]:
    """All kept crops of some datasets, by split; every shard is read once.

    Args:
        datasets: Open datasets, with the same coefficients.
        report: Receives a line every few seconds.

    Raises:
        DatasetError: Splits leak into each other, or crops and frames do not belong together.
    """
    used = used_videos(datasets, report)
    numbers: list[dict[str, int]] = [{} for _ in datasets]
    for number, (place, video_id) in enumerate(used.videos):
        numbers[place][video_id] = number
    places = [(place, shard) for place, dataset in enumerate(datasets) for shard in dataset.shards("crops")]
    shards = tuple(CropShard(dataset=datasets[place], info=shard) for place, shard in places)
    twins = {
        (place, _name(shard)): shard for place, dataset in enumerate(datasets) for shard in dataset.shards("frames")
    }
    parts: dict[Split, list[_Part]] = {split: [] for split in SPLITS}
    total, done = sum(shard.rows for _, shard in places), 0
    began_s = reported_s = time.monotonic()
    for number, (place, shard) in enumerate(places):
        twin = twins.get((place, _name(shard)))
        if shard.rows and twin is None:
            raise DatasetError(f"{shards[number].path} has no frames shard beside it; build the dataset again")
        if shard.rows and twin is not None:
            for split, part in _join(shards[number], number, twin, homes=used.splits[place], numbers=numbers[place]):
                parts[split].append(part)
        done += shard.rows
        now_s = time.monotonic()
        if now_s - reported_s >= _REPORT_EVERY_S:
            reported_s = now_s
            rate = done / (now_s - began_s)
            report(f"labels: {done} of {total} crops, {rate:.0f}/s, about {(total - done) / rate:.0f} s left")
    width = datasets[0].description.n_expression
    return {split: _examples(split, parts[split], shards, used.videos, width) for split in SPLITS}


def _name(shard: ShardInfo) -> str:
    return shard.path.rsplit("/", 1)[-1]


def _examples(
    split: Split, parts: Sequence["_Part"], shards: tuple[CropShard, ...], videos: Sequence[tuple[int, str]],
    n_expression: int,
) -> Examples:  # fmt: skip
    seen, video = np.unique(_joined(part.video for part in parts), return_inverse=True)
    return Examples(
        split=split,
        videos=tuple(videos[number] for number in seen.tolist()),
        shards=shards,
        expression=_stacked((part.expression for part in parts), n_expression),
        expression_sigma=_stacked((part.sigma for part in parts), n_expression),
        video=video.astype(np.int32),
        track=_numbered([part.track for part in parts]),
        shard=_joined(np.full(len(part.row), part.shard, np.int32) for part in parts),
        row_group=_joined(part.row_group for part in parts),
        row=_joined(part.row for part in parts),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """The examples of one split in one shard; `video` counts the videos of all splits, `track` anything."""

    shard: int
    expression: Float32[np.ndarray, "examples n_expression"]
    sigma: Float32[np.ndarray, "examples n_expression"]
    video: Int32[np.ndarray, " examples"]
    track: Int64[np.ndarray, " examples"]
    row_group: Int32[np.ndarray, " examples"]
    row: Int32[np.ndarray, " examples"]


def _join(
    crops_shard: CropShard, number: int, frames_shard: ShardInfo, *,
    homes: Mapping[tuple[str, int], str], numbers: Mapping[str, int],
) -> Iterator[tuple[Split, _Part]]:
    """Match the crops of a shard with the frames of its twin: same hash, so the same tracks."""
    with crops_shard.open() as file:
        groups, crops = file.row_groups, file.read(_KEY)
    with crops_shard.dataset.open_shard(frames_shard) as file:
        frames = file.read([*_KEY, "kept", "expression", "expression_sigma"])
    codes, track_codes = _codes(frames, crops)
    frame_keys, crop_keys = codes[: len(frames)], codes[len(frames) :]
    if not (np.diff(frame_keys) > 0).all():
        row = frames.slice(int((np.diff(frame_keys) <= 0).argmax()) + 1, 1).select(_KEY).to_pylist()[0]
        raise DatasetError(f"{frames_shard.path}: rows are not sorted, or repeated, at {row}; build the dataset again")
    place = np.searchsorted(frame_keys, crop_keys)
    found = place < len(frame_keys)
    found[found] = frame_keys[place[found]] == crop_keys[found]
    if not found.all():
        row = crops.slice(int((~found).argmax()), 1).to_pylist()[0]
        raise DatasetError(f"{crops_shard.path} has a crop of {row}, which the frames table lacks; build again")
    home, video = _homes(crops, track_codes[len(frames) :], homes, numbers)
    kept = frames["kept"].to_numpy()[place]
    starts = np.cumsum([0, *groups])
    for code, split in enumerate(SPLITS):
        rows = np.flatnonzero(kept & (home == code))
        labels = frames.take(pa.array(place[rows]))
        group = np.searchsorted(starts, rows, side="right") - 1
        yield split, _Part(
            shard=number,
            expression=_labels(labels, "expression", frames_shard),
            sigma=_labels(labels, "expression_sigma", frames_shard),
            video=video[rows],
            track=track_codes[len(frames) :][rows],
            row_group=group.astype(np.int32),
            row=(rows - starts[group]).astype(np.int32),
        )


def _labels(frames: pa.Table, name: str, shard: ShardInfo) -> Float32[np.ndarray, "rows n_expression"]:
    values = vectors(frames[name])
    good = np.isfinite(values) & ((values >= 0) if name == "expression_sigma" else True)
    if not good.all():
        row = frames.slice(int((~good.all(axis=1)).argmax()), 1).select([*_KEY, name]).to_pylist()[0]
        raise DatasetError(
            f"{shard.path}: column {name} holds what is no label, negative or not finite, as in {row}; "
            "build the dataset again"
        )
    return values


def _homes(
    crops: pa.Table, track: Int64[np.ndarray, " crops"], homes: Mapping[tuple[str, int], str],
    numbers: Mapping[str, int],
) -> tuple[Int32[np.ndarray, " crops"], Int32[np.ndarray, " crops"]]:
    """Place in `SPLITS`, -1 for none, and number of the video, of each crop; `track` is one number per face track."""
    _, firsts, inverse = np.unique(track, return_index=True, return_inverse=True)
    ones = crops.select(["video_id", "track"]).take(pa.array(firsts)).to_pylist()
    places: dict[str | None, int] = {split: place for place, split in enumerate(SPLITS)}
    home = [places.get(homes.get((one["video_id"], one["track"])), -1) for one in ones]
    video = [numbers.get(one["video_id"], -1) for one in ones]
    return np.array(home, np.int32)[inverse], np.array(video, np.int32)[inverse]


def _codes(frames: pa.Table, crops: pa.Table) -> tuple[Int64[np.ndarray, " rows"], Int64[np.ndarray, " rows"]]:
    """(video, track, frame) of each row, of the crops after those of the frames, as one number that sorts as they do.

    And (video, track) as another.
    """
    both = pa.concat_tables([frames.select(_KEY), crops.select(_KEY)])
    # Frames come first and are sorted, so that ids are numbered in their order.
    video = both["video_id"].combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    track, frame = (both[name].to_numpy().astype(np.int64) for name in ("track", "frame"))
    # Numbers of 31 bits each, two of which fit into 64: videos and tracks are counted together first.
    _, pair = np.unique((video << 32) + track, return_inverse=True)
    return (pair << 32) + frame, pair


def _numbered(parts: Sequence[np.ndarray]) -> Int32[np.ndarray, " examples"]:
    """Tracks counted in stored order; a track is in one shard."""
    lengths = [len(part) for part in parts]
    shard = np.repeat(np.arange(len(parts)), lengths)
    track = np.concatenate([np.zeros(0, np.int64), *parts])
    changes = (np.diff(shard) != 0) | (np.diff(track) != 0)
    return np.concatenate([np.zeros(min(1, len(track)), np.int32), np.cumsum(changes, dtype=np.int32)])


def _stacked(parts: Iterable[np.ndarray], width: int) -> Float32[np.ndarray, "rows width"]:
    return np.concatenate([np.zeros((0, width), np.float32), *parts])


def _joined(parts: Iterable[np.ndarray]) -> Int32[np.ndarray, " rows"]:
    return np.concatenate([np.zeros(0, np.int32), *parts])
