"""The option that checks array shapes in tests really checks them."""

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from fitting.face_model import LandmarkEmbedding


def test_a_wrong_shape_in_one_of_our_types_fails() -> None:
    good = LandmarkEmbedding(vertex_ids=np.zeros((5, 3), np.int32), weights=np.zeros((5, 3), np.float32))
    assert good.weights.shape == (5, 3)
    with pytest.raises(TypeCheckError):
        LandmarkEmbedding(vertex_ids=np.zeros((5, 3), np.int32), weights=np.zeros((4, 3), np.float32))
