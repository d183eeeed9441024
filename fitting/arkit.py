"""Expression coefficients as ARKit blendshape weights, and back."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Float32, Float64

from fitting.face_model import ArkitMap, FaceModel

_STAY = 0.4
"""Pull towards the affine map, as a share of a unit's mean squared motion. It decides between combinations of units
that move the face alike (there are more units than components); faces change little between 0.2 and 1."""
_TOLERANCE = 1e-6
_MOST_SWEEPS = 1000
_FRAMES_AT_ONCE = 4096


def arkit_weights(
    model: FaceModel, expression: Float[np.ndarray, "frames n_expression"]
) -> Float32[np.ndarray, "frames units"]:
    """Weights of the model's ARKit units per frame, in [0, 1]; the units' names are `model.arkit.names`.

    Where the affine map leaves the box, the weights in the box whose face comes nearest to the fitted one:
    `min (w - a)^T (U U^T + s I) (w - a)`, with `a` the affine map, `U` the motion of the units (`unit_motion_mm`) and
    a small `s`. Units that are not at a bound make up for what the bounds take from others, which clipping does not do.

    Raises:
        ValueError: The model has no map to ARKit weights, or not as many components as there are coefficients.
    """
    arkit = _map_of(model)
    model.check_coefficients(expression=expression)
    affine = arkit.offset.astype(np.float64) + expression.astype(np.float64) @ arkit.matrix.T
    motion = unit_motion_mm(model).astype(np.float64).reshape(len(arkit.names), -1)
    metric = motion @ motion.T
    metric += _STAY * max(float(np.trace(metric)) / len(metric), 1e-12) * np.eye(len(metric))
    weights = np.clip(affine, 0.0, 1.0)
    for row in range(0, len(weights), _FRAMES_AT_ONCE):
        part = slice(row, row + _FRAMES_AT_ONCE)
        weights[part] = _nearest_in_box(metric, affine[part], weights[part])
    return np.asarray(weights, dtype=np.float32)


def unit_motion_mm(model: FaceModel) -> Float32[np.ndarray, "units vertices 3"]:
    """What each ARKit unit moves at weight 1, as far as the model's expressions can show it.

    The least motions whose combinations are the expression basis: `matrix^T units = basis`.

    Raises:
        ValueError: The model has no map to ARKit weights.
    """
    to_expression = np.linalg.pinv(_map_of(model).matrix.astype(np.float64))
    return np.asarray(np.tensordot(to_expression.T, model.expression_basis_mm, axes=1), dtype=np.float32)


def _nearest_in_box(
    metric: Float64[np.ndarray, "units units"],
    wanted: Float64[np.ndarray, "frames units"],
    start: Float64[np.ndarray, "frames units"],
) -> Float64[np.ndarray, "frames units"]:
    # Coordinate descent over all frames at once: each step is the exact minimum in one weight, so the energy of a
    # convex box problem falls to its minimum. scipy's lsq_linear gives the same, a frame at a time, 50 times slower.
    off = (start - wanted).T.copy()
    low, high = -wanted.T, 1.0 - wanted.T
    for _ in range(_MOST_SWEEPS):
        largest = 0.0
        for unit, row in enumerate(metric):
            moved = np.clip(off[unit] - row @ off / row[unit], low[unit], high[unit])
            largest = max(largest, float(np.abs(moved - off[unit]).max()))
            off[unit] = moved
        if largest < _TOLERANCE:
            break
    return np.asarray(np.clip(wanted + off.T, 0.0, 1.0))


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
