"""What the store holds of a video or a span of it after each stage, written as JSON for facts, npz for arrays."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float32

from fitting.tracks import FittedTrack
from pipeline.faces.landmark_track import LandmarkTrack
from pipeline.store import FetchedVideo, Store, write_json

_CROPS_PER_BATCH = 128
_CROPS = pa.schema([
    pa.field("track", pa.int32(), nullable=False),
    pa.field("frame", pa.int32(), nullable=False),
    pa.field("jpeg", pa.binary(), nullable=False),
    pa.field("crop_from_frame", pa.list_(pa.float32(), 6), nullable=False),
])
_NUMBERED = re.compile(r"(\d+)/(\w+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class FacesItem:
    """The faces of one span of a video: the arrow to the fit. Frames count from the span's first.

    Attributes:
        width_px: Displayed picture width.
        height_px: Displayed picture height.
        fps: Mean frame rate, frames per second.
        codec: The video stream's codec.
        frames: Frames that were decoded.
        short_tracks: Tracks that were left out because they are shorter than `FacesOptions.min_track_s`.
        tracks: The tracks, at least one.
    """

    width_px: int
    height_px: int
    fps: float
    codec: str
    frames: int
    short_tracks: int
    tracks: tuple[LandmarkTrack, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundCounts:
    """How much was found in one span of a video.

    Attributes:
        frames: Frames that were decoded.
        tracks: Tracks that were found.
        short_tracks: Tracks that were left out as too short.
    """

    frames: int
    tracks: int
    short_tracks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackSummary:
    """What pruning and counting need to know of a fitted track.

    Attributes:
        status: The fit's word.
        frames: Frames of the track.
        observed_frames: Frames in which the face was seen, not bridged.
        identity_norm: Euclidean norm of the identity coefficients.
        reprojection_error: Median over frames, fraction of the outer-eye distance.
    """

    status: str
    frames: int
    observed_frames: int
    identity_norm: float
    reprojection_error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedItem:
    """The fitted tracks of one span, index for index those of its `FacesItem`.

    Attributes:
        tracks: The fits, diverged ones among them.
        face_size_px: Per track and frame, the fitted outer-eye distance as seen from the front.
    """

    tracks: tuple[FittedTrack, ...]
    face_size_px: tuple[Float32[np.ndarray, "..."], ...]


def write_fetched(folder: Path, video: FetchedVideo, *, local: bool) -> None:
    """Write a fetch's record. A local file is named, a downloaded one is found by its hash."""
    record = {own.name: getattr(video, own.name) for own in fields(video) if own.name not in {"path", "url"}}
    write_json(folder / "video.json", record | {"local_path": str(video.path) if local else None})


def read_fetched(store: Store, key: str, *, url: str) -> FetchedVideo:
    """Read a fetch's record; `url` is the row's, as two manifests may name one file in two ways."""
    record = json.loads((store.result_path("fetch", key) / "video.json").read_bytes())
    path = record.pop("local_path")
    return FetchedVideo(**record, url=url, path=Path(path) if path else store.video_path(record["sha256"]))


def write_faces(folder: Path, item: FacesItem) -> None:
    """Write a span's face tracks beside the crops that `CropWriter` has put there."""
    facts = {field.name: getattr(item, field.name) for field in fields(item) if field.name != "tracks"}
    write_json(folder / "faces.json", facts | {"tracks": [track.scheme for track in item.tracks]})
    _write_arrays(folder / "tracks.npz", item.tracks)


def read_faces(folder: Path) -> FacesItem:
    """Read what `write_faces` wrote."""
    facts = json.loads((folder / "faces.json").read_bytes())
    schemes = facts.pop("tracks")
    arrays = _read_arrays(folder / "tracks.npz", len(schemes))
    tracks = tuple(LandmarkTrack(scheme=scheme, **own) for scheme, own in zip(schemes, arrays, strict=True))
    return FacesItem(**facts, tracks=tracks)


