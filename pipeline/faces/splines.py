"""Cubic smoothing splines through the same knots, for many smoothing parameters and coordinates at once.

The spline g through values y_i at times t_i minimises `sum_i w_i (y_i - g(t_i))^2 + lam * integral g''(t)^2 dt`
(Reinsch, "Smoothing by Spline Functions", Numerische Mathematik 1967). With the second derivatives gamma at the inner
knots as unknowns this is the banded system `(R + lam Q' W^-1 Q) gamma = Q' y`, `g = y - lam W^-1 Q gamma` (Green and
Silverman, "Nonparametric Regression and Generalized Linear Models", 1994, section 2.3). Any straight line stays itself;
the ends are natural (no curvature).

The system has five diagonals, `R + lam Q' W^-1 Q = L D L'`. All parameters and coordinates go through its recursions at
once, step by step in time: banded solvers take one right-hand side after the other, and several times as long. So that
the steps of a long track are not more than its numbers, stretches of it take them side by side; each begins early and
ends late by so much that what lies beyond is forgotten. What a knot feels of another fades with their number n, at
steps h and weights w, as `exp(-n (w h^3 / lam)^(1/4) / sqrt(2))`: as solutions of `lam d^4g/dt^4 + (w / h) g = 0` do.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float64, Int64
from scipy.linalg import cholesky_banded

SMOOTHNESS = np.logspace(-2.0, 5.0, 15)
"""Candidates for lam, in (median frame intervals)^3; the period passed at half is 2 pi lam^(1/4) intervals."""
STIFF = 10.0
"""Lam of the second spline, at least; it passes half of what takes 11 frames."""
_CAUTION = 1.2
"""Factor on the degrees of freedom; jitter is correlated from frame to frame, and plain cross-validation trusts it."""
_VALUES_AT_ONCE = 1 << 21
"""How many numbers a fit may hold: 16 MiB."""
_ONE_PIECE_KNOTS = 8192
"""Up to there a track is not cut: there is room for enough points at once."""
_STRETCH_KNOTS, _MOST_BEYOND_KNOTS = 1536, 768
"""Knots of a stretch, and how far it may reach beyond each of its ends: where it would have to farther, as between
knots close together, a track stays in one piece."""
_FORGOTTEN, _FASTEST = 15.0, 1.2
"""What is felt by e^-15 is not felt; and by how much that exponent grows from knot to knot at most."""
_KNOTS_AT_ONCE = 32
"""So that what is computed of them stays in the processor's cache."""
_AT_ENDS = 2
"""A knot's row of Q has entries in three columns."""

_Points = Float64[np.ndarray, "knots points 2"]


