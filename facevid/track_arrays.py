"""A face track as numpy arrays, out of the rows of the tracks table and the frames table."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float32, Float64, Int32

TRACK_COLUMNS = (
    "video_id", "track", "frame", "pts_s", "kept", "expression", "expression_sigma", "scale_px_per_mm",
    "rotation_wxyz", "translation_px", "landmarks_px", "smoothed_px", "landmark_confidence", "reprojection_error",
)
"""What of the frames table is read for tracks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackArrays:
    """One face track, frame by frame.

    Attributes:
        video_id: The manifest's id of the video.
        track: Index of the track in the video.
        row: The track's row of the tracks table.
        frame: Index of each frame in its video, in presentation order.
        pts_s: Presentation times, seconds.
        identity: Identity coefficients, standard deviations.
        expression: Expression coefficients per frame, standard deviations.
        expression_sigma: Posterior standard deviation of each.
        rotation_wxyz: Unit quaternions, head frame to camera frame.
        scale_px_per_mm: Camera scale.
        translation_px: Where the head frame's origin falls.
        landmarks_px: Landmarks as detected.
        smoothed_px: Landmarks after smoothing over time, which the fit saw.
        landmark_confidence: The detector's face presence score; 0 where it missed the face.
        reprojection_error: Median distance over the inner 51 points, fraction of the outer-eye distance.
        lens: One over the focal length (1/px) and the principal point (px); zeros for scaled orthographic.
    """

    video_id: str
    track: int
    row: dict[str, Any]
    frame: Int32[np.ndarray, " frames"]
    pts_s: Float64[np.ndarray, " frames"]
    identity: Float32[np.ndarray, " n_identity"]
    expression: Float32[np.ndarray, "frames n_expression"]
    expression_sigma: Float32[np.ndarray, "frames n_expression"]
    rotation_wxyz: Float32[np.ndarray, "frames 4"]
    scale_px_per_mm: Float32[np.ndarray, " frames"]
    translation_px: Float32[np.ndarray, "frames 2"]
    landmarks_px: Float32[np.ndarray, "frames points 2"]
    smoothed_px: Float32[np.ndarray, "frames points 2"]
    landmark_confidence: Float32[np.ndarray, " frames"]
    reprojection_error: Float32[np.ndarray, " frames"]
    lens: Float32[np.ndarray, " 3"]


def vectors(column: Any) -> Float32[np.ndarray, "rows width"]:
    """A column of fixed-size lists as a matrix; works on slices too."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(whole, pa.ChunkedArray):  # no chunk at all
        whole = pa.array([], column.type)
    return np.asarray(whole.flatten().to_numpy(zero_copy_only=False), np.float32).reshape(-1, whole.type.list_size)


def by_track(parts: Iterable[pa.Table]) -> Iterator[tuple[tuple[str, int], pa.Table]]:
    """The frames of each track of a shard, by video and track.

    Args:
        parts: The shard's rows in their order, such as its row groups; a track may go on from one to the next. What is
            kept of them at a time is the last and the track that is being read.
    """
    # Shards are sorted by track, so a track is a run of rows.
    begun: list[pa.Table] = []
    last: tuple[str, int] | None = None
    for part in parts:
        for key, run in _runs(part):
            if last is not None and key != last:
                yield last, pa.concat_tables(begun)
                begun = []
            begun.append(run)
            last = key
    if last is not None:
        yield last, pa.concat_tables(begun)


def _runs(frames: pa.Table) -> Iterator[tuple[tuple[str, int], pa.Table]]:
    if not frames.num_rows:
        return
    videos = frames["video_id"].to_numpy(zero_copy_only=False)
    tracks = frames["track"].to_numpy()
    starts = [0, *(np.flatnonzero((videos[1:] != videos[:-1]) | (tracks[1:] != tracks[:-1])) + 1).tolist()]
    for start, stop in zip(starts, [*starts[1:], frames.num_rows], strict=True):
        yield (videos[start], int(tracks[start])), frames.slice(start, stop - start)


def track_arrays(row: dict[str, Any], frames: pa.Table) -> TrackArrays:
    """One track from its row of the tracks table and some of its frames."""
    count = frames.num_rows
    return TrackArrays(
        video_id=row["video_id"],
        track=row["track"],
        row=row,
        frame=frames["frame"].to_numpy(),
        pts_s=frames["pts_s"].to_numpy(),
        identity=np.asarray(row["identity"], np.float32),
        expression=vectors(frames["expression"]),
        expression_sigma=vectors(frames["expression_sigma"]),
        rotation_wxyz=vectors(frames["rotation_wxyz"]),
        scale_px_per_mm=frames["scale_px_per_mm"].to_numpy(),
        translation_px=vectors(frames["translation_px"]),
        landmarks_px=vectors(frames["landmarks_px"]).reshape(count, -1, 2),
        smoothed_px=vectors(frames["smoothed_px"]).reshape(count, -1, 2),
        landmark_confidence=frames["landmark_confidence"].to_numpy(),
        reprojection_error=frames["reprojection_error"].to_numpy(),
        lens=_lens(row),
    )


def _lens(row: dict[str, Any]) -> Float32[np.ndarray, " 3"]:
    if row["focal_px"] is None:
        return np.zeros(3, dtype=np.float32)
    middle = (row["width_px"] - 1) / 2, (row["height_px"] - 1) / 2
    return np.array([1 / row["focal_px"], *middle], dtype=np.float32)