def read_faces_counts(folder: Path) -> FoundCounts:
    """How much was found, without reading the arrays."""
    facts = json.loads((folder / "faces.json").read_bytes())
    return FoundCounts(frames=facts["frames"], tracks=len(facts["tracks"]), short_tracks=facts["short_tracks"])


def write_fitted(folder: Path, item: FittedItem, summaries: Sequence[TrackSummary]) -> None:
    """Write a span's fitted tracks."""
    facts = [
        {"status": track.status, "iterations": track.iterations, "holdout_error": track.holdout_error,
         "summary": asdict(summary)}
        for track, summary in zip(item.tracks, summaries, strict=True)
    ]  # fmt: skip
    write_json(folder / "fit.json", facts)
    _write_arrays(folder / "fitted.npz", item.tracks)
    _write_arrays(folder / "sizes.npz", [{"face_size_px": size} for size in item.face_size_px])


def read_fitted(folder: Path) -> FittedItem:
    """Read what `write_fitted` wrote."""
    facts = json.loads((folder / "fit.json").read_bytes())
    arrays = _read_arrays(folder / "fitted.npz", len(facts))
    tracks = tuple(
        FittedTrack(
            status=own["status"], iterations=own["iterations"], holdout_error=float(own["holdout_error"]), **data
        )
        for own, data in zip(facts, arrays, strict=True)
    )
    sizes = _read_arrays(folder / "sizes.npz", len(facts))
    return FittedItem(tracks=tracks, face_size_px=tuple(size["face_size_px"] for size in sizes))


def read_summaries(folder: Path) -> tuple[TrackSummary, ...]:
    """What pruning needs of each fitted track, without reading the arrays."""
    facts = json.loads((folder / "fit.json").read_bytes())
    return tuple(TrackSummary(**own["summary"]) for own in facts)


class CropWriter:
    """Streams crops to disk as they are made, so that a long video does not fill the memory.

    Args:
        folder: The result's folder, not yet committed.
    """

    def __init__(self, folder: Path) -> None:
        self._writer = pq.ParquetWriter(folder / "crops.parquet", _CROPS, compression="none", use_dictionary=False)
        self._waiting: list[dict[str, Any]] = []

    def add(self, track: int, frame: int, jpeg: bytes, crop_from_frame: Float32[np.ndarray, "2 3"]) -> None:
        """Add one crop; they come in the order of tracks and frames."""
        numbers = crop_from_frame.reshape(6).tolist()
        self._waiting.append({"track": track, "frame": frame, "jpeg": jpeg, "crop_from_frame": numbers})
        if len(self._waiting) == _CROPS_PER_BATCH:
            self._flush()

    def close(self) -> None:
        """Write what waits and the file's end."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_batch(pa.RecordBatch.from_pylist(self._waiting, schema=_CROPS))
            self._waiting = []


def read_crops(folder: Path, track: int) -> Iterator[pa.RecordBatch]:
    """The crops of one track, some at a time: track, frame, jpeg, crop_from_frame. None where none were written."""
    path = folder / "crops.parquet"
    if not path.exists():
        return
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            bounds = file.metadata.row_group(group).column(0).statistics
            if bounds.min <= track <= bounds.max:
                table = file.read_row_group(group)
                yield from table.filter(pa.compute.equal(table["track"], track)).to_batches()


def _write_arrays(path: Path, records: Sequence[Any]) -> None:
    arrays: dict[str, Any] = {}
    for index, record in enumerate(records):
        values = record if isinstance(record, dict) else {f.name: getattr(record, f.name) for f in fields(record)}
        arrays |= {f"{index}/{name}": value for name, value in values.items() if isinstance(value, np.ndarray)}
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def _read_arrays(path: Path, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{} for _ in range(count)]
    with np.load(path, allow_pickle=False) as archive:
        for name in archive.files:
            if match := _NUMBERED.fullmatch(name):
                found[int(match[1])][match[2]] = archive[name]
    return found
