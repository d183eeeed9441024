"""To ARKit weights, and from wanted ARKit weights to coefficients."""

import dataclasses

import numpy as np
import pytest

from fitting.arkit import arkit_weights, expression_of
from fitting.face_model import ArkitMap, FaceModel, load_face_model


def test_weights_follow_the_affine_map_and_stay_in_the_box(toy_model: FaceModel) -> None:
    matrix = np.zeros((2, 8), np.float32)
    matrix[0, 0], matrix[1, 1] = 0.5, -0.5
    arkit = ArkitMap(names=("jawOpen", "mouthPucker"), offset=np.array([0.1, 0.2], np.float32), matrix=matrix)
    model = dataclasses.replace(toy_model, arkit=arkit)
    expression = np.zeros((3, 8), np.float32)
    expression[1, :2] = [1.0, 0.2]
    expression[2, :2] = [9.0, 9.0]
    np.testing.assert_allclose(arkit_weights(model, expression), [[0.1, 0.2], [0.6, 0.1], [1.0, 0.0]], atol=1e-6)


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
