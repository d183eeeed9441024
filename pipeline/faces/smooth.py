"""Cubic smoothing splines over time, with a smoothing parameter that the noise decides.

One smoothing parameter for a whole track would either leave the jitter or flatten blinks, which last four to ten
frames. So it is chosen for each point by generalised cross-validation (Craven and Wahba, "Smoothing Noisy Data with
Spline Functions", 1978; Green and Silverman, section 3.2): a lid that moves keeps its speed, a still chin is smoothed.

A point that moves in one part of the track and rests in the other needs both. So there is a second, stiffer spline, and
it holds wherever the two differ by no more than the noise explains; where they differ by more, something moves, and the
looser one holds. The noise is read off the second differences over time, of which motion is a small part: for white
noise of standard deviation s they have the standard deviation sqrt(6) s, and the median does not see the motion.

A lid that blinks once in a still track would yet be flattened: a blink of three frames costs cross-validation less
than the noise of all others. So what the spline takes away is given back where it is far too much to be noise: more
than 4 to 8 times its usual size at that point. A detector's own leaps survive with the blinks; the fit's robust
weights are there for them.
"""

import numpy as np
from jaxtyping import Float32, Float64
from scipy.interpolate import CubicSpline
from scipy.ndimage import maximum_filter1d, uniform_filter1d

from pipeline.faces.splines import SmoothingSplines

_SHORTEST = 5
"""Shorter tracks are returned as they are: there is nothing to tell noise from motion."""
_PLANE_MEDIAN = 1.177
"""Median length of a plane Gaussian vector, in standard deviations."""
_REST_ENDS, _MOVES_BEGIN = 1.6, 3.2
"""Differences of the two splines up to the one, in standard deviations of the noise, are rest; beyond both, motion."""
_SPREAD_FRAMES = 5
_NOISE_ENDS, _MOTION_BEGINS = 4.0, 8.0
"""Corrections up to the one, in standard deviations, stay; beyond the other they are taken back; a ramp between."""


def smoothed(
    points: Float32[np.ndarray, "frames points 2"],
    pts_s: Float64[np.ndarray, " frames"],
    weight: Float32[np.ndarray, " frames"],
    *,
    largest_change: float = np.inf,
) -> Float32[np.ndarray, "frames points 2"]:
    """Points over time after the smoothing spline.

    Args:
        points: Positions, any unit.
        pts_s: Times, strictly increasing; the steps may differ.
        weight: Confidence of each frame. Frames of weight 0 do not count; the spline fills them.
        largest_change: The loose spline moves a point by at most this, RMS over time, in the points' unit; no noise is
            taken for larger.

    Raises:
        ValueError: The times do not increase, or a weight is negative or not finite.
    """
    return Smoother(pts_s, weight)(points, largest_change=largest_change)


class Smoother:
    """`smoothed` for several sets of points that were seen at the same times; what is theirs is prepared once.

    Args:
        pts_s: As in `smoothed`.
        weight: As in `smoothed`.

    Raises:
        ValueError: The times do not increase, or a weight is negative or not finite.
    """

    def __init__(self, pts_s: Float64[np.ndarray, " frames"], weight: Float32[np.ndarray, " frames"]) -> None:
        if len(pts_s) > 1 and not (np.diff(pts_s) > 0).all():
            raise ValueError("pts_s must increase strictly")
        if not (np.isfinite(weight).all() and (weight >= 0).all()):
            raise ValueError("weight must be finite and not negative")
        self._known = weight > 0
        self._spline = None
        if self._known.sum() >= _SHORTEST:
            self._time = pts_s / np.median(np.diff(pts_s))
            self._spline = SmoothingSplines(self._time[self._known], weight[self._known].astype(np.float64))

    def __call__(
        self, points: Float32[np.ndarray, "frames points 2"], *, largest_change: float = np.inf
    ) -> Float32[np.ndarray, "frames points 2"]:
        """See `smoothed`."""
        if self._spline is None:
            return points.copy()
        known, time = self._known, self._time
        result = np.empty_like(points)
        for first in range(0, points.shape[1], self._spline.points_at_once):
            some = slice(first, first + self._spline.points_at_once)
            seen = points[known][:, some].astype(np.float64)
            loose, stiff = self._spline.fit(seen, largest_change)
            noise = np.minimum(_noise(seen), largest_change)
            values = _with_sudden_motion(_stiff_at_rest(loose, stiff, noise), seen)
            result[:, some] = values if known.all() else CubicSpline(time[known], values, bc_type="natural")(time)
        return result


def _noise(seen: Float64[np.ndarray, "knots points 2"]) -> Float64[np.ndarray, " points"]:
    """Standard deviation of each coordinate's noise."""
    size = np.linalg.norm(np.diff(seen, 2, axis=0), axis=2)
    return np.asarray(np.median(size, axis=0) / _PLANE_MEDIAN / np.sqrt(6.0))


def _stiff_at_rest(
    loose: Float64[np.ndarray, "knots points 2"],
    stiff: Float64[np.ndarray, "knots points 2"],
    noise: Float64[np.ndarray, " points"],
) -> Float64[np.ndarray, "knots points 2"]:
    apart = np.linalg.norm(loose - stiff, axis=2) / np.maximum(noise, np.finfo(np.float64).tiny)
    moves = np.clip((apart - _REST_ENDS) / (_MOVES_BEGIN - _REST_ENDS), 0.0, 1.0)
    # Motion holds for its neighbours, and fades in and out: a switch would jerk.
    moves = uniform_filter1d(maximum_filter1d(moves, _SPREAD_FRAMES, axis=0), _SPREAD_FRAMES, axis=0)
    return np.asarray(stiff + moves[..., None] * (loose - stiff))


def _with_sudden_motion(
    fitted: Float64[np.ndarray, "knots points 2"], seen: Float64[np.ndarray, "knots points 2"]
) -> Float64[np.ndarray, "knots points 2"]:
    taken = seen - fitted
    size = np.linalg.norm(taken, axis=2)
    usual = np.maximum(np.median(size, axis=0) / _PLANE_MEDIAN, np.finfo(np.float64).tiny)
    back = np.clip((size / usual - _NOISE_ENDS) / (_MOTION_BEGINS - _NOISE_ENDS), 0.0, 1.0)
    return np.asarray(fitted + back[..., None] * taken)
