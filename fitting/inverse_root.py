"""Inverse Cholesky factors of many small matrices: with them, solving is a batched product."""

import torch
from jaxtyping import Float
from torch import Tensor


def inverse_root(matrix: Float[Tensor, "batch n n"]) -> Float[Tensor, "batch n n"]:
    """`L^(-1)` of `L L^T = matrix`, for positive definite matrices; not a number for others."""
    unit = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    factor = torch.linalg.cholesky_ex(matrix).L
    root: Tensor = torch.linalg.solve_triangular(factor, unit.expand_as(matrix), upper=False)
    return root
