"""The tables of a FaceVid dataset: columns, types, units, and the version of all that.

Each column's meaning is stored in the Parquet file as field metadata under `description`, so that a
reader without our code finds it too. Pixel coordinates are those of the displayed picture (rotation
and pixel aspect ratio applied), x right, y down, (0, 0) the centre of the top-left pixel. The camera
frame is x right, y down, z forward; the head frame is the face model's: x to the subject's left,
y up, z out of the face, millimetres. Cameras are scaled orthographic, q = scale_px_per_mm * (R @ head_mm):
`landmark_px = q[:2] + translation_px`, R from `rotation_wxyz`. Where the track has a `focal_px`, they are
perspective: `landmark_px = c + (q[:2] + translation_px - c) / (1 + q[2] / focal_px)`, c the picture's middle,
`((width_px - 1) / 2, (height_px - 1) / 2)`; scale and translation are then those of the head frame's origin.
"""

from collections.abc import Mapping
from types import MappingProxyType

import pyarrow as pa

SCHEMA_VERSION = 2

TABLES = ("frames", "tracks", "crops", "failures")

FUNNEL_UNITS: Mapping[str, str] = MappingProxyType(
    {"manifest": "rows", "fetch": "videos", "faces": "videos", "tracks": "tracks", "fit": "tracks", "frames": "frames"}
)
"""The funnel's steps in order, each with the unit in which `in = ok + failed + filtered` holds."""


def _field(name: str, kind: pa.DataType, description: str, *, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"description": description})


def _vector(length: int) -> pa.DataType:
    return pa.list_(pa.field("item", pa.float32(), nullable=False), length)


_VIDEO_ID = _field("video_id", pa.string(), "the manifest's id of the video")
_TRACK = _field("track", pa.int32(), "index of the face track within its video, from 0")
_FRAME = _field("frame", pa.int32(), "index of the frame in presentation order, from 0 where the video or clip begins")


def frames_schema(*, points: int, n_expression: int) -> pa.Schema:
    """One row per face and frame, sorted by (video_id, track, frame).

    Args:
        points: Number of landmarks of the scheme.
        n_expression: Number of expression components of the face model.
    """
    return pa.schema([
        _VIDEO_ID,
        _TRACK,
        _FRAME,
        _field("pts_s", pa.float64(), "presentation time, seconds on the file's clock; may begin after 0"),
        _field("box_px", _vector(4), "face box x0, y0, x1, y1, pixels"),
        _field("landmarks_px", _vector(2 * points),
               "landmarks as detected (interpolated where landmark_confidence is 0), x0, y0, x1, y1, ..., pixels"),
        _field("smoothed_px", _vector(2 * points), "landmarks after smoothing over time; the fit's input"),
        _field("landmark_confidence", pa.float32(), "the detector's face presence score; 0 where it missed the face"),
        _field("scale_px_per_mm", pa.float32(), "camera: scale, pixels per millimetre"),
        _field("rotation_wxyz", _vector(4), "camera: unit quaternion, head frame to camera frame, w >= 0"),
        _field("translation_px", _vector(2), "camera: where the head frame's origin falls, pixels"),
        _field("expression", _vector(n_expression), "expression coefficients, standard deviations"),
        _field("expression_sigma", _vector(n_expression),
               "posterior standard deviation of each, the identity's own uncertainty included, same unit"),
        _field("reprojection_error", pa.float32(),
               "median distance of the inner 51 landmarks of the fitted face to landmarks_px, over the distance of its "
               "outer eye landmarks seen from the front"),
        _field("face_size_px", pa.float32(), "distance of the fitted outer eye corners, seen from the front, pixels"),
        _field("sharpness", pa.float32(),
               "variance of the Laplacian of the registered crop's luma (0 to 1), times 1000"),
        _field("brightness", pa.float32(), "mean luma of what is picture in the registered crop, 0 to 1"),
        _field("yaw_deg", pa.float32(), "turn to the subject's left is positive, degrees"),
        _field("pitch_deg", pa.float32(), "looking up is positive, degrees"),
        _field("roll_deg", pa.float32(), "clockwise in the picture is positive, degrees"),
        _field("in_frame", pa.float32(), "share of the landmarks that lie inside the picture, 0 to 1"),
        _field("occlusion", pa.float32(),
               "how surely something covers much of the face, 0 to 1: 1 minus the presence score of its worse half "
               "seen alone, asked every 20 frames; null where the detector cannot tell", nullable=True),
        _field("motion_per_s", pa.float32(),
               "median speed of the inner 51 smoothed landmarks, in face_size_px per second"),
        _field("jitter", pa.float32(),
               "RMS second difference of the raw inner landmarks with the frames before and after, over face_size_px; "
               "0 where one of the three was not seen"),
        _field("kept", pa.bool_(), "false where the frame's track or the frame itself is filtered"),
        _field("filtered_reason", pa.string(),
               "why not kept, else null: the track's reason (rejected: by hand), not_seen, or the condition of --keep",
               nullable=True),
    ])


