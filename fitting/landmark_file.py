"""Landmarks that others have found: `.npz` and `.csv` files of one face over time.

- `.npz`: `landmarks` (frames x points x 2, pixels); optional `confidence` (frames x points), `pts_s` (frames, seconds)
  or `fps`, `frame` (frames, whole numbers), `scheme` (text), `picture_px` (width and height of the picture), `smoothed`
  (as `landmarks`: what is fitted, where that was smoothed over time; errors are measured against `landmarks`).
- wide `.csv`: `frame`, optional `pts_s`, and `x0,y0,x1,y1,...` in any order; one row per frame.
- wide `.csv` of OpenFace, see `fitting.openface_csv`.
- tidy `.csv`: `frame,point,x,y`, optional `confidence` and `pts_s`; one row per frame and point.

A frame may also have the 468 or 478 points of MediaPipe's face mesh, of which those of the scheme are taken
(mediapipe68, where nobody says which). Their depth, a third coordinate, `z0`, `z1`, ... or `z`, may be there and is
left out.

Missing points are NaN or empty cells (in a tidy file, also rows that are not there).
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from fitting.csv_cells import read_cells
from fitting.landmark_csv import LandmarkTable, landmark_table
from fitting.landmark_times import times_s
from fitting.mediapipe_mesh import MESH_POINTS, USUAL_SCHEME, mesh_ids
from fitting.npz import npz_bytes, read_npz
from fitting.openface_csv import is_openface, openface_table
from fitting.tracks import LandmarkSequence
from fitting.whole_file import write_whole

DEFAULT_FPS = 30.0
_NPZ_ARRAYS = ("landmarks", "confidence", "pts_s", "fps", "frame", "scheme", "picture_px", "smoothed")


@dataclass(frozen=True, slots=True, kw_only=True)
class LandmarkFile:
    """What a landmarks file holds.

    Attributes:
        sequence: The landmarks; missing points are NaN with weight 0.
        frame: Number of each frame in the file's own counting, increasing.
        first_frame: What such files call the first frame of a video: 1 for OpenFace, else 0.
        assumed_fps: The rate that times were made from where the file gave neither times nor a rate, else None.
    """

    sequence: LandmarkSequence
    frame: Int64[np.ndarray, " frames"]
    first_frame: int
    assumed_fps: float | None


def read_landmarks(path: Path, *, scheme: str | None = None, fps: float | None = None) -> LandmarkFile:
    """Read a landmarks file; the formats are described at the head of this module.

    Args:
        path: A `.npz` or `.csv` file.
        scheme: Landmark scheme; None takes the one that the file names.
        fps: Frames per second, where the file has neither times nor a rate; None is 30.

    Raises:
        ValueError: A mistake in the file (the message names file, line and field) or in an argument.
        OSError: The file cannot be read.
    """
    if fps is not None and not 0 < fps < math.inf:
        raise ValueError(f"fps={fps} must be positive and finite")
    suffix = path.suffix.lower()
    if suffix == ".npz":
        table = _read_npz(path)
    elif suffix == ".csv":
        cells = read_cells(path)
        table = openface_table(cells) if is_openface(cells.names) else landmark_table(cells)
    else:
        raise ValueError(f"{path}: landmarks are read from .npz and .csv files, this is {suffix or 'without ending'!r}")
    if fps is not None and (table.pts_s is not None or table.fps is not None):
        raise ValueError(f"fps={fps}, but {path} has its own {'fps' if table.pts_s is None else 'pts_s'}; give one")
    rate = table.fps or fps or DEFAULT_FPS
    table, known = _of_mesh(table, scheme)
    return LandmarkFile(
        sequence=_sequence(path, table, _scheme(path, table.scheme, known), rate),
        frame=table.frame,
        first_frame=table.first_frame,
        assumed_fps=rate if table.pts_s is None and table.fps is None else None,
    )


def _of_mesh(table: LandmarkTable, wanted: str | None) -> tuple[LandmarkTable, str | None]:
    """The scheme's points of a whole mesh, and the scheme; other tables as they are."""
    if table.landmarks.shape[1] not in MESH_POINTS:
        return table, wanted
    scheme = wanted or table.scheme or USUAL_SCHEME
    ids = mesh_ids(scheme)
    if ids is None:
        return table, wanted
    some = {
        name: values[:, ids]
        for name in ("landmarks", "smoothed", "confidence")
        if (values := getattr(table, name)) is not None
    }
    return replace(table, **some), scheme


def _scheme(path: Path, named: str | None, wanted: str | None) -> str:
    if named is None and wanted is None:
        raise ValueError(f"{path} names no landmark scheme: give it, such as --scheme ibug68 (from Python, scheme=)")
    if named is not None and wanted is not None and named != wanted:
        raise ValueError(f"scheme={wanted!r}, but {path} says scheme {named!r}")
    return str(wanted or named)


