"""Inverse Cholesky factors of many small matrices: with them, solving is a batched product."""

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor


def inverse_root(matrix: Float[Tensor, "batch n n"]) -> Float[Tensor, "batch n n"]:
    """`L^(-1)` of `L L^T = matrix`, for positive definite matrices; not a number for others."""
    unit = _unit(matrix.shape[-1], matrix.dtype, matrix.device)
    factor = torch.linalg.cholesky_ex(matrix).L
    root: Tensor = torch.linalg.solve_triangular(factor, unit.mT.expand_as(matrix), upper=False)
    return root


@cache
def _unit(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.eye(size, dtype=dtype, device=device)
