"""Errors measured on the face: the Gram matrix against the mesh itself, weights, and mirroring."""

import dataclasses

import numpy as np
import pytest
import torch

from fitting.face_model import FaceModel
from training import losses
from training.losses import gram_matrix_mm2, label_weights, mean_expression_loss_mm2, squared_vertex_error_mm2
from training.mirror import mirror_operator


def test_the_loss_is_the_mean_squared_distance_of_the_vertices(toy_model: FaceModel) -> None:
    draw = np.random.default_rng(0)
    a, b = draw.normal(size=(2, 6, toy_model.n_expression)).astype(np.float32)
    identity = draw.normal(size=(6, toy_model.n_identity)).astype(np.float32)
    apart = toy_model.vertices_mm(identity, a) - toy_model.vertices_mm(identity, b)
    gram = torch.from_numpy(gram_matrix_mm2(toy_model.expression_basis_mm))
    seen = squared_vertex_error_mm2(torch.from_numpy(a), torch.from_numpy(b), gram)
    np.testing.assert_allclose(seen.numpy(), np.square(apart).sum(axis=2).mean(axis=1), rtol=1e-4)


def test_a_component_that_moves_everything_by_two_millimetres_costs_four() -> None:
    basis = np.zeros((1, 10, 3), np.float32)
    basis[0, :, 1] = 2.0
    one, zero = torch.ones(1, 1), torch.zeros(1, 1)
    assert squared_vertex_error_mm2(one, zero, torch.from_numpy(gram_matrix_mm2(basis))).item() == pytest.approx(4.0)


def test_the_loss_of_the_mean_expression_is_that_of_a_network_that_says_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draw = np.random.default_rng(1)
    labels = draw.normal(3.0, 1.0, size=(50, 4)).astype(np.float32)
    weights = draw.uniform(0.5, 1.5, 50).astype(np.float32)
    gram = gram_matrix_mm2(draw.normal(size=(4, 20, 3)).astype(np.float32))
    mean = torch.from_numpy(labels).mean(dim=0).expand(50, 4)
    said = squared_vertex_error_mm2(mean, torch.from_numpy(labels), torch.from_numpy(gram)).numpy()
    monkeypatch.setattr(losses, "_CHUNK", 7)
    assert mean_expression_loss_mm2(labels, weights, gram) == pytest.approx(float((weights * said).mean()), rel=1e-5)


def test_unsure_labels_weigh_less_and_the_mean_weight_is_one() -> None:
    sigma = np.array([[0.1, 0.1], [0.2, 0.2], [0.9, 0.1], [0.1, 0.9]], np.float32)
    gram = np.diag([4.0, 1.0]).astype(np.float32)
    weights = label_weights(sigma, gram)
    assert weights.mean() == pytest.approx(1.0)
    # Uncertainty on the face: 0.05, 0.2, 3.25, 0.85 mm^2; the component that moves more counts more.
    assert np.argsort(weights).tolist() == [2, 3, 1, 0]
    tau = np.median([0.05, 0.2, 3.25, 0.85])
    assert weights[0] / weights[2] == pytest.approx((tau + 3.25) / (tau + 0.05), rel=1e-5)


def test_labels_without_uncertainty_count_the_same() -> None:
    assert label_weights(np.zeros((3, 2), np.float32), np.eye(2, dtype=np.float32)).tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_an_impossible_uncertainty_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="expression_sigma holds values that are negative or not finite"):
        label_weights(np.array([[bad, 0.1]], np.float32), np.eye(2, dtype=np.float32))


def test_mirrored_coefficients_give_the_mirrored_face(toy_model: FaceModel) -> None:
    operator = mirror_operator(toy_model)
    assert operator is not None
    coefficients = np.array([1.0, -0.5, 0.3, 2.0], np.float32)
    seen = np.tensordot(operator @ coefficients, toy_model.expression_basis_mm, axes=1)
    moved = np.tensordot(coefficients, toy_model.expression_basis_mm, axes=1)
    assert toy_model.mirror_vertex is not None
    np.testing.assert_allclose(seen, moved[toy_model.mirror_vertex] * [-1, 1, 1], atol=1e-4)
    np.testing.assert_allclose(operator @ operator, np.eye(4), atol=1e-4)


def test_a_face_model_without_symmetry_has_no_mirror_operator(toy_model: FaceModel) -> None:
    lopsided = toy_model.expression_basis_mm.copy()
    lopsided[1] = 0.0
    lopsided[1, 0] = 5.0
    assert mirror_operator(dataclasses.replace(toy_model, expression_basis_mm=lopsided)) is None
    assert mirror_operator(dataclasses.replace(toy_model, mirror_vertex=None)) is None
