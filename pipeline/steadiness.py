"""How fast a face moved, and how much its landmarks tremble: numbers that go into the tables, in sizes of the face."""

import numpy as np
from jaxtyping import Bool, Float32, Float64

from fitting.face_model import INNER_POINTS
from pipeline.faces.landmark_track import LandmarkTrack

_FRAMES_AT_ONCE = 8192


def motion_per_s(
    seen: LandmarkTrack, face_size_px: Float32[np.ndarray, " frames"]
) -> Float32[np.ndarray, " frames"]:
    """Median speed of the smoothed inner landmarks, in face sizes per second; 0 in a track of one frame."""
    if len(seen.pts_s) < 2:
        return np.zeros(len(seen.pts_s), np.float32)
    points = seen.smoothed_px[:, INNER_POINTS].astype(np.float64)
    speed_px_per_s = np.linalg.norm(np.gradient(points, seen.pts_s, axis=0), axis=2)
    return np.asarray(np.median(speed_px_per_s, axis=1) / np.maximum(face_size_px, 1e-6), np.float32)


def frame_jitter(
    seen: LandmarkTrack, face_size_px: Float32[np.ndarray, " frames"]
) -> Float32[np.ndarray, " frames"]:
    """RMS second difference of the raw inner landmarks, over the face's size; 0 where a neighbour was not seen."""
    jitter_px = np.zeros(len(seen.pts_s))
    jitter_px[1:-1] = np.sqrt(_bends_px2(seen)) * _in_a_row(seen)
    return np.asarray(jitter_px / np.maximum(face_size_px, 1e-6), np.float32)


def jitter(seen: LandmarkTrack, face_size_px: Float32[np.ndarray, " frames"]) -> float:
    """RMS second difference over time of the raw inner landmarks, over the track's median outer-eye distance.

    Only three frames in a row in which the face was seen count; 0 where there are none.
    """
    in_a_row = _in_a_row(seen)
    size = float(np.median(face_size_px))
    if not in_a_row.any() or size <= 0:
        return 0.0
    bends_px2 = [
        _bends_px2(seen.at(slice(begin, begin + _FRAMES_AT_ONCE + 2)))
        for begin in range(0, len(seen.frame) - 2, _FRAMES_AT_ONCE)
    ]
    return float(np.sqrt(np.concatenate(bends_px2)[in_a_row].mean()) / size)


def _bends_px2(seen: LandmarkTrack) -> Float64[np.ndarray, " inner_frames"]:
    """Mean squared second difference of the raw inner landmarks at each frame but the first and the last."""
    points = seen.observed_px[:, INNER_POINTS].astype(np.float64)
    second = points[2:] - 2 * points[1:-1] + points[:-2]
    return np.asarray(np.square(second).sum(axis=2).mean(axis=1))


def _in_a_row(seen: LandmarkTrack) -> Bool[np.ndarray, " inner_frames"]:
    """For each frame but the first and the last, whether the face was seen in it and in both its neighbours."""
    real = seen.confidence > 0
    return np.asarray(real[2:] & real[1:-1] & real[:-2])
