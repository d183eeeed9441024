"""Which frames the hold-out error is taken over, and that they stand for all."""

import numpy as np
import pytest

from fitting import solver
from fitting.face_model import FaceModel
from fitting.holdout import STRETCH_FRAMES, STRETCHES, holdout_frames
from fitting.options import FitOptions
from fitting.synthetic import SyntheticOptions, synthetic_track

MOST = STRETCHES * STRETCH_FRAMES


def test_a_short_track_is_looked_at_in_full() -> None:
    usable = np.arange(MOST) % 3 > 0
    assert holdout_frames(usable).tolist() == list(range(MOST))


def test_stretches_of_a_long_track_reach_from_end_to_end_and_leave_out_what_shows_no_face() -> None:
    usable = np.ones(2000, bool)
    usable[500:900] = False
    chosen = holdout_frames(usable)
    assert len(chosen) == MOST
    assert (np.diff(chosen) > 0).all()
    assert usable[chosen].all()
    assert chosen[0] == 0
    assert chosen[-1] == 1999
    assert (np.diff(chosen) == 1).sum() >= MOST - STRETCHES - 1


def test_a_long_track_with_few_usable_frames_is_judged_by_these() -> None:
    usable = np.zeros(2000, bool)
    usable[700:800] = True
    assert holdout_frames(usable).tolist() == list(range(700, 800))


def test_stretches_say_what_all_frames_say(toy_model: FaceModel, monkeypatch: pytest.MonkeyPatch) -> None:
    sequence = synthetic_track(toy_model, "toy68", SyntheticOptions(frames=500, missing_share=0.05), seed=1).sequence
    options = FitOptions(keyframes=16)
    (some,) = solver.fit_tracks([sequence], toy_model, options)
    monkeypatch.setattr(solver, "holdout_frames", lambda usable: np.arange(len(usable)))
    (everything,) = solver.fit_tracks([sequence], toy_model, options)
    assert some.holdout_error != everything.holdout_error
    assert some.holdout_error == pytest.approx(everything.holdout_error, rel=0.05)
    assert np.array_equal(some.expression, everything.expression)