class SmoothingSplines:
    """The splines of one set of knots for each candidate lam, and their effective degrees of freedom.

    Args:
        time: Of the knots, strictly increasing; at least three.
        weight: Of each, positive.

    Attributes:
        freedom: Trace of the influence matrix of each candidate.
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
        upper = np.stack([cholesky_banded(r + lam * s, check_finite=False) for lam in SMOOTHNESS], axis=2)
        root = upper[2]
        below = np.zeros((2, inner, len(SMOOTHNESS)))  # L[i + 1, i] and L[i + 2, i]
        below[0, :-1], below[1, :-2] = upper[1, 1:] / root[:-1], upper[0, 2:] / root[:-2]
        self.freedom = _degrees_of_freedom(root**2, below, s)
        freedom_left = len(time) - _CAUTION * self.freedom
        usable = freedom_left > 0
        self._lam, self._freedom_left = SMOOTHNESS[usable], freedom_left[usable]
        nearer = np.minimum(step[:-1], step[1:])
        self._stretches = _Stretches(
            np.minimum((weight[1:-1] * nearer**3 / SMOOTHNESS[-1]) ** 0.25 / np.sqrt(2.0), _FASTEST)
        )
        self._below = np.stack([self._stretches.of(each) for each in below[..., usable]])
        self._pivots = self._stretches.of(root[:, usable] ** 2, outside=1.0)

    @property
    def points_at_once(self) -> int:
        """For how many points `fit` has room."""
        return max(1, _VALUES_AT_ONCE // (2 * self._pivots.size + 2))

    def fit(self, values: _Points, largest_change: float = np.inf) -> tuple[_Points, _Points]:
        """Fitted values at the knots: with each point's lam of lowest cross-validation score, and a stiff one.

        Args:
            values: At the knots.
            largest_change: No candidate is taken that moves a point by more than this, RMS over time.
        """
        if not len(self._lam):
            # Knots so far apart that each candidate goes through all of them: nothing tells noise from motion.
            return values.copy(), values.copy()
        knots, points, _ = values.shape
        solved = self._solved(self._q_transposed(values.reshape(knots, -1)))
        squares, changes = np.zeros((2, len(self._lam), points))
        for some, around in self._stretches.knots(solved, _KNOTS_AT_ONCE):
            taken = self._q_times(around, some)
            taken *= taken
            each = taken.reshape(len(taken), -1)
            variance = self._variance[some]
            squares += (variance @ each).reshape(-1, points, 2).sum(axis=2)
            if largest_change < np.inf:
                changes += (variance**2 @ each).reshape(-1, points, 2).sum(axis=2)
        score = squares * (self._lam / self._freedom_left)[:, None] ** 2
        score[np.sqrt(changes / knots) * self._lam[:, None] > largest_change] = np.inf
        best = score.argmin(axis=0)
        stiff = np.maximum(best, np.count_nonzero(self._lam <= STIFF) - 1)
        # Where every candidate changes too much, none is taken.
        loose = self._correction(solved, best) * np.isfinite(score.min(axis=0))[:, None]
        return np.asarray(values - loose), np.asarray(values - self._correction(solved, stiff))

    def _correction(
        self, solved: Float64[np.ndarray, "rows stretches candidates n"], chosen: Int64[np.ndarray, " points"]
    ) -> _Points:
        """What the splines of the candidates that were chosen, one for each point, take away."""
        of_points = solved.reshape(*solved.shape[:3], -1, 2)[:, :, chosen, np.arange(len(chosen))]
        taken = np.concatenate([
            self._q_times(around, some) for some, around in self._stretches.knots(of_points, len(self._variance))
        ])
        return np.asarray(taken * (self._variance[:, None] * self._lam[chosen])[..., None])

    def _solved(
        self, bend: Float64[np.ndarray, "inner n"]
    ) -> Float64[np.ndarray, "rows stretches candidates n"]:
        """(L D L')^-1 times each column, by substitution forwards and backwards; nothing bends beyond the ends."""
        right = self._stretches.of(bend)[:, :, None]
        near, far = self._below[..., None]
        pivots = self._pivots[..., None]
        rows, stretches, _, n = right.shape
        result = np.empty((rows, stretches, len(self._lam), n))
        part = np.empty(result.shape[1:])
        for i in range(rows):
            now = result[i]
            now[:] = right[i]
            if i >= 1:
                now -= np.multiply(near[i - 1], result[i - 1], out=part)
            if i >= 2:
                now -= np.multiply(far[i - 2], result[i - 2], out=part)
        for i in reversed(range(rows)):
            now = result[i]
            now /= pivots[i]
            if i + 1 < rows:
                now -= np.multiply(near[i], result[i + 1], out=part)
            if i + 2 < rows:
                now -= np.multiply(far[i], result[i + 2], out=part)
        return result

    def _q_transposed(self, values: Float64[np.ndarray, "knots n"]) -> Float64[np.ndarray, "inner n"]:
        first, middle, last = self._q
        inner = len(values) - 2
        return np.asarray(first[:inner] * values[:-2] + middle[1:-1] * values[1:-1] + last[2:] * values[2:])

    def _q_times(
        self, around: Float64[np.ndarray, "knots_and_2 candidates n"], knots: slice
    ) -> Float64[np.ndarray, "knots candidates n"]:
        first, middle, last = self._q[:, knots, :, None]
        result = first * around[2:]
        result += middle * around[1:-1]
        result += last * around[:-2]
        return np.asarray(result)


class _Stretches:
    """Stretches of a track's inner knots, side by side: axes rows, stretches. A short track is one stretch.

    Args:
        fades: The exponent by which what lies on one side of an inner knot fades to the other, under the largest lam.

    Attributes:
        length: Knots of each; the last one may have less.
        beyond: Rows before and after those.
        count: Number of stretches.
    """

    def __init__(self, fades: Float64[np.ndarray, " inner"]) -> None:
        self._inner = len(fades)
        self.length, self.beyond = _STRETCH_KNOTS, _reach(fades)
        if self._inner <= _ONE_PIECE_KNOTS or self.beyond > _MOST_BEYOND_KNOTS:
            self.length, self.beyond = self._inner, _AT_ENDS
        self.count = -(-self._inner // self.length)

    def of(
        self, values: Float64[np.ndarray, "inner n"], *, outside: float = 0.0
    ) -> Float64[np.ndarray, "rows stretches n"]:
        """Of each stretch the values there, with those beyond it; a number stands for those that are not there."""
        padded = np.full((self.count * self.length + 2 * self.beyond, values.shape[1]), outside)
        padded[self.beyond : self.beyond + self._inner] = values
        rows = self.length + 2 * self.beyond
        return np.stack([padded[k * self.length : k * self.length + rows] for k in range(self.count)], axis=1)

    def knots(
        self, solved: Float64[np.ndarray, "rows stretches candidates n"], at_once: int
    ) -> Iterator[tuple[slice, Float64[np.ndarray, "knots_and_2 candidates n"]]]:
        """Some knots, and what was solved for the inner ones from two before the first to the last; in order.

        The first inner knot has the number of the first knot, of whose rows of Q its column is the first.
        """
        for k in range(self.count):
            begin = k * self.length
            end = begin + self.length if k + 1 < self.count else self._inner + 2
            for first in range(begin, end, at_once):
                some = slice(first, min(first + at_once, end))
                top = first - begin + self.beyond
                yield some, solved[top - 2 : top + some.stop - first, k]


def _reach(fades: Float64[np.ndarray, " inner"]) -> int:
    """Knots from an end of a stretch, either way, to where nothing is felt of it any more."""
    faded = np.concatenate([[0.0], np.cumsum(fades)])
    ends = np.arange(_STRETCH_KNOTS, len(fades), _STRETCH_KNOTS)
    before = ends - np.searchsorted(faded, faded[ends] - _FORGOTTEN, side="right") + 1
    after = np.searchsorted(faded, faded[ends] + _FORGOTTEN) - ends
    return int(np.concatenate([np.minimum(before, ends), after]).max(initial=_AT_ENDS))


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
    return np.asarray(inner + 2 - SMOOTHNESS * trace)
