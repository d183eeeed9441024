"""A face model whose unit of expression is what a corpus showed."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float64

from fitting.face_model import FaceModel


def with_expression_prior(
    model: FaceModel,
    mean: Float64[np.ndarray, " n_expression"],
    covariance: Float64[np.ndarray, "n_expression n_expression"],
) -> FaceModel:
    """The same faces with coefficients u instead of e, where `e = mean + covariance^(1/2) u`.

    The unit Gaussian of u is then the Gaussian of the given moments in e, and all that assumes a unit Gaussian (the
    fit, its boxes and standard deviations, training) goes on to be right. The symmetric root keeps each component as
    near as can be to what it was. Coefficients of one model mean nothing on the other.

    Args:
        model: The model.
        mean: Of e, standard deviations of the model.
        covariance: Of e, positive definite.
    """
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(values) @ vectors.T
    inverse = vectors / np.sqrt(values) @ vectors.T
    basis = model.expression_basis_mm.astype(np.float64)
    arkit = model.arkit
    if arkit is not None:
        matrix = arkit.matrix.astype(np.float64)
        arkit = replace(
            arkit,
            offset=(arkit.offset + matrix @ mean).astype(np.float32),
            matrix=(matrix @ root).astype(np.float32),
        )
    return replace(
        model,
        mean_mm=(model.mean_mm + np.tensordot(mean, basis, 1)).astype(np.float32),
        expression_basis_mm=np.tensordot(root, basis, 1).astype(np.float32),
        neutral_expression=(inverse @ (model.neutral_expression - mean)).astype(np.float32),
        arkit=arkit,
        sha256="",
    )


def mirrored_expression(model: FaceModel) -> Float64[np.ndarray, "n_expression n_expression"] | None:
    """The matrix that turns the coefficients of an expression into those of its mirror image; None without symmetry."""
    if model.mirror_vertex is None:
        return None
    basis = model.expression_basis_mm.astype(np.float64)
    mirrored = basis[:, model.mirror_vertex] * np.array([-1.0, 1.0, 1.0])
    operator, *_ = np.linalg.lstsq(basis.reshape(len(basis), -1).T, mirrored.reshape(len(basis), -1).T, rcond=None)
    return np.asarray(operator)
