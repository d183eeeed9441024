"""Smoothing: what is left of the landmarks' jitter on still and slow faces, and of the depth of blinks.

The eyes' points are left out of the jitter: in faces that hardly move, most of their second difference is blinks, which
must stay, and are measured for themselves. The ratio with them stands beside it.
"""

from pathlib import Path

import numpy as np

from benchmarks.tracks.setting import Setting, counted, print_table
from benchmarks.tracks.tracked import tracks_of
from pipeline.faces.landmark_track import LandmarkTrack

STILL = ("face_480_30fps.mp4", "single_face_640x360.mp4", "talk_512_30fps.mp4", "noface_face_960x540.mov")
"""Faces that hardly move, or slowly."""
BLINKS = "talk_512_30fps.mp4"
_STILL_SHARE = 0.5
_BLINK_DEPTH = 0.12
_WITHOUT_EYES = np.r_[0:36, 48:68]
_LIDS = (((37, 41), (38, 40), (36, 39)), ((43, 47), (44, 46), (42, 45)))


def measure(setting: Setting) -> dict[str, float]:
    rows, ratios = [], []
    for name in counted(STILL[: 1 if setting.quick else None], "still faces"):
        for track in tracks_of(setting.videos / name):
            slow = _slow(track)
            raw, smooth, *every = (
                _rms(np.diff(points[:, which].astype(np.float64), 2, axis=0)[slow])
                for which in (_WITHOUT_EYES, np.arange(68))
                for points in (track.observed_px, track.smoothed_px)
            )
            ratios.append(smooth / raw)
            rows.append((
                Path(name).stem, f"{raw:.3f}", f"{smooth:.3f}", f"{smooth / raw:.3f}", f"{every[1] / every[0]:.3f}",
            ))  # fmt: skip
    print_table(("still or slow face", "raw, px", "smoothed, px", "ratio", "with the eyes"), rows)
    depths = np.array([depth for track in tracks_of(setting.videos / BLINKS) for depth in _depths(track)])
    kept = depths[:, 1] / depths[:, 0]
    print(f"\n{len(depths)} closings of an eye in {BLINKS}, depth kept: " + " ".join(f"{k:.2f}" for k in kept))
    return {"jitter_ratio": float(np.median(ratios)), "blink_depth_kept": float(np.divide(*depths.sum(axis=0)[::-1]))}


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.square(values).sum(axis=-1).mean()))


def _slow(track: LandmarkTrack) -> np.ndarray:
    """The half of the frames in which the face as a whole and its shape change least over a fifth of a second."""
    moved = track.observed_px[5:].mean(axis=1) - track.observed_px[:-5].mean(axis=1)
    shape = track.observed_px - track.observed_px.mean(axis=1, keepdims=True)
    change = np.hypot(*moved.T) + np.linalg.norm(shape[5:] - shape[:-5], axis=2).mean(axis=1)
    change = np.pad(change, (2, 3), mode="edge")[1:-1]
    return np.asarray(change <= np.quantile(change, _STILL_SHARE))


def _depths(track: LandmarkTrack) -> list[tuple[float, float]]:
    """How deep each closing of an eye is before and after smoothing: change of its height over its width."""
    found = []
    for upper_inner, upper_outer, width in _LIDS:
        raw, smooth = (
            (_distance(points, upper_inner) + _distance(points, upper_outer)) / 2 / _distance(points, width)
            for points in (track.observed_px, track.smoothed_px)
        )
        for low in range(3, len(raw) - 3):
            around = slice(max(0, low - 8), low + 9)
            if raw[low] == raw[around].min() and raw[around].max() - raw[low] >= _BLINK_DEPTH:
                found.append((float(raw[around].max() - raw[low]), float(smooth[around].max() - smooth[low])))
    return found


def _distance(points: np.ndarray, pair: tuple[int, int]) -> np.ndarray:
    return np.asarray(np.linalg.norm(points[:, pair[0]] - points[:, pair[1]], axis=1))
