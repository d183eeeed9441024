"""Which videos of some datasets are trained on, and that nobody is seen in two splits.

One video may be there several times: in two datasets, or in one under two ids. Its frames are used once, from where it
is held out if it is anywhere: as if one build had made one dataset of all.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int32
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from facevid.dataset import Dataset
from facevid.description import DatasetError
from facevid.public_urls import REMOVED
from facevid.splits import SPLITS
from facevid.video_address import video_address

_CLIP = ("clip_start_s", "clip_end_s")
_COLUMNS = ("video_id", "track", "subject_id", "split", "kept", "frames", "source_sha256", "url", *_CLIP)
_WEB = "://"
_PLACE = ("dataset", "split")
_OF_A_VIDEO = ("split", "source_sha256", "url", *_CLIP)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedVideos:
    """What is trained on.

    Attributes:
        splits: Of each dataset the split of each track, by video and track.
        videos: All of their videos, sorted: number of the dataset, and id.
    """

    splits: tuple[dict[tuple[str, int], str], ...]
    videos: tuple[tuple[int, str], ...]


def used_videos(datasets: Sequence[Dataset], report: Callable[[str], None] = lambda _: None) -> UsedVideos:
    """Choose the kept tracks to train on.

    A video is the same where its file has the same sha256, or it has the same address in the web (however that is
    spelled), and the clip has the same times. An address of which a secret was removed names none: that may have been
    what told videos apart. Of several, the one in the test split is used, else that in val; then the one with more
    frames.

    Args:
        datasets: Open datasets.
        report: Receives a line where a video is there more than once.

    Raises:
        DatasetError: What is used has a video or a subject in two splits, so that the evaluation would be worthless.
    """
    tracks = pa.concat_tables([_tracks(dataset, number) for number, dataset in enumerate(datasets)])
    videos = tracks.filter(pc.field("kept")).group_by(["dataset", "video_id"], use_threads=False).aggregate(
        [("frames", "sum"), *((name, "first") for name in _OF_A_VIDEO)]
    )
    rows = [
        {name.removesuffix("_first"): value for name, value in row.items()} for row in videos.to_pylist()
    ]
    chosen = _once(rows)
    left_out = {_key(row) for row, best in zip(rows, chosen, strict=True) if row is not best}
    if left_out:
        row, best = next((row, best) for row, best in zip(rows, chosen, strict=True) if row is not best)
        report(
            f"left out, as they are there more than once: {len(left_out)} videos, such as {_named(row, datasets)}, "
            f"which is {_named(best, datasets)} again; used is the one that is held out, or has the most frames"
        )
        used = [key not in left_out for key in _keys(tracks)]
        tracks = tracks.filter(pa.array(used, pa.bool_()))
    kept = tracks.filter(pc.field("kept"))
    _check_splits(kept, datasets)
    splits: tuple[dict[tuple[str, int], str], ...] = tuple({} for _ in datasets)
    for (dataset, video_id), track, split in zip(
        _keys(kept), kept["track"].to_pylist(), kept["split"].to_pylist(), strict=True
    ):
        splits[dataset][video_id, track] = split
    return UsedVideos(splits=splits, videos=tuple(sorted({_key(row) for row in rows} - left_out)))


def _check_splits(tracks: pa.Table, datasets: Sequence[Dataset]) -> None:
    web = pc.match_substring(tracks["url"], _WEB)
    # Ids of videos are a dataset's own.
    for column, named in {
        "video_id": tracks, "subject_id": tracks.filter(pc.field("subject_id") != ""), "source_sha256": tracks,
        "url": tracks.filter(web),
    }.items():
        keys = ["dataset", column] if column == "video_id" else [column]
        places = named.group_by([*_PLACE, column], use_threads=False).aggregate([])
        splits = places.group_by(keys, use_threads=False).aggregate([("split", "count_distinct")])
        for row in splits.filter(pc.field("split_count_distinct") > 1).select(keys).to_pylist():
            found = places
            for name, value in row.items():
                found = found.filter(pc.field(name) == value)
            for one, other in combinations(found.select(list(_PLACE)).to_pylist(), 2):
                # Within one dataset the manifest may have dealt out the clips of a film, with other people in each.
                may = one["dataset"] == other["dataset"] and column in {"source_sha256", "url"}
                if one["split"] != other["split"] and not may:
                    raise DatasetError(_leak(f"{column} {row[column]!r}", one, other, datasets))
        if column in {"source_sha256", "url"}:
            _check_parts(named, column, datasets)


def _check_parts(tracks: pa.Table, column: str, datasets: Sequence[Dataset]) -> None:
    """That clips of a film which one dataset has in several splits share no time."""
    films = tracks.group_by(["dataset", column], use_threads=False).aggregate([("split", "count_distinct")])
    dealt_out = films.filter(pc.field("split_count_distinct") > 1)[column]
    parts = tracks.filter(pc.is_in(tracks[column], value_set=dealt_out))
    longest: dict[tuple[int, str, str], dict[str, Any]] = {}  # of those so far the one that ends last
    for part in sorted(parts.to_pylist(), key=_times_s):
        for split in SPLITS:
            other = longest.get((part["dataset"], part[column], split))
            if other is not None and split != part["split"] and _times_s(other)[1] > _times_s(part)[0]:
                who = f"a moment of {other['video_id']!r}, which is in {part['video_id']!r} too,"
                raise DatasetError(_leak(who, other, part, datasets))
        key = part["dataset"], part[column], part["split"]
        longest[key] = max(longest.get(key, part), part, key=lambda each: _times_s(each)[1])


def _leak(who: str, one: dict[str, Any], other: dict[str, Any], datasets: Sequence[Dataset]) -> str:
    tested = "a network would be tested on what it was trained on"
    if one["dataset"] == other["dataset"]:
        return (
            f"{who} is in the splits {one['split']} and {other['split']}: {tested}. Give all its rows of the manifest "
            "one split and build again"
        )
    places = " and ".join(f"in the split {place['split']} of {datasets[place['dataset']].root}"
                          for place in (one, other))  # fmt: skip
    return f"{who} is {places}: {tested}. Give its rows one split in both manifests and build again, or train on one"


def _tracks(dataset: Dataset, number: int) -> pa.Table:
    lacking = set(dataset.lacking("tracks")) & set(_CLIP)  # an earlier version knew no clips
    found = dataset.table("tracks", columns=[name for name in _COLUMNS if name not in lacking])
    for name in lacking:
        found = found.append_column(name, pa.nulls(len(found), pa.float64()))
    place = _COLUMNS.index("url")
    addresses = pa.array([_address(url) for url in found["url"].to_pylist()], pa.string())
    found = found.select(list(_COLUMNS)).set_column(place, "url", addresses)
    return found.append_column("dataset", pa.array(np.full(len(found), number, np.int32)))


def _address(url: str) -> str:
    """What names a video among those of all datasets; empty where what may have named it was removed as a secret."""
    address = video_address(url)
    return "" if f"={REMOVED}" in address else address


def _once(videos: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each video the one that is used in its place, which mostly is itself."""
    groups = _same(videos)
    best: dict[int, dict[str, Any]] = {}
    for row, group in zip(videos, groups.tolist(), strict=True):
        best[group] = min(best.get(group, row), row, key=_rank)
    return [best[group] for group in groups.tolist()]