def _sequence(path: Path, table: LandmarkTable, scheme: str, fps: float) -> LandmarkSequence:
    points = table.landmarks
    if not len(points):
        raise ValueError(f"{path} holds no frames")
    with np.errstate(over="ignore"):
        observed = points.astype(np.float32)
    if len(bad := np.argwhere(np.isinf(observed))):
        row, point, axis = (int(value) for value in bad[0])
        raise ValueError(f"{path}, {table.place(row)}: {'xy'[axis]} of point {point} is not a finite float32; "
                         "missing points are NaN or empty")  # fmt: skip
    missing = np.asarray(np.isnan(observed).any(axis=-1))
    observed[missing] = np.nan
    smoothed = observed if table.smoothed is None else _smoothed(path, table.smoothed, missing)
    weight = np.ones(missing.shape) if table.confidence is None else table.confidence
    if len(bad := np.argwhere(~((weight >= 0) & (weight <= 1)) & ~missing)):
        row, point = (int(value) for value in bad[0])
        raise ValueError(
            f"{path}, {table.place(row)}: confidence of point {point} is {weight[row, point]}, expected 0 to 1"
        )
    if (steps := np.diff(table.frame) <= 0).any():
        row = int(np.argmax(steps)) + 1
        raise ValueError(f"{path}, {table.place(row)}: frame {table.frame[row]} comes after {table.frame[row - 1]}; "
                         "frames must increase")  # fmt: skip
    return LandmarkSequence(
        scheme=scheme,
        observed_px=observed,
        smoothed_px=smoothed,
        weight=np.where(missing, 0.0, weight).astype(np.float32),
        pts_s=times_s(path, table, fps),
        picture_px=table.picture_px,
    )


def _read_npz(path: Path) -> LandmarkTable:
    arrays = read_npz(path)
    if unknown := sorted(set(arrays) - set(_NPZ_ARRAYS)):
        raise ValueError(f"{path} holds an array {unknown[0]!r}; known are: {', '.join(_NPZ_ARRAYS)}")
    if "landmarks" not in arrays:
        raise ValueError(f"{path} lacks the array 'landmarks' (frames x points x 2)")
    if "pts_s" in arrays and "fps" in arrays:
        raise ValueError(f"{path} holds both 'pts_s' and 'fps'; one of them says the times")
    landmarks = arrays["landmarks"]
    if landmarks.ndim == 3 and landmarks.shape[1] in MESH_POINTS and landmarks.shape[2] == 3:
        landmarks = arrays["landmarks"] = landmarks[..., :2]
    if landmarks.ndim != 3 or landmarks.shape[-1] != 2:
        raise ValueError(f"{path}: landmarks has shape {landmarks.shape}, expected frames x points x 2")
    frames, points = landmarks.shape[:2]
    wanted = {
        "landmarks": landmarks.shape, "smoothed": landmarks.shape, "confidence": (frames, points), "pts_s": (frames,),
        "fps": (), "frame": (frames,),
    }  # fmt: skip
    for name, shape in wanted.items():
        if name not in arrays:
            continue
        if arrays[name].shape != shape:
            raise ValueError(f"{path}: {name} has shape {arrays[name].shape}, expected {shape} as landmarks say")
        kinds, say = ("iu", "whole numbers") if name == "frame" else ("iuf", "numbers")
        if arrays[name].dtype.kind not in kinds:
            raise ValueError(f"{path}: {name} has type {arrays[name].dtype}, expected {say}")
    fps = float(arrays["fps"]) if "fps" in arrays else None
    if fps is not None and not 0 < fps < math.inf:
        raise ValueError(f"{path}: fps is {fps}, expected a positive number")
    scheme = arrays.get("scheme")
    if scheme is not None and (scheme.shape != () or scheme.dtype.kind != "U"):
        raise ValueError(f"{path}: scheme is {scheme.dtype} of shape {scheme.shape}, expected one text")
    picture = arrays.get("picture_px")
    if picture is not None and (picture.shape != (2,) or picture.dtype.kind not in "iu" or (picture < 1).any()):
        raise ValueError(f"{path}: picture_px is {picture.tolist()}, expected a width and a height in whole pixels")
    return LandmarkTable(
        picture_px=None if picture is None else (int(picture[0]), int(picture[1])),
        landmarks=landmarks.astype(np.float64),
        confidence=arrays["confidence"].astype(np.float64) if "confidence" in arrays else None,
        frame=arrays["frame"].astype(np.int64) if "frame" in arrays else np.arange(frames, dtype=np.int64),
        pts_s=arrays["pts_s"].astype(np.float64) if "pts_s" in arrays else None,
        fps=fps,
        scheme=None if scheme is None else str(scheme),
        smoothed=arrays["smoothed"].astype(np.float64) if "smoothed" in arrays else None,
    )


def _smoothed(
    path: Path, points: Float64[np.ndarray, "frames points 2"], missing: Bool[np.ndarray, "frames points"]
) -> Float32[np.ndarray, "frames points 2"]:
    with np.errstate(over="ignore"):
        smoothed = points.astype(np.float32)
    smoothed[missing] = np.nan
    if len(bad := np.argwhere(~np.isfinite(smoothed).all(axis=-1) & ~missing)):
        raise ValueError(f"{path}, frames[{bad[0][0]}]: smoothed point {bad[0][1]} is not finite, but its landmark is")
    return smoothed


def write_landmarks(path: Path, sequence: LandmarkSequence, *, frame: Int64[np.ndarray, " frames"]) -> None:
    """Write landmarks as `read_landmarks` reads them, bit for bit; the same landmarks give the same bytes.

    Args:
        path: A `.npz` file; one that is there is replaced, whole or not at all.
        sequence: The landmarks.
        frame: Number of each of their frames, increasing.

    Raises:
        OSError: The file cannot be written.
    """
    arrays = {
        "landmarks": sequence.observed_px, "smoothed": sequence.smoothed_px, "confidence": sequence.weight,
        "pts_s": sequence.pts_s, "frame": frame, "scheme": np.array(sequence.scheme),
    }  # fmt: skip
    if sequence.picture_px is not None:
        arrays["picture_px"] = np.array(sequence.picture_px, dtype=np.int64)
    write_whole(path, npz_bytes(None, arrays))
