"""FLAME (`generic_model.pkl`, `flame2023.pkl`): a pickle that holds chumpy and scipy objects, read without running it.

Keys read: `v_template` (V, 3), `shapedirs` (V, 3, S + E; the first 300 of 400 are identity), `f` counted from 0,
`weights` (V, 5), `posedirs` (V, 3, 36), `J_regressor` (5, V). Metres, y up, z forward; shapedirs move by one standard
deviation. Joint 2 of (root, neck, jaw, left eye, right eye) is the jaw.

FLAME opens the mouth by turning the jaw, which is not linear. Here the turn is linearised at rest and becomes the first
three expression components (x opens, y and z turn sideways); their standard deviations are a choice made here,
not FLAME's, and large openings come out straight instead of round.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from fitting.importers.ibug68 import FLAME_5023, at_vertices
from fitting.importers.pickled_arrays import read_pickled_arrays
from fitting.importers.raw import RawModel, from_zero

IDENTITY_COMPONENTS = 300
VERTICES = 5023
JAW_SD_RAD = (0.15, 0.03, 0.03)
_JAW = 2
_METRES = 1000.0


def read_flame(path: Path) -> RawModel:
    """Read the model.

    Args:
        path: The `.pkl` file.

    Raises:
        ValueError: The file is refused (see `fitting.importers.pickled`) or is no FLAME model.
    """
    entries = read_pickled_arrays(path)
    mean = _array(path, entries, "v_template", 2)
    vertices = len(mean)
    shapes = _array(path, entries, "shapedirs", 3)
    if mean.shape != (vertices, 3) or shapes.shape[:2] != mean.shape or shapes.shape[2] <= IDENTITY_COMPONENTS:
        raise ValueError(
            f"{path}: shapedirs has shape {shapes.shape}; wanted ({vertices}, 3, more than {IDENTITY_COMPONENTS}), the"
            f" first {IDENTITY_COMPONENTS} being identity"
        )
    triangles = _array(path, entries, "f", 2)
    if triangles.dtype.kind not in "iu" or triangles.shape[1] != 3:
        raise ValueError(f"{path}: f is no list of triangles")
    components = np.ascontiguousarray(np.moveaxis(shapes, 2, 0))
    jaw = _jaw_turned(path, entries, mean.astype(np.float64))
    return RawModel(
        name="flame",
        mean=mean.astype(np.float64),
        identity=components[:IDENTITY_COMPONENTS].astype(np.float32),
        expression=np.concatenate([jaw, components[IDENTITY_COMPONENTS:]]).astype(np.float32),
        triangles=from_zero(triangles.astype(np.int64), vertices, first=0),
        unit_mm=_METRES,
        winding="counter-clockwise",
        landmarks=at_vertices(FLAME_5023) if vertices == VERTICES else None,
        licence="see the terms of the FLAME release that the file came from",
        source="FLAME, MPI for Intelligent Systems; jaw linearised",
    )


def _jaw_turned(
    path: Path, entries: Mapping[str, object], mean: Float64[np.ndarray, "vertices 3"]
) -> Float64[np.ndarray, "3 vertices 3"]:
    """Derivative of linear blend skinning by the jaw's rotation vector at rest, per standard deviation.

    With weight w of the jaw, joint position J and pose blend shapes P: d x = w (r x (v - J)) + P vec([r]_x), see
    Li et al., SIGGRAPH Asia 2017, equations 2 to 5.
    """
    weights = _array(path, entries, "weights", 2)
    pose = _array(path, entries, "posedirs", 3)
    regressor = entries.get("J_regressor")
    if (
        not isinstance(regressor, np.ndarray)
        or regressor.shape[1:] != (len(mean),)
        or len(regressor) <= _JAW
        or weights.shape != (len(mean), len(regressor))
        or pose.shape != (*mean.shape, 9 * (len(regressor) - 1))
    ):
        raise ValueError(
            f"{path}: J_regressor, weights and posedirs do not belong to {len(mean)} vertices and 5 joints"
        )
    joint = regressor[_JAW] @ mean
    out = np.zeros((3, *mean.shape))
    for axis, sd_rad in enumerate(JAW_SD_RAD):
        turn = np.zeros(3)
        turn[axis] = sd_rad
        out[axis] = weights[:, _JAW, None] * np.cross(turn, mean - joint)
        # Pose blend shapes leave out the root, so the jaw's nine come second.
        out[axis] += pose[:, :, 9 * (_JAW - 1) : 9 * _JAW] @ _cross_matrix(turn).ravel()
    return out


def _cross_matrix(turn: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "3 3"]:
    x, y, z = turn
    return np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])


def _array(path: Path, entries: Mapping[str, object], key: str, dimensions: int) -> np.ndarray:
    value = entries.get(key)
    if not isinstance(value, np.ndarray) or value.ndim != dimensions:
        raise ValueError(f"{path} is no FLAME model: {key} is missing or has not {dimensions} dimensions")
    return value
