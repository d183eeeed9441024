"""From stored results to rows of the tables, exactly as `facevid.schema` says. No files, no order, no shards."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float32, Shaped

from facevid.failures import Failure
from facevid.public_urls import public_url, without_secrets
from facevid.schema import crops_schema, failures_schema, frames_schema, tracks_schema
from facevid.splits import Split
from fitting.angles import yaw_pitch_roll_deg
from fitting.tracks import FittedTrack
from pipeline.config import PruneOptions
from pipeline.faces.landmark_track import LandmarkTrack
from pipeline.fetched_video import FetchedVideo
from pipeline.items import SpanFacts, TrackSummary
from pipeline.manifest import ManifestRow
from pipeline.pruning import filtered_reasons, pruned
from pipeline.rejects import REJECTED
from pipeline.row_split import own_split
from pipeline.steadiness import frame_jitter, jitter, motion_per_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """What was used to make the rows, the same for all of them.

    Attributes:
        detector: Name of the landmark detector.
        detector_sha256: sha256 over its weight files.
        face_model: Name of the face model.
        face_model_sha256: sha256 of its file.
    """

    detector: str
    detector_sha256: str
    face_model: str
    face_model_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackResult:
    """One fitted track with all that its rows tell.

    Attributes:
        row: The manifest's row.
        source: The video file.
        video: The video's facts.
        track: Index of the track in its video.
        first_frame: Where frame 0 of the landmarks' count stands in the video (or the clip).
        landmarks: What was seen.
        fit: What was fitted.
        face_size_px: Outer-eye distance per frame, seen from the front.
        summary: What pruning looks at.
        rejected: Whether somebody looked at it and does not want it.
    """

    row: ManifestRow
    source: FetchedVideo
    video: SpanFacts
    track: int
    first_frame: int
    landmarks: LandmarkTrack
    fit: FittedTrack
    face_size_px: Float32[np.ndarray, " frames"]
    summary: TrackSummary
    rejected: bool = False


_ROWS_AT_ONCE = 8192


def frames_batches(result: TrackResult, options: PruneOptions) -> Iterator[pa.RecordBatch]:
    """The rows of the frames table for one track, some at a time: those of an hour are half a gigabyte."""
    for begin in range(0, len(result.landmarks.frame), _ROWS_AT_ONCE):
        # Motion and jitter look at a frame's neighbours.
        first, last = max(0, begin - 1), begin + _ROWS_AT_ONCE + 1
        yield _frames_batch(_some_frames(result, slice(first, last)), options).slice(begin - first, _ROWS_AT_ONCE)


def _some_frames(result: TrackResult, frames: slice) -> TrackResult:
    return replace(
        result, landmarks=result.landmarks.at(frames), fit=result.fit.at(frames),
        face_size_px=result.face_size_px[frames],
    )  # fmt: skip


def _frames_batch(result: TrackResult, options: PruneOptions) -> pa.RecordBatch:
    seen, fit = result.landmarks, result.fit
    count = len(seen.frame)
    angles = yaw_pitch_roll_deg(fit.rotation_wxyz)
    columns: dict[str, Any] = {
        "video_id": np.repeat(result.row.video_id, count),
        "track": np.full(count, result.track, np.int32),
        "frame": seen.frame + np.int32(result.first_frame),
        "pts_s": seen.pts_s,
        "box_px": seen.box_px,
        "landmarks_px": seen.observed_px.reshape(count, -1),
        "smoothed_px": seen.smoothed_px.reshape(count, -1),
        "landmark_confidence": seen.confidence,
        "scale_px_per_mm": fit.scale_px_per_mm,
        "rotation_wxyz": fit.rotation_wxyz,
        "translation_px": fit.translation_px,
        "expression": fit.expression,
        "expression_sigma": fit.expression_sigma,
        "reprojection_error": fit.reprojection_error,
        "face_size_px": result.face_size_px,
        "sharpness": seen.sharpness,
        "brightness": seen.brightness,
        "yaw_deg": angles[:, 0].astype(np.float32),
        "pitch_deg": angles[:, 1].astype(np.float32),
        "roll_deg": angles[:, 2].astype(np.float32),
        "in_frame": seen.in_frame,
        "occlusion": pa.array(seen.occlusion, pa.float32(), from_pandas=True),
        "motion_per_s": motion_per_s(seen, result.face_size_px),
        "jitter": frame_jitter(seen, result.face_size_px),
        "kept": np.ones(count, np.bool_),
        "filtered_reason": np.full(count, None),
    }
    schema = frames_schema(points=seen.observed_px.shape[1], n_expression=fit.expression.shape[1])
    arrays = {field.name: _column(columns[field.name], field) for field in schema}
    rows = pa.Table.from_arrays(list(arrays.values()), schema=schema)
    reasons: list[str | None] = (
        [REJECTED] * count if result.rejected else filtered_reasons(result.summary, seen.confidence, rows, options)
    )
    arrays["kept"] = pa.array([reason is None for reason in reasons], pa.bool_())
    arrays["filtered_reason"] = pa.array(reasons, pa.string())
    return pa.RecordBatch.from_arrays(list(arrays.values()), schema=schema)


def tracks_batch(
    result: TrackResult, options: PruneOptions, labels: Labels, *, split: Split | None = None
) -> pa.RecordBatch:
    """The row of the tracks table for one track; `split` is another than its own, see `FilesOfRows.moved`."""
    row, source, seen, fit = result.row, result.source, result.landmarks, result.fit
    reason = REJECTED if result.rejected else pruned(result.summary, options)
    values = {
        "video_id": row.video_id,
        "track": result.track,
        "split": split or own_split(row),
        "subject_id": row.subject_id,
        "frames": len(seen.frame),
        "first_frame": result.first_frame + int(seen.frame[0]),
        "last_frame": result.first_frame + int(seen.frame[-1]),
        "start_s": float(seen.pts_s[0]),
        "end_s": float(seen.pts_s[-1]),
        "clip_start_s": row.start_s,
        "clip_end_s": row.end_s,
        "identity": fit.identity.tolist(),
        "identity_norm": result.summary.identity_norm,
        "focal_px": fit.focal_px,
        "fit_status": fit.status,
        "fit_iterations": fit.iterations,
        "reprojection_error": result.summary.reprojection_error,
        "holdout_error": fit.holdout_error,
        "jitter": jitter(seen, result.face_size_px),
        "appearance_similarity": float(seen.similarity.min()),
        "appearance_jump": float(seen.jump.max()),
        "kept": reason is None,
        "filtered_reason": reason,
        "url": public_url(row.url),
        "title": source.title,
        "uploader": source.uploader,
        "licence": row.licence or source.licence,
        "attribution": row.attribution,
        "extra": json.dumps(dict(row.extra), ensure_ascii=False) if row.extra else None,
        "upload_date": source.upload_date,
        "format_id": source.format_id,
        "fetched_at": source.fetched_at,
        "source_sha256": source.sha256,
        "width_px": result.video.width_px,
        "height_px": result.video.height_px,
        "fps": result.video.fps,
        "codec": result.video.codec,
        "landmark_scheme": seen.scheme,
        "detector": labels.detector,
        "detector_sha256": labels.detector_sha256,
        "face_model": labels.face_model,
        "face_model_sha256": labels.face_model_sha256,
    }
    return pa.RecordBatch.from_pylist([values], schema=tracks_schema(n_identity=len(fit.identity)))


def crops_batches(
    video_id: str, track: int, crops: Iterator[pa.RecordBatch], *, first_frame: int
) -> Iterator[pa.RecordBatch]:
    """Rows of the crops table from stored crops of a track; `first_frame` is where their frame 0 stands."""
    schema = crops_schema()
    for batch in crops:
        count = batch.num_rows
        name = pa.array(np.repeat(video_id, count), pa.string())
        numbers = batch.column("crop_from_frame").flatten()
        frame = batch.column("frame").to_numpy() + np.int32(first_frame)
        columns = {"video_id": name, "track": np.full(count, track, np.int32), "frame": frame,
                   "jpeg": batch.column("jpeg"), "crop_from_frame": numbers}  # fmt: skip
        yield pa.RecordBatch.from_arrays([_column(columns[field.name], field) for field in schema], schema=schema)


def failures_batch(failures: list[Failure]) -> pa.RecordBatch:
    """Rows of the failures table, in the table's order."""
    rows = [
        {"video_id": f.video_id, "track": f.track, "url": public_url(f.url), "stage": f.stage.value,
         "code": f.code.value, "retryable": f.code.retryable, "attempt": f.attempt,
         "message": without_secrets(f.message)}
        for f in sorted(failures, key=lambda f: (f.video_id.encode(), -1 if f.track is None else f.track, f.message))
    ]  # fmt: skip
    return pa.RecordBatch.from_pylist(rows, schema=failures_schema())


def _column(values: Any, field: pa.Field) -> pa.Array:
    if pa.types.is_fixed_size_list(field.type):
        flat = values if isinstance(values, pa.Array) else _flat(values)
        return pa.FixedSizeListArray.from_arrays(flat, type=field.type)
    return values if isinstance(values, pa.Array) else pa.array(values, field.type)


def _flat(matrix: Shaped[np.ndarray, "rows width"]) -> pa.Array:
    return pa.array(np.ascontiguousarray(matrix).reshape(-1), pa.float32())