def tracks_schema(*, n_identity: int) -> pa.Schema:
    """One row per face track, sorted by (video_id, track).

    Args:
        n_identity: Number of identity components of the face model.
    """
    return pa.schema([
        _VIDEO_ID,
        _TRACK,
        _field("split", pa.string(), "train, val or test; all tracks of a subject share one, and all of a file"),
        _field("subject_id", pa.string(), "who it is, where the manifest says so", nullable=True),
        _field("frames", pa.int32(), "rows of this track in the frames table"),
        _field("first_frame", pa.int32(), "index of its first frame"),
        _field("last_frame", pa.int32(), "index of its last frame"),
        _field("start_s", pa.float64(), "presentation time of its first frame, seconds"),
        _field("end_s", pa.float64(), "presentation time of its last frame, seconds"),
        _field("clip_start_s", pa.float64(), "start_s of the manifest's row: the video was read from there on",
               nullable=True),
        _field("clip_end_s", pa.float64(), "end_s of the manifest's row: the video was read up to there",
               nullable=True),
        _field("identity", _vector(n_identity), "identity coefficients, standard deviations"),
        _field("identity_norm", pa.float32(), "Euclidean norm of identity"),
        _field("focal_px", pa.float64(), "camera: focal length, pixels; null where scaled orthographic", nullable=True),
        _field("fit_status", pa.string(), "converged or iteration_limit"),
        _field("fit_iterations", pa.int32(), "solver iterations, both stages"),
        _field("reprojection_error", pa.float32(), "median over frames of the frames table's reprojection_error"),
        _field("holdout_error", pa.float32(), "the same on every other point, left out of a second fit"),
        _field("jitter", pa.float32(),
               "RMS second difference over time of the raw inner landmarks, over the outer-eye distance"),
        _field("appearance_similarity", pa.float32(),
               "lowest similarity of the face's look to its mean over the track (in a long video, over each "
               "span of it): 1 minus half their squared distance"),
        _field("appearance_jump", pa.float32(),
               "largest leap of its look: least half squared distance of any of 5 frames before to any of 5 after"),
        _field("kept", pa.bool_(), "false where filtered"),
        _field("filtered_reason", pa.string(), "why not kept, else null; rejected: by hand", nullable=True),
        _field("url", pa.string(),
               "where the video came from: the manifest's address without what lets someone in (signatures, tokens)"),
        _field("title", pa.string(), "the source's title, where it told", nullable=True),
        _field("uploader", pa.string(), "the source's uploader, where it told", nullable=True),
        _field("licence", pa.string(), "the manifest's or the source's licence statement", nullable=True),
        _field("attribution", pa.string(), "whom to credit, from the manifest", nullable=True),
        _field("extra", pa.string(), "the manifest's further columns, a JSON object of strings", nullable=True),
        _field("upload_date", pa.string(), "day of publication as the source told, YYYY-MM-DD", nullable=True),
        _field("format_id", pa.string(), "the source's name of the format that was taken", nullable=True),
        _field("fetched_at", pa.string(), "UTC time of the download, ISO 8601; null for local files", nullable=True),
        _field("source_sha256", pa.string(), "sha256 of the video file"),
        _field("width_px", pa.int32(), "displayed picture width, pixels"),
        _field("height_px", pa.int32(), "displayed picture height, pixels"),
        _field("fps", pa.float32(), "mean frame rate, frames per second"),
        _field("codec", pa.string(), "the video stream's codec"),
        _field("landmark_scheme", pa.string(), "name of the landmark scheme"),
        _field("detector", pa.string(), "name of the landmark detector"),
        _field("detector_sha256", pa.string(), "sha256 over the detector's weight files"),
        _field("face_model", pa.string(), "name of the face model"),
        _field("face_model_sha256", pa.string(), "sha256 of the face model file"),
    ])


def crops_schema() -> pa.Schema:
    """One row per fitted frame whose crop was kept, which may be some of them, sorted like the frames table."""
    return pa.schema([
        _VIDEO_ID,
        _TRACK,
        _FRAME,
        _field("jpeg", pa.binary(), "224x224 registered face crop, JPEG, RGB"),
        _field("crop_from_frame", _vector(6), "row-major 2x3 similarity from frame pixels to crop pixels"),
    ])


def failures_schema() -> pa.Schema:
    """One row per item that failed, sorted by (video_id, track)."""
    return pa.schema([
        _VIDEO_ID,
        _field("track", pa.int32(), "index of the face track, null where the whole video failed", nullable=True),
        _field("url", pa.string(), "the manifest's address or path, without what lets someone in"),
        _field("stage", pa.string(), "see facevid.failures.Stage"),
        _field("code", pa.string(), "see facevid.failures.FailureCode; a closed list"),
        _field("retryable", pa.bool_(), "whether the same item may succeed later, unchanged"),
        _field("attempt", pa.int32(), "1 for the first try"),
        _field("message", pa.string(), "one sentence for a person"),
    ])


def dataset_schemas(*, points: int, n_identity: int, n_expression: int) -> dict[str, pa.Schema]:
    """The columns of every table, by name, in the order of `TABLES`."""
    return {
        "frames": frames_schema(points=points, n_expression=n_expression),
        "tracks": tracks_schema(n_identity=n_identity),
        "crops": crops_schema(),
        "failures": failures_schema(),
    }


def columns(schema: pa.Schema) -> tuple[tuple[str, str, str], ...]:
    """Of each column its name, its type (`?` where it may be null), and its meaning with its unit."""
    return tuple(
        (field.name, _kind(field.type) + ("?" if field.nullable else ""), field.metadata[b"description"].decode())
        for field in schema
    )


def column_lines(schema: pa.Schema) -> tuple[str, ...]:
    """One line per column for a person: name, type (`?` where it may be null), meaning with its unit."""
    rows = columns(schema)
    left, middle = max(len(name) for name, _, _ in rows), max(len(kind) for _, kind, _ in rows)
    return tuple(f"{name:<{left}}  {kind:<{middle}}  {meaning}" for name, kind, meaning in rows)


def _kind(kind: pa.DataType) -> str:
    if pa.types.is_fixed_size_list(kind):
        return f"{_kind(kind.value_type)}[{kind.list_size}]"
    # Arrow's own names for these two leave their size open.
    return {"float": "float32", "double": "float64"}.get(str(kind), str(kind))
