"""Expression coefficients as ARKit blendshape weights, and back."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Float32

from fitting.face_model import ArkitMap, FaceModel


def arkit_weights(
    model: FaceModel, expression: Float[np.ndarray, "frames n_expression"]
) -> Float32[np.ndarray, "frames units"]:
    """Weights of the model's ARKit units per frame, in [0, 1]; the units' names are `model.arkit.names`.

    The model's affine map, clipped. Clipping does not redistribute what it cuts off to other units, so a face at the
    edge of the box moves a little less than the fitted one.

    Raises:
        ValueError: The model has no map to ARKit weights.
    """
    arkit = _map_of(model)
    weights = arkit.offset.astype(np.float64) + expression.astype(np.float64) @ arkit.matrix.T
    return np.asarray(np.clip(weights, 0.0, 1.0), dtype=np.float32)


def expression_of(model: FaceModel, weights: Mapping[str, float]) -> Float32[np.ndarray, " n_expression"]:
    """The coefficients whose ARKit weights come nearest to those given, starting from the neutral face.

    Args:
        model: A model with ARKit weights.
        weights: ARKit weights; a name without `Left` or `Right` means both. Units not named stay at 0.

    Raises:
        ValueError: The model has no map to ARKit weights, or knows no unit of that name.
    """
    arkit = _map_of(model)
    wanted = np.zeros(len(arkit.names))
    for name, value in weights.items():
        sides = [i for i, known in enumerate(arkit.names) if known in {name, f"{name}Left", f"{name}Right"}]
        if not sides:
            raise ValueError(f"weights names {name!r}, which is no unit of face model {model.name!r}")
        wanted[sides] = value
    moved = np.linalg.lstsq(arkit.matrix.astype(np.float64), wanted, rcond=None)[0]
    return np.asarray(model.neutral_expression + moved, dtype=np.float32)


def _map_of(model: FaceModel) -> ArkitMap:
    if model.arkit is None:
        raise ValueError(f"face model {model.name!r} has no map to ARKit weights")
    return model.arkit
