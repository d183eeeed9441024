"""Cubic smoothing splines over time, with a smoothing parameter that the noise decides.

The spline g through values y_i at times t_i minimises `sum_i w_i (y_i - g(t_i))^2 + lam * integral g''(t)^2 dt`
(Reinsch, "Smoothing by Spline Functions", Numerische Mathematik 1967). With the second derivatives gamma at the inner
knots as unknowns this is the banded system `(R + lam Q' W^-1 Q) gamma = Q' y`, `g = y - lam W^-1 Q gamma` (Green and
Silverman, "Nonparametric Regression and Generalized Linear Models", 1994, section 2.3), solved for all coordinates at
once. Any straight line stays itself; the ends are natural (no curvature).

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
from scipy.linalg import cho_solve_banded, cholesky_banded
from scipy.ndimage import maximum_filter1d, uniform_filter1d

_SHORTEST = 5
"""Shorter tracks are returned as they are: there is nothing to tell noise from motion."""
_SMOOTHNESS = np.logspace(-2.0, 5.0, 29)
"""Candidates for lam, in (median frame intervals)^3; the period passed at half is 2 pi lam^(1/4) intervals."""
_CAUTION = 1.2
"""Factor on the degrees of freedom; jitter is correlated from frame to frame, and plain cross-validation trusts it."""
_POINTS_AT_ONCE = 4
"""More would not stay in the processor's cache where a track has thousands of frames."""
_PLANE_MEDIAN = 1.177
"""Median length of a plane Gaussian vector, in standard deviations."""
_STIFF = 10.0
"""Lam of the second spline, at least; it passes half of what takes 11 frames."""
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
            self._spline = _Spline(self._time[self._known], weight[self._known].astype(np.float64))

    def __call__(
        self, points: Float32[np.ndarray, "frames points 2"], *, largest_change: float = np.inf
    ) -> Float32[np.ndarray, "frames points 2"]:
        """See `smoothed`."""
        if self._spline is None:
            return points.copy()
        known, time = self._known, self._time
        result = np.empty_like(points)
        for first in range(0, points.shape[1], _POINTS_AT_ONCE):
            some = slice(first, first + _POINTS_AT_ONCE)
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


