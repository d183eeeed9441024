"""Accuracy on a real model, ICT-FaceKit with 28 components: 1 pixel at 89 pixels between the outer eye corners."""

import numpy as np

from fitting.face_model import FaceModel
from fitting.metrics import accuracy, mean_accuracy
from fitting.options import FitOptions
from fitting.solver import fit_tracks
from fitting.synthetic import SyntheticOptions, synthetic_track


def test_identity_and_expression_come_out_within_a_millimetre(ict_model: FaceModel) -> None:
    truths = [synthetic_track(ict_model, "ibug68", SyntheticOptions(), seed=seed) for seed in range(4)]
    # The synthetic truth has no bias, and moves more slowly than real faces do: the priors are told what it is.
    options = FitOptions(
        landmark_noise=1 / 89, landmark_bias=0.0, expression_smoothness=16.0, learn_smoothness=False,
        keyframe_spacing_s=0.12,
    )  # fmt: skip
    fits = fit_tracks([truth.sequence for truth in truths], ict_model, options)
    pairs = list(zip(truths, fits, strict=True))
    seen = mean_accuracy([accuracy(ict_model, truth, fit) for truth, fit in pairs])
    assert seen["identity_similarity_mm"] < 0.56
    assert seen["identity_rigid_mm"] < 1.3
    assert 0.97 < seen["size_ratio"] < 1.03
    assert seen["expression_mm"] < 0.8
    assert seen["nme_percent"] < 0.55
    assert seen["jitter_mm"] < 0.65
    assert seen["rotation_deg"] < 0.65
    # Posterior sigmas mean what they say, for each component too.
    assert 0.8 < seen["sigma_z"] < 1.25
    z = np.array([(fit.expression - truth.expression) / fit.expression_sigma for truth, fit in pairs])
    assert np.sqrt((z**2).mean(axis=(0, 1))).max() < 1.5
