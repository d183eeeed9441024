"""Errors of expression coefficients, measured on the face instead of in coefficients.

Two sets of coefficients that differ by d move the mesh apart by `E d`, E the expression basis. The mean
squared distance over the vertices is `d^T G d` with `G = E^T E / vertices`, a small matrix computed once, so
a loss in square millimetres costs no mesh. Plain L2 on coefficients would weigh a component that moves the
jaw by a centimetre like one that nobody sees.
"""

import numpy as np
import torch
from jaxtyping import Float, Float32

_CHUNK = 1 << 16


def gram_matrix_mm2(
    expression_basis_mm: Float32[np.ndarray, "n_expression vertices 3"],
) -> Float32[np.ndarray, "n_expression n_expression"]:
    """G of the module docstring: mm^2 per squared standard deviation, mean over the vertices."""
    flat = expression_basis_mm.reshape(len(expression_basis_mm), -1).astype(np.float64)
    return np.asarray(flat @ flat.T / expression_basis_mm.shape[1], np.float32)


def squared_vertex_error_mm2(
    predicted: Float[torch.Tensor, "batch n_expression"],
    target: Float[torch.Tensor, "batch n_expression"],
    gram_mm2: Float[torch.Tensor, "n_expression n_expression"],
) -> Float[torch.Tensor, " batch"]:
    """Mean squared distance of the vertices, per face, mm^2: `d^T G d`."""
    difference = predicted - target
    return torch.einsum("bi,ij,bj->b", difference, gram_mm2, difference)


def mean_expression_loss_mm2(
    labels: Float32[np.ndarray, "crops n_expression"],
    weights: Float32[np.ndarray, " crops"],
    gram_mm2: Float32[np.ndarray, "n_expression n_expression"],
) -> float:
    """The loss of a network that answers every crop with the labels' mean, mm^2: what a training must come below.

    The mean of `w (e - m)^T G (e - m)` is the sum over `G * M`, M the weighted second moments about m.
    """
    mean = labels.mean(axis=0, dtype=np.float64)
    moments = np.zeros(gram_mm2.shape)
    for start in range(0, len(labels), _CHUNK):
        difference = labels[start : start + _CHUNK] - mean
        moments += (difference * weights[start : start + _CHUNK, None]).T @ difference
    return float((gram_mm2 * moments).sum() / len(labels))


def label_weights(
    expression_sigma: Float32[np.ndarray, "crops n_expression"],
    gram_mm2: Float32[np.ndarray, "n_expression n_expression"],
) -> Float32[np.ndarray, " crops"]:
    """Weight of each crop's loss from the posterior standard deviations of its label; the mean is 1.

    The expected squared vertex error of the label itself is `u = sum_k G_kk sigma_k^2` (the fit reports no
    covariances between components). Inverse-variance weighting, `1 / (tau + u)`, is optimal for noise of
    variance u on top of a model error of variance tau; tau is not known, and the median of u keeps a few very
    sure labels from deciding alone.

    Raises:
        ValueError: A sigma is negative or not finite.
    """
    if not (np.isfinite(expression_sigma).all() and (expression_sigma >= 0).all()):
        raise ValueError("expression_sigma holds values that are negative or not finite; build the dataset again")
    if not len(expression_sigma):
        return np.zeros(0, np.float32)
    uncertainty_mm2 = np.square(expression_sigma.astype(np.float64)) @ np.diag(gram_mm2)
    median = float(np.median(uncertainty_mm2))
    if median == 0.0:  # a dataset without uncertainties: all labels count the same
        return np.ones(len(expression_sigma), np.float32)
    weights = 1.0 / (median + uncertainty_mm2)
    return np.asarray(weights / weights.mean(), np.float32)
