"""When the frames of a landmarks file were shown: what it says of that, and whether it can be seconds."""

from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

from fitting.landmark_csv import LandmarkTable

_RATES = (2.0, 1000.0)
"""Frames per second of what anybody calls a video. At fewer, no frame says anything of the next."""
_USUAL_RATES = (10.0, 300.0)
_USUAL_RATE = 30.0
_UNITS_PER_S = {
    "milliseconds": 1e3, "microseconds": 1e6, "nanoseconds": 1e9, "ticks of 1/90000 s": 9e4, "minutes": 1 / 60,
    "hours": 1 / 3600,
}  # fmt: skip


def times_s(path: Path, table: LandmarkTable, fps: float) -> Float64[np.ndarray, " frames"]:
    """The times that a file says, or those of its frames at a rate.

    Args:
        path: The file, for messages.
        table: What it holds; its frames increase.
        fps: Frames per second, where it has no times.

    Raises:
        ValueError: Its times are not finite, do not increase, or can hardly be seconds: fewer than 2 frames a second,
            or more than 1000. Who has such a video gives its rate instead.
    """
    if table.pts_s is None:
        return np.asarray((table.frame - table.frame[0]) / fps)
    pts_s = table.pts_s.astype(np.float64)
    if (lost := np.flatnonzero(~np.isfinite(pts_s))).size:
        raise ValueError(f"{path}, {table.place(int(lost[0]))}: pts_s is {pts_s[lost[0]]}, expected seconds")
    if (steps := np.diff(pts_s) <= 0).any():
        row = int(np.argmax(steps)) + 1
        raise ValueError(f"{path}, {table.place(row)}: pts_s {pts_s[row]} comes after {pts_s[row - 1]}; "
                         "times must increase")  # fmt: skip
    if len(pts_s) > 1:
        _check_seconds(path, table.frame, pts_s)
    return pts_s


def _check_seconds(path: Path, frame: Int64[np.ndarray, " frames"], pts_s: Float64[np.ndarray, " frames"]) -> None:
    # By the frames' numbers, so that every hundredth frame of a video is no time-lapse.
    step_s = float(np.median(np.diff(pts_s) / np.diff(frame)))
    low, high = _RATES
    if low <= 1 / step_s <= high:
        return
    if step_s == 1.0:
        looks, instead = "frame numbers?", "give the rate instead, such as --fps 30"
    elif unit := _unit(step_s):
        per_s = _UNITS_PER_S[unit]
        looks, instead = f"{unit}?", f"{'divide' if per_s > 1 else 'multiply'} them by {round(max(per_s, 1 / per_s)):,}"
    else:
        looks, instead = "are they seconds?", "write them in seconds"
    raise ValueError(
        f"{path}: pts_s rises by {step_s:.6g} from frame to frame: {looks} Times must be seconds: {instead}. If the "
        f"frames do lie {step_s:.6g} s apart, leave the times out and give --fps {1 / step_s:.6g} (from Python, fps=)"
    )


def _unit(step: float) -> str | None:
    """The unit in which steps are those of a usual video, the most usual where several are."""
    rates = {unit: per_s / step for unit, per_s in _UNITS_PER_S.items()}
    usual = {unit: rate for unit, rate in rates.items() if _USUAL_RATES[0] <= rate <= _USUAL_RATES[1]}
    return min(usual, key=lambda unit: abs(np.log(usual[unit] / _USUAL_RATE)), default=None)
