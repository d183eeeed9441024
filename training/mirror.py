"""What the coefficients of a face become when its picture is flipped left to right.

The mirrored face's displacements are those of the partner vertices with x negated. They are written in the
expression basis again by least squares; for a basis that is closed under mirroring this is exact.
"""

import numpy as np
from jaxtyping import Float32

from fitting.face_model import FaceModel

MAX_RESIDUAL = 0.05
"""Largest part of the mirrored displacements (RMS, relative) that the basis may fail to express."""


def mirror_operator(model: FaceModel) -> Float32[np.ndarray, "n_expression n_expression"] | None:
    """The matrix M with `mirrored coefficients = M @ coefficients`, or None where there is no good one.

    Args:
        model: Face model. Without `mirror_vertex`, or where the basis is not symmetric (mirrored expressions
            lie outside of it by more than `MAX_RESIDUAL`), flipped pictures have no right label.
    """
    if model.mirror_vertex is None:
        return None
    basis = model.expression_basis_mm.astype(np.float64)
    mirrored = basis[:, model.mirror_vertex] * np.array([-1.0, 1.0, 1.0])
    columns = basis.reshape(len(basis), -1).T
    wanted = mirrored.reshape(len(basis), -1).T
    operator, *_ = np.linalg.lstsq(columns, wanted, rcond=None)
    residual = np.linalg.norm(columns @ operator - wanted) / np.linalg.norm(wanted)
    return operator.astype(np.float32) if residual <= MAX_RESIDUAL else None