def _rank(video: dict[str, Any]) -> tuple[int, int, str, int]:
    return -_ORDER.get(video["split"], -1), -video["frames_sum"], video["video_id"], video["dataset"]


_ORDER: dict[str, int] = {split: place for place, split in enumerate(SPLITS)}


def _same(videos: Sequence[dict[str, Any]]) -> Int32[np.ndarray, " videos"]:
    """A number for each video, which those have in common that are the same."""
    names: dict[tuple[object, ...], int] = {}
    pairs = [
        (place, len(videos) + names.setdefault((name, *_times_s(row)), len(names)))
        for place, row in enumerate(videos)
        for name in (row["source_sha256"], row["url"])
        if name == row["source_sha256"] or _WEB in name  # a path says nothing on another machine
    ]
    nodes = len(videos) + len(names)
    ends = np.array(pairs, np.int32).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends), np.int8), (ends[:, 0], ends[:, 1])), shape=(nodes, nodes))
    return np.asarray(connected_components(graph, directed=False)[1][: len(videos)], np.int32)


def _times_s(video: dict[str, Any]) -> tuple[float, float]:
    end_s = video["clip_end_s"]
    return video["clip_start_s"] or 0.0, math.inf if end_s is None else end_s


def _named(video: dict[str, Any], datasets: Sequence[Dataset]) -> str:
    return f"{video['video_id']!r} of {datasets[video['dataset']].root}"


def _key(video: dict[str, Any]) -> tuple[int, str]:
    return video["dataset"], video["video_id"]


def _keys(table: pa.Table) -> Iterator[tuple[int, str]]:
    return zip(table["dataset"].to_pylist(), table["video_id"].to_pylist(), strict=True)
