"""To ARKit weights, and from wanted ARKit weights to coefficients."""

import dataclasses

import numpy as np
import pytest
from scipy.optimize import lsq_linear

from fitting import arkit
from fitting.arkit import arkit_weights, expression_of, unit_motion_mm
from fitting.face_model import ArkitMap, FaceModel, load_face_model


def test_weights_follow_the_affine_map_and_stay_in_the_box(toy_model: FaceModel) -> None:
    matrix = np.zeros((2, 8), np.float32)
    matrix[0, 0], matrix[1, 1] = 0.5, -0.5
    units = ArkitMap(names=("jawOpen", "mouthPucker"), offset=np.array([0.1, 0.2], np.float32), matrix=matrix)
    model = dataclasses.replace(toy_model, arkit=units)
    expression = np.zeros((3, 8), np.float32)
    expression[1, :2] = [1.0, 0.2]
    expression[2, :2] = [9.0, 9.0]
    np.testing.assert_allclose(arkit_weights(model, expression), [[0.1, 0.2], [0.6, 0.1], [1.0, 0.0]], atol=1e-6)


def random_expressions(frames: int) -> np.ndarray:
    return np.random.default_rng(3).normal(0, 1.2, (frames, 28)).astype(np.float32)


def test_weights_in_the_box_are_those_of_the_affine_map() -> None:
    model = load_face_model()
    assert model.arkit is not None
    affine = model.arkit.offset + random_expressions(500) @ model.arkit.matrix.T
    small = random_expressions(500)[((affine > 0) & (affine < 1)).all(axis=1)]
    wide = np.concatenate([small, np.zeros((1, 28), np.float32)])
    np.testing.assert_allclose(arkit_weights(model, wide), model.arkit.offset + wide @ model.arkit.matrix.T, atol=1e-5)


def test_bounded_weights_are_those_of_scipys_bounded_least_squares() -> None:
    model = load_face_model()
    assert model.arkit is not None
    expression = random_expressions(6)
    affine = model.arkit.offset.astype(float) + expression.astype(float) @ model.arkit.matrix.T
    assert ((affine < -0.05) | (affine > 1.05)).any(axis=1).all(), "all of them leave the box"
    motion = unit_motion_mm(model).reshape(43, -1).astype(float)
    metric = motion @ motion.T
    metric += arkit._STAY * np.trace(metric) / 43 * np.eye(43)
    root = np.linalg.cholesky(metric).T
    wanted = [lsq_linear(root, root @ frame, (0, 1), method="bvls", tol=1e-12).x for frame in affine]
    np.testing.assert_allclose(arkit_weights(model, expression), wanted, atol=1e-4)


def test_bounded_weights_move_the_face_more_like_the_fit_than_clipped_ones() -> None:
    model = load_face_model()
    assert model.arkit is not None
    expression = random_expressions(50)
    affine = model.arkit.offset + expression @ model.arkit.matrix.T
    motion = unit_motion_mm(model).reshape(43, -1)

    def off_mm(weights: np.ndarray) -> float:
        return float(np.sqrt((((weights - affine) @ motion) ** 2).mean()))

    assert off_mm(arkit_weights(model, expression)) < 0.75 * off_mm(np.clip(affine, 0, 1))


def test_units_together_move_the_face_as_the_components_do() -> None:
    model = load_face_model()
    assert model.arkit is not None
    moved = np.tensordot(model.arkit.matrix.T, unit_motion_mm(model), axes=1)
    np.testing.assert_allclose(moved, model.expression_basis_mm, atol=1e-3)


def test_a_model_without_the_map_says_so(toy_model: FaceModel) -> None:
    with pytest.raises(ValueError, match="face model 'toy' has no map to ARKit weights"):
        arkit_weights(toy_model, np.zeros((1, 8), np.float32))


def test_a_wanted_jaw_comes_out_as_that_weight() -> None:
    model = load_face_model()
    assert model.arkit is not None
    weights = arkit_weights(model, expression_of(model, {"jawOpen": 0.6, "eyeBlink": 0.5})[None])[0]
    named = dict(zip(model.arkit.names, weights, strict=True))
    assert named["jawOpen"] == pytest.approx(0.6, abs=0.05)
    assert named["eyeBlinkLeft"] == pytest.approx(named["eyeBlinkRight"], abs=1e-3)
    assert named["eyeBlinkLeft"] == pytest.approx(0.5, abs=0.05)


def test_no_weights_are_the_neutral_face() -> None:
    model = load_face_model()
    np.testing.assert_allclose(expression_of(model, {}), model.neutral_expression, atol=1e-6)


def test_an_unknown_unit_is_named() -> None:
    with pytest.raises(ValueError, match="weights names 'earWiggle', which is no unit of face model 'facevid-cc0'"):
        expression_of(load_face_model(), {"earWiggle": 1.0})


def test_a_model_without_the_map_takes_no_weights(toy_model: FaceModel) -> None:
    with pytest.raises(ValueError, match="'toy' has no map to ARKit weights"):
        expression_of(toy_model, {"jawOpen": 1.0})
