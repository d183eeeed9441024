"""The expression's normal matrix, and where an uncertain expression scatters the landmarks, without a Jacobian.

Through a scaled-orthographic camera `J_l = s R_2 E_l`, so the normal matrix `sum_l w_l J_l^T J_l` is linear in the six
numbers `w_l s^2 (R_2^T R_2)_ij` of each landmark, with products of two rows of the basis as constants: one product of
all frames with one matrix. The scatter `sum_l w_l E_l Cov E_l^T` is linear in the covariance with the same constants.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from fitting.camera import model_jacobian
from fitting.shared_product import times_shared

WIDEST_TABLE = 64
"""Bases of more components than this go through their Jacobians: the table has half their square in columns, and the
six numbers are then more than the two rows of a Jacobian."""
_AXES = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
_MATRIX = (0, 3, 4, 3, 1, 5, 4, 5, 2)
"""Where the entries of a symmetric 3x3 matrix stand in the order of `_AXES`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpressionSquares:
    """Constants of one expression basis.

    Attributes:
        basis: Displacement of the landmarks per standard deviation of each component.
        table: For each pair of axes and landmark, the product of its rows of the basis, symmetric; None where the basis
            has more than `WIDEST_TABLE` components.
        packed: Entries of a flat symmetric matrix that the columns of the table stand for.
        unpacked: Column of the table for each entry of a flat symmetric matrix.
        packed_count: How often each column's entry occurs in the matrix, 1 or 2.
    """

    basis: Float[Tensor, "3 points n"]
    table: Float[Tensor, "six_points pairs"] | None
    packed: Int64[Tensor, " pairs"]
    unpacked: Int64[Tensor, " n_n"]
    packed_count: Float[Tensor, " pairs"]

    def normal_matrix(
        self, weight: Float[Tensor, "frames points"], scaled_rotation: Float[Tensor, "frames 2 3"]
    ) -> Float[Tensor, "frames n n"]:
        """`sum_l w_l J_l^T J_l` of each frame.

        Args:
            weight: Of each landmark.
            scaled_rotation: First two rows of the rotation, times the scale.
        """
        size = self.basis.shape[-1]
        if self.table is None:
            wide = model_jacobian(scaled_rotation, self.basis)
            weighted = wide * weight[:, None, :, None]
            return torch.bmm(weighted.flatten(1, 2).mT, wide.flatten(1, 2))
        square = torch.bmm(scaled_rotation.mT, scaled_rotation)
        six = torch.stack([square[:, i, j] for i, j in _AXES], dim=1)
        packed = times_shared((six[:, :, None] * weight[:, None]).flatten(1), self.table)
        return packed.index_select(1, self.unpacked).reshape(-1, size, size)

    def spread(
        self, weight: Float[Tensor, "frames points"], covariance: Float[Tensor, "frames n n"]
    ) -> Float[Tensor, "frames 3 3"]:
        """`sum_l w_l E_l Cov E_l^T` of each frame, mm^2.

        Args:
            weight: Of each landmark.
            covariance: Of the expression.
        """
        frames = len(weight)
        if self.table is None:
            moved = torch.bmm(self.basis.flatten(0, 1).expand(frames, -1, -1), covariance)
            moved = moved.reshape(frames, *self.basis.shape).mul_(weight[:, None, :, None])
            return torch.bmm(moved.flatten(2), self.basis.flatten(1).mT.expand(frames, -1, -1))
        packed = covariance.flatten(1).index_select(1, self.packed) * self.packed_count
        six = (times_shared(packed, self.table.mT).reshape(frames, 6, -1) * weight[:, None]).sum(-1)
        # The table's products of two axes are sums over both orders.
        six[:, 3:] *= 0.5
        return six[:, list(_MATRIX)].reshape(-1, 3, 3)


def expression_squares(basis: Float[Tensor, "3 points n"]) -> ExpressionSquares:
    """The constants of an expression basis, in its precision and where it is."""
    size, device = basis.shape[-1], basis.device
    row, column = torch.tril_indices(size, size, device=device)
    unpacked = torch.empty(size, size, dtype=torch.int64, device=device)
    unpacked[row, column] = unpacked[column, row] = torch.arange(len(row), device=device)
    table = None
    if size <= WIDEST_TABLE:
        wide = basis.double()
        pairs = [wide[i][:, row] * wide[j][:, column] for i, j in _AXES]
        swapped = [wide[j][:, row] * wide[i][:, column] for i, j in _AXES[3:]]
        table = torch.cat([*pairs[:3], *(pair + other for pair, other in zip(pairs[3:], swapped, strict=True))])
        table = table.to(basis.dtype)
    return ExpressionSquares(
        basis=basis,
        table=table,
        packed=row * size + column,
        unpacked=unpacked.flatten(),
        packed_count=torch.where(row == column, 1.0, 2.0).to(basis.dtype),
    )
