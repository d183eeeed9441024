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
from jaxtyping import Float32, Float64, Int64
from scipy.interpolate import CubicSpline
from scipy.linalg import cholesky_banded
from scipy.ndimage import maximum_filter1d, uniform_filter1d

_SHORTEST = 5
"""Shorter tracks are returned as they are: there is nothing to tell noise from motion."""
_SMOOTHNESS = np.logspace(-2.0, 5.0, 15)
"""Candidates for lam, in (median frame intervals)^3; the period passed at half is 2 pi lam^(1/4) intervals."""
_CAUTION = 1.2
"""Factor on the degrees of freedom; jitter is correlated from frame to frame, and plain cross-validation trusts it."""
_VALUES_AT_ONCE = 1 << 21
"""How many numbers a fit may hold: 16 MiB."""
_KNOTS_AT_ONCE = 32
"""So that what is computed of them stays in the processor's cache."""
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


class _Spline:
    """The splines of one set of knots for each candidate lam, and their effective degrees of freedom.

    B = R + lam Q' W^-1 Q = L D L' has five diagonals. All candidates and coordinates go through its recursions at once,
    step by step in time: banded solvers take one right-hand side after the other, and several times as long.
    """

    def __init__(self, time: Float64[np.ndarray, " knots"], weight: Float64[np.ndarray, " knots"]) -> None:
        step = np.diff(time)
        variance = 1.0 / weight
        # Q (knots x inner): three entries per column; R and Q' W^-1 Q (inner x inner): diagonal, and those above it.
        q = np.stack([1 / step[:-1], -1 / step[:-1] - 1 / step[1:], 1 / step[1:]])
        inner = len(time) - 2
        r = np.zeros((3, inner))
        r[2] = (step[:-1] + step[1:]) / 3
        r[1, 1:] = step[1:-1] / 6
        s = np.zeros((3, inner))
        s[2] = q[0] ** 2 * variance[:-2] + q[1] ** 2 * variance[1:-1] + q[2] ** 2 * variance[2:]
        s[1, 1:] = q[1, :-1] * q[0, 1:] * variance[1:-2] + q[2, :-1] * q[1, 1:] * variance[2:-1]
        s[0, 2:] = q[2, :-2] * q[0, 2:] * variance[2:-2]
        # By knot: its entry in the columns of which it is the first, the middle and the last.
        self._q = np.zeros((3, len(time), 1))
        self._q[0, :-2, 0], self._q[1, 1:-1, 0], self._q[2, 2:, 0] = q
        self._variance = variance
        upper = np.stack([cholesky_banded(r + lam * s, check_finite=False) for lam in _SMOOTHNESS], axis=2)
        root = upper[2]
        below = np.zeros((2, inner, len(_SMOOTHNESS)))  # L[i + 1, i] and L[i + 2, i]
        below[0, :-1], below[1, :-2] = upper[1, 1:] / root[:-1], upper[0, 2:] / root[:-2]
        self._freedom = _degrees_of_freedom(root**2, below, s)
        freedom_left = len(time) - _CAUTION * self._freedom
        usable = freedom_left > 0
        self._lam, self._freedom_left = _SMOOTHNESS[usable], freedom_left[usable]
        self._below, self._pivots = below[..., usable], root[:, usable, None] ** 2

    @property
    def points_at_once(self) -> int:
        """For how many points `fit` has room."""
        return max(1, _VALUES_AT_ONCE // (2 * (len(self._pivots) + 2) * max(1, len(self._lam))))

    def fit(
        self, values: Float64[np.ndarray, "knots points 2"], largest_change: float = np.inf
    ) -> tuple[Float64[np.ndarray, "knots points 2"], Float64[np.ndarray, "knots points 2"]]:
        """Fitted values at the knots: with each point's lam of lowest cross-validation score, and a stiff one."""
        if not len(self._lam):
            # Knots so far apart that each candidate goes through all of them: nothing tells noise from motion.
            return values.copy(), values.copy()
        knots, points, _ = values.shape
        rows = values.reshape(knots, -1)
        solved = self._solved(self._q_transposed(rows))
        squares, changes = np.zeros((2, len(self._lam), points))
        for first in range(0, knots, _KNOTS_AT_ONCE):
            some = slice(first, min(first + _KNOTS_AT_ONCE, knots))
            taken = self._q_times(solved, some)
            taken *= taken
            each = taken.reshape(len(taken), -1)
            variance = self._variance[some]
            squares += (variance @ each).reshape(-1, points, 2).sum(axis=2)
            if largest_change < np.inf:
                changes += (variance**2 @ each).reshape(-1, points, 2).sum(axis=2)
        score = squares * (self._lam / self._freedom_left)[:, None] ** 2
        score[np.sqrt(changes / knots) * self._lam[:, None] > largest_change] = np.inf
        best = score.argmin(axis=0)
        stiff = np.maximum(best, np.count_nonzero(self._lam <= _STIFF) - 1)
        # Where every candidate changes too much, none is taken.
        loose = self._correction(solved, best) * np.isfinite(score.min(axis=0))[:, None]
        return np.asarray(values - loose), np.asarray(values - self._correction(solved, stiff))

    def _correction(
        self, solved: Float64[np.ndarray, "padded candidates n"], chosen: Int64[np.ndarray, " points"]
    ) -> Float64[np.ndarray, "knots points 2"]:
        """What the splines of the candidates that were chosen, one for each point, take away."""
        of_points = solved.reshape(*solved.shape[:2], -1, 2)[:, chosen, np.arange(len(chosen))]
        taken = self._q_times(of_points, slice(0, len(self._variance)))
        return np.asarray(taken * (self._variance[:, None] * self._lam[chosen])[..., None])

    def _solved(
        self, bend: Float64[np.ndarray, "inner n"]
    ) -> Float64[np.ndarray, "padded candidates n"]:
        """B^-1 times each column, by substitution forwards and backwards; two rows of zeros on either side."""
        inner, n = bend.shape
        near, far = self._below[..., None]
        padded = np.zeros((inner + 4, len(self._lam), n))
        result = padded[2:-2]
        part = np.empty(result.shape[1:])
        for i in range(inner):
            now = result[i]
            now[:] = bend[i]
            if i >= 1:
                now -= np.multiply(near[i - 1], result[i - 1], out=part)
            if i >= 2:
                now -= np.multiply(far[i - 2], result[i - 2], out=part)
        for i in reversed(range(inner)):
            now = result[i]
            now /= self._pivots[i]
            if i + 1 < inner:
                now -= np.multiply(near[i], result[i + 1], out=part)
            if i + 2 < inner:
                now -= np.multiply(far[i], result[i + 2], out=part)
        return padded

    def _q_transposed(self, values: Float64[np.ndarray, "knots n"]) -> Float64[np.ndarray, "inner n"]:
        first, middle, last = self._q
        inner = len(values) - 2
        return np.asarray(first[:inner] * values[:-2] + middle[1:-1] * values[1:-1] + last[2:] * values[2:])

    def _q_times(
        self, padded: Float64[np.ndarray, "padded candidates n"], rows: slice
    ) -> Float64[np.ndarray, "rows candidates n"]:
        first, middle, last = self._q[:, rows, :, None]
        begin, end = rows.start, rows.stop
        result = first * padded[begin + 2 : end + 2]
        result += middle * padded[begin + 1 : end + 1]
        result += last * padded[begin:end]
        return np.asarray(result)


def _degrees_of_freedom(
    pivots: Float64[np.ndarray, "inner candidates"],
    below: Float64[np.ndarray, "2 inner candidates"],
    s: Float64[np.ndarray, "3 inner"],
) -> Float64[np.ndarray, " candidates"]:
    """Trace of the influence matrix for each lam: knots - lam tr(B^-1 Q' W^-1 Q).

    Only the five central diagonals of B^-1 are needed; they follow from B = L D L' backwards (Hutchinson and de Hoog,
    "Smoothing Noisy Data with Spline Functions", Numerische Mathematik 1985).

    Args:
        pivots: The diagonal D.
        below: Of L, one and two below its diagonal; 0 beyond its end.
        s: Q' W^-1 Q: above its diagonal, and the diagonal last.
    """
    inner = len(pivots)
    near, far = below
    own, one, two = (np.zeros((inner + 2, pivots.shape[1])) for _ in range(3))  # B^-1 at (i, i), (i, i + 1), (i, i + 2)
    own[:inner] = 1 / pivots
    for i in reversed(range(inner)):
        one[i] = -near[i] * own[i + 1] - far[i] * one[i + 1]
        two[i] = -near[i] * one[i + 1] - far[i] * own[i + 2]
        own[i] -= near[i] * one[i] + far[i] * two[i]
    trace = s[2] @ own[:inner] + 2 * (s[1, 1:] @ one[: inner - 1] + s[0, 2:] @ two[: max(inner - 2, 0)])
    return np.asarray(inner + 2 - _SMOOTHNESS * trace)
