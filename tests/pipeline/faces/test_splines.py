import numpy as np
import pytest
from scipy.interpolate import make_smoothing_spline

from pipeline.faces import splines
from pipeline.faces.splines import SMOOTHNESS, STIFF, SmoothingSplines


@pytest.fixture(autouse=True)
def short_tracks_are_cut_too(monkeypatch):
    monkeypatch.setattr(splines, "_ONE_PIECE_KNOTS", 2048)


def irregular(knots, seed):
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.uniform(0.5, 1.5, knots)), rng.uniform(0.2, 1.0, knots), rng


def in_medians(rates):
    time = np.cumsum(1 / np.asarray(rates))
    return time / np.median(np.diff(time))


@pytest.mark.parametrize("candidate", [0, 5, 10, 14])
def test_degrees_of_freedom_are_those_of_the_spline_that_scipy_knows(candidate):
    time, weight, _ = irregular(40, 1)
    lam = SMOOTHNESS[candidate]
    columns = [make_smoothing_spline(time, unit, w=weight, lam=lam)(time) for unit in np.eye(40)]
    freedom = SmoothingSplines(time, weight).freedom[candidate]
    assert np.trace(np.stack(columns, axis=1)) == pytest.approx(freedom, rel=1e-5)


@pytest.mark.parametrize("knots", [40, 2500, 4611], ids="{} knots".format)
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


@pytest.mark.parametrize(
    ("rates", "weight"),
    [
        ([30] * 4000, 1.0),
        ([30] * 4000, 0.05),
        ([30] * 4000, 0.001),
        ([15] * 2000 + [30] * 2000, 1.0),
        ([10] * 2000 + [60] * 2000, 1.0),
        ([10, 60] * 2000, 1.0),
        ([30] * 3000 + [240] * 1000, 1.0),
        ([240] * 1600 + [30] * 2400, 1.0),
    ],
    ids=["even", "weights .05", "weights .001", "15, 30", "10, 60", "10 and 60 in turn", "30, 240", "240, 30"],
)
def test_stretches_of_a_long_track_are_the_track_in_one_piece_whatever_its_times(rates, weight, monkeypatch):
    time, rng = in_medians(rates), np.random.default_rng(3)
    still = 100 + rng.normal(scale=0.5, size=(len(time), 1, 2))
    moving = still + 20 * np.sin(time / 40)[:, None, None]
    values, weights = np.concatenate([still, moving], axis=1), np.full(len(time), weight)

    in_stretches = SmoothingSplines(time, weights).fit(values)

    monkeypatch.setattr(splines, "_ONE_PIECE_KNOTS", 4000)
    for stretches, whole in zip(in_stretches, SmoothingSplines(time, weights).fit(values), strict=True):
        assert np.abs(stretches - whole).max() < 1e-4


def test_a_long_track_with_even_times_is_cut_and_one_of_knots_close_together_is_not():
    even, close = np.arange(4000.0), in_medians([30] * 2800 + [2000] * 1200)
    assert SmoothingSplines(even, np.ones(4000))._stretches.count == 3
    assert SmoothingSplines(close, np.ones(4000))._stretches.count == 1