class _Spline:
    """The banded matrices of one set of knots, and the effective degrees of freedom of each candidate lam."""

    def __init__(self, time: Float64[np.ndarray, " knots"], weight: Float64[np.ndarray, " knots"]) -> None:
        step = np.diff(time)
        self._variance = 1.0 / weight
        # Q (knots x inner): three entries per column; R (inner x inner): tridiagonal.
        self._q = np.stack([1 / step[:-1], -1 / step[:-1] - 1 / step[1:], 1 / step[1:]])
        inner = len(time) - 2
        self._r = np.zeros((3, inner))
        self._r[2] = (step[:-1] + step[1:]) / 3
        self._r[1, 1:] = step[1:-1] / 6
        # Q' W^-1 Q, in the upper form that scipy's banded solvers take: [2] diagonal, [1] and [0] above it.
        q, v = self._q, self._variance
        self._s = np.zeros((3, inner))
        self._s[2] = q[0] ** 2 * v[:-2] + q[1] ** 2 * v[1:-1] + q[2] ** 2 * v[2:]
        self._s[1, 1:] = q[1, :-1] * q[0, 1:] * v[1:-2] + q[2, :-1] * q[1, 1:] * v[2:-1]
        self._s[0, 2:] = q[2, :-2] * q[0, 2:] * v[2:-2]
        self._freedom = self._degrees_of_freedom()
        freedom_left = len(time) - _CAUTION * self._freedom
        self._candidates = [
            (float(lam), left, cholesky_banded(self._r + lam * self._s, check_finite=False))
            for lam, left in zip(_SMOOTHNESS, freedom_left, strict=True)
            if left > 0
        ]

    def fit(
        self, values: Float64[np.ndarray, "knots points 2"], largest_change: float = np.inf
    ) -> tuple[Float64[np.ndarray, "knots points 2"], Float64[np.ndarray, "knots points 2"]]:
        """Fitted values at the knots: with each point's lam of lowest cross-validation score, and a stiff one."""
        knots, points, _ = values.shape
        # Time runs along the rows: the solver wants it so, and all else is fast so.
        rows = np.ascontiguousarray(values.reshape(knots, -1).T)
        bend = self._q_transposed(rows)
        best = np.full(points, np.inf)
        loose, stiff = np.zeros_like(rows), np.zeros_like(rows)
        for lam, freedom_left, factor in self._candidates:
            # What the spline takes away, over the variance.
            taken = self._q_times(lam * cho_solve_banded((factor, False), bend.T, check_finite=False).T)
            correction = taken * self._variance
            squares = np.einsum("nk,nk->n", taken, correction).reshape(points, 2).sum(axis=1)
            better = squares / freedom_left**2 < best
            if largest_change < np.inf:
                change = np.einsum("nk,nk->n", correction, correction).reshape(points, 2).sum(axis=1) / knots
                better &= np.sqrt(change) <= largest_change
            best[better] = squares[better] / freedom_left**2
            both = np.repeat(better, 2)
            loose[both] = correction[both]
            if lam <= _STIFF:
                stiff = correction
            else:
                stiff[both] = correction[both]
        return values - loose.T.reshape(values.shape), values - stiff.T.reshape(values.shape)

    def _q_transposed(self, values: Float64[np.ndarray, "n knots"]) -> Float64[np.ndarray, "n inner"]:
        return np.asarray(self._q[0] * values[:, :-2] + self._q[1] * values[:, 1:-1] + self._q[2] * values[:, 2:])

    def _q_times(self, values: Float64[np.ndarray, "n inner"]) -> Float64[np.ndarray, "n knots"]:
        result = np.zeros((len(values), values.shape[1] + 2))
        result[:, :-2] = self._q[0] * values
        result[:, 1:-1] += self._q[1] * values
        result[:, 2:] += self._q[2] * values
        return result

    def _degrees_of_freedom(self) -> Float64[np.ndarray, " candidates"]:
        """Trace of the influence matrix for each lam: knots - lam tr(B^-1 Q' W^-1 Q), B = R + lam Q' W^-1 Q.

        Only the five central diagonals of B^-1 are needed; they follow from the factors B = L D L' backwards
        (Hutchinson and de Hoog, "Smoothing Noisy Data with Spline Functions", Numerische Mathematik 1985). All
        candidates are done at once.
        """
        inner = self._r.shape[1]
        lam = _SMOOTHNESS
        diagonal, first, second = (
            self._r[band][:, None] + lam * self._s[band][:, None] for band in (2, 1, 0)
        )
        d = np.zeros((inner + 2, len(lam)))
        l1, l2 = np.zeros_like(d), np.zeros_like(d)  # L[i + 1, i] and L[i + 2, i]
        for i in range(inner):
            d[i] = diagonal[i]
            if i >= 1:
                d[i] -= d[i - 1] * l1[i - 1] ** 2
            if i >= 2:
                d[i] -= d[i - 2] * l2[i - 2] ** 2
            if i + 1 < inner:
                l1[i] = first[i + 1]
                if i >= 1:
                    l1[i] -= l2[i - 1] * d[i - 1] * l1[i - 1]
                l1[i] /= d[i]
            if i + 2 < inner:
                l2[i] = second[i + 2] / d[i]
        trace = np.zeros_like(lam)
        near = np.zeros((3, len(lam)))  # B^-1 at (i + 1, i + 1), (i + 1, i + 2), (i + 2, i + 2)
        for i in reversed(range(inner)):
            one = -l1[i] * near[0] - l2[i] * near[1]
            two = -l1[i] * near[1] - l2[i] * near[2]
            own = 1 / d[i] - l1[i] * one - l2[i] * two
            trace += own * self._s[2, i]
            if i + 1 < inner:
                trace += 2 * one * self._s[1, i + 1]
            if i + 2 < inner:
                trace += 2 * two * self._s[0, i + 2]
            near = np.stack([own, one, near[0]])
        return np.asarray(inner + 2 - lam * trace)
