import numpy as np
import pytest
from scipy.interpolate import make_smoothing_spline

from pipeline.faces.splines import SMOOTHNESS, STIFF, SmoothingSplines


def irregular(knots, seed):
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.uniform(0.5, 1.5, knots)), rng.uniform(0.2, 1.0, knots), rng


@pytest.mark.parametrize("candidate", [0, 5, 10, 14])
def test_degrees_of_freedom_are_those_of_the_spline_that_scipy_knows(candidate):
    time, weight, _ = irregular(40, 1)
    lam = SMOOTHNESS[candidate]
    columns = [make_smoothing_spline(time, unit, w=weight, lam=lam)(time) for unit in np.eye(40)]
    freedom = SmoothingSplines(time, weight).freedom[candidate]
    assert np.trace(np.stack(columns, axis=1)) == pytest.approx(freedom, rel=1e-5)


@pytest.mark.parametrize("knots", [40, 2306, 2307, 4611], ids="{} knots".format)
def test_a_track_of_any_length_gets_the_smoothing_splines_that_scipy_knows(knots):
    time, weight, rng = irregular(knots, knots)
    # One that takes the stiffest candidate, as stretches of a long track feel each other most there.
    slow = np.stack([time / 7, np.sin(time / 400)], axis=1)[:, None] + rng.normal(size=(knots, 1, 2))
    quick = np.cumsum(rng.normal(size=(knots, 1, 2)), axis=0)
    values = np.concatenate([slow, quick], axis=1)

    loose, stiff = SmoothingSplines(time, weight).fit(values)

    for point in range(2):
        known = [make_smoothing_spline(time, values[:, point], w=weight, lam=lam)(time) for lam in SMOOTHNESS]
        apart = [np.abs(each - loose[:, point]).max() for each in known]
        best = int(np.argmin(apart))
        assert apart[best] < 1e-4
        stiffer = max(best, np.flatnonzero(SMOOTHNESS <= STIFF)[-1])
        assert np.abs(known[stiffer] - stiff[:, point]).max() < 1e-4
