"""Expression coefficients as ARKit blendshape weights."""

import numpy as np
from jaxtyping import Float, Float32

from fitting.face_model import FaceModel


def arkit_weights(
    model: FaceModel, expression: Float[np.ndarray, "frames n_expression"]
) -> Float32[np.ndarray, "frames units"]:
    """Weights of the model's ARKit units per frame, in [0, 1]; the units' names are `model.arkit.names`.

    The model's affine map, clipped. Clipping does not redistribute what it cuts off to other units, so a face at the
    edge of the box moves a little less than the fitted one.

    Raises:
        ValueError: The model has no map to ARKit weights.
    """
    if model.arkit is None:
        raise ValueError(f"face model {model.name!r} has no map to ARKit weights")
    weights = model.arkit.offset.astype(np.float64) + expression.astype(np.float64) @ model.arkit.matrix.T
    return np.asarray(np.clip(weights, 0.0, 1.0), dtype=np.float32)
