"""The numbers that a training is judged by, against faces whose errors are known."""

import numpy as np
import pytest

from fitting.face_model import FaceModel
from training.evaluation import mean_vertex_distance_mm, metrics_of

LABELS = np.random.default_rng(1).normal(size=(40, 4)).astype(np.float32)
MEAN = LABELS.mean(axis=0)


def test_the_vertex_error_is_the_mean_distance_on_the_mesh(toy_model: FaceModel) -> None:
    identity = np.zeros((40, toy_model.n_identity), np.float32)
    apart = toy_model.vertices_mm(identity, LABELS) - toy_model.mean_mm
    seen = mean_vertex_distance_mm(LABELS, toy_model.expression_basis_mm)
    assert seen == pytest.approx(np.linalg.norm(apart, axis=2).mean(), rel=1e-4)


def test_perfect_and_ignorant_predictions_are_told_apart(toy_model: FaceModel) -> None:
    perfect = metrics_of(LABELS, LABELS, toy_model, mean_expression=MEAN, split="val", videos=9)
    assert perfect.vertex_error_mm == 0.0
    assert perfect.mean_pearson == pytest.approx(1.0)
    assert perfect.remark == ""
    constant = np.tile(MEAN, (40, 1))
    ignorant = metrics_of(constant, LABELS, toy_model, mean_expression=MEAN, split="val", videos=9)
    assert ignorant.relative_error == pytest.approx(1.0)
    assert ignorant.pearson == (None, None, None, None)
    assert ignorant.mean_pearson is None
    assert "correlation none" in str(ignorant)


def test_correlation_is_per_component_and_signed(toy_model: FaceModel) -> None:
    predicted = LABELS * np.array([2.0, -1.0, 1.0, 0.5], np.float32) + np.float32(3.0)
    seen = metrics_of(predicted, LABELS, toy_model, mean_expression=MEAN, split="test", videos=9)
    np.testing.assert_allclose(np.array(seen.pearson, float), [1, -1, 1, 1], atol=1e-5)


def test_what_the_numbers_cannot_say_is_said(toy_model: FaceModel) -> None:
    worse = metrics_of(-5 * LABELS, LABELS, toy_model, mean_expression=MEAN, split="val", videos=2)
    assert worse.remark.startswith("No better than always saying the training set's mean expression")
    assert "2 video(s) do not tell" in worse.remark
    trained = metrics_of(LABELS, LABELS, toy_model, mean_expression=MEAN, split="train", videos=1)
    assert trained.remark == "These crops were trained on"


def test_labels_that_never_vary_have_no_baseline_to_compare_with(toy_model: FaceModel) -> None:
    same = np.ones((5, 4), np.float32)
    seen = metrics_of(same + 1, same, toy_model, mean_expression=same[0], split="val", videos=9)
    assert seen.relative_error is None
