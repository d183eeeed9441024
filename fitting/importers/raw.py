"""What a file of another project holds, before anything about it is believed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from fitting.face_model import ArkitMap, LandmarkEmbedding

Winding = Literal["counter-clockwise", "not stated"]
MOST_ARRAY_BYTES = 4 << 30
"""Of one array; a file of a few bytes may promise any size. The largest of the models that are read have 0.5 GB."""
_UNIT_NORM = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class RawModel:
    """A model as its file has it.

    Attributes:
        name: Short name.
        mean: Mean identity with mean expression, in the file's unit.
        identity: Displacement per standard deviation, in the file's unit.
        expression: The same for expressions.
        triangles: Vertex ids counted from 0.
        unit_mm: Millimetres per unit of the file.
        winding: Whether the format promises triangles counter-clockwise seen from outside.
        landmarks: Where the 68 iBUG points lie, if that is known.
        points: A few named points (`fitting.importers.transfer.POINTS`) as vertex ids, where the 68 are not known.
        neutral: Coefficients of the neutral face; zeros where that is the mean.
        arkit: Map to ARKit weights, where the expressions have such names.
        licence: SPDX id or a sentence.
        source: Where the data came from.
    """

    name: str
    mean: Float[np.ndarray, "vertices 3"]
    identity: Float[np.ndarray, "n_identity vertices 3"]
    expression: Float[np.ndarray, "n_expression vertices 3"]
    triangles: Int[np.ndarray, "triangles 3"]
    unit_mm: float
    winding: Winding
    landmarks: LandmarkEmbedding | None
    points: Mapping[str, int] = field(default_factory=dict)
    neutral: Float[np.ndarray, " n_expression"] | None = None
    arkit: ArkitMap | None = None
    licence: str
    source: str


def from_zero(triangles: Int[np.ndarray, "triangles 3"], vertices: int, *, first: Literal[0, 1]) -> np.ndarray:
    """Triangles counted from 0.

    Args:
        triangles: As the file has them.
        vertices: Number of vertices.
        first: What the format calls the first vertex.

    Raises:
        ValueError: They cannot be counted from `first`.
    """
    if not triangles.size:
        raise ValueError("triangles: the file has none")
    low, high = int(triangles.min()), int(triangles.max())
    if low < first or high >= vertices + first:
        other = 1 - first
        looks = f", which looks counted from {other}" if (low >= other and high < vertices + other) else ""
        raise ValueError(
            f"triangles name vertices {low} to {high}{looks}; this format counts {vertices} vertices from {first}"
        )
    return np.asarray(triangles, dtype=np.int64) - first


def scaled_columns(
    columns: Float[np.ndarray, "coordinates components"], sd: Float[np.ndarray, " components"], *, what: str
) -> Float[np.ndarray, "components vertices 3"]:
    """Unit vectors times their standard deviations, as displacements per component.

    Args:
        columns: One unit vector per component, coordinates ordered x, y, z of each vertex.
        sd: Standard deviation along each.
        what: The name of the columns in the file, for errors.

    Raises:
        ValueError: They are no unit vectors (perhaps scaled already), or `sd` is negative or not finite.
    """
    if len(columns) % 3 or sd.shape != (columns.shape[1],):
        raise ValueError(
            f"{what} has shape {columns.shape}, with {len(sd)} standard deviations; wanted (3 x vertices, components)"
        )
    norms = np.linalg.norm(columns, axis=0)
    if not (np.abs(norms - 1) < _UNIT_NORM).all():
        at = int(np.abs(norms - 1).argmax())
        raise ValueError(
            f"{what}: column {at} has length {norms[at]:.4g}, but this format has unit vectors;"
            " perhaps they are multiplied by their standard deviations already"
        )
    if not np.isfinite(sd).all() or (sd < 0).any():
        raise ValueError(f"{what}: standard deviations must be finite and not negative")
    return np.asarray((columns * sd).T.reshape(columns.shape[1], -1, 3), dtype=np.float32)
