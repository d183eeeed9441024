"""Export to ARKit weights."""

import dataclasses

import numpy as np
import pytest

from fitting.arkit import arkit_weights
from fitting.face_model import ArkitMap, FaceModel


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
