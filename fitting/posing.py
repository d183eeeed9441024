"""Expression coefficients for a wanted face: the way back from `fitting.arkit`."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float32

from fitting.face_model import FaceModel


def expression_of(model: FaceModel, weights: Mapping[str, float]) -> Float32[np.ndarray, " n_expression"]:
    """The coefficients whose ARKit weights come nearest to those given, starting from the neutral face.

    Args:
        model: A model with ARKit weights.
        weights: ARKit weights; a name without `Left` or `Right` means both. Units not named stay at 0.

    Raises:
        ValueError: The model has no ARKit weights, or knows no unit of that name.
    """
    if model.arkit is None:
        raise ValueError(f"face model {model.name!r} has no map to ARKit weights")
    wanted = np.zeros(len(model.arkit.names))
    for name, value in weights.items():
        sides = [i for i, known in enumerate(model.arkit.names) if known in {name, f"{name}Left", f"{name}Right"}]
        if not sides:
            raise ValueError(f"weights names {name!r}, which is no unit of face model {model.name!r}")
        wanted[sides] = value
    moved = np.linalg.lstsq(model.arkit.matrix.astype(np.float64), wanted, rcond=None)[0]
    return np.asarray(model.neutral_expression + moved, dtype=np.float32)
