"""Rotations as unit quaternions (w, x, y, z) and as matrices, over any batch shape.

Everything here is division and square roots, which IEEE 754 rounds exactly: a vectorised loop and its
tail then agree bit for bit, so a frame's result does not depend on where it lies in a batch.
"""

from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Float, Int64
from torch import Tensor

# Of the nine entries of a rotation matrix: which products of components (4 row + column, of w, x, y, z) they hold.
_FIRST = [10, 6, 7, 6, 5, 11, 7, 11, 5]
_SECOND = [15, 3, 2, 3, 15, 1, 2, 1, 10]
_FIRST_SIGN = [-1.0, 1.0, 1.0, 1.0, -1.0, 1.0, 1.0, 1.0, -1.0]
_SECOND_SIGN = [-1.0, -1.0, 1.0, 1.0, -1.0, -1.0, -1.0, 1.0, -1.0]
_UNIT = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]

def matrix_from_quaternion(quaternion: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrix of a unit quaternion."""
    # Few operations on small tensors, each of which costs more than its numbers: entry = c + 2 (s a + t b), where a
    # and b are products of two components.
    products = (quaternion[..., :, None] * quaternion[..., None, :]).flatten(-2)
    entries = _entries(quaternion.dtype, quaternion.device)
    sums = products.index_select(-1, entries.first) * entries.first_sign
    sums += products.index_select(-1, entries.second) * entries.second_sign
    sums *= 2
    sums += entries.unit
    return sums.reshape(*quaternion.shape[:-1], 3, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entries:
    first: Int64[Tensor, " 9"]
    second: Int64[Tensor, " 9"]
    first_sign: Float[Tensor, " 9"]
    second_sign: Float[Tensor, " 9"]
    unit: Float[Tensor, " 9"]


@cache
def _entries(dtype: torch.dtype, device: torch.device) -> _Entries:
    return _Entries(
        first=torch.tensor(_FIRST, device=device),
        second=torch.tensor(_SECOND, device=device),
        first_sign=torch.tensor(_FIRST_SIGN, device=device, dtype=dtype),
        second_sign=torch.tensor(_SECOND_SIGN, device=device, dtype=dtype),
        unit=torch.tensor(_UNIT, device=device, dtype=dtype),
    )


def quaternion_from_matrix(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 4"]:
    """Unit quaternion of a rotation matrix, w >= 0.

    Of the four formulas of Shepperd (1978), the one with the largest component is taken, so the division
    is never by a small number.
    """
    m = matrix
    diagonal = m.diagonal(dim1=-2, dim2=-1)
    xx, yy, zz = diagonal.unbind(-1)
    squares = torch.stack([1 + xx + yy + zz, 1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz], dim=-1)
    wx, wy, wz = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    xy, xz, yz = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    w2, x2, y2, z2 = squares.unbind(-1)
    # Row k is four times the quaternion times its k-th component.
    candidates = torch.stack([
        torch.stack([w2, wx, wy, wz], dim=-1),
        torch.stack([wx, x2, xy, xz], dim=-1),
        torch.stack([wy, xy, y2, yz], dim=-1),
        torch.stack([wz, xz, yz, z2], dim=-1),
    ], dim=-2)  # fmt: skip
    best = squares.argmax(dim=-1)[..., None, None].expand(*squares.shape[:-1], 1, 4)
    return canonical(candidates.gather(-2, best).squeeze(-2))


def canonical(quaternion: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 4"]:
    """Unit length and w >= 0."""
    unit = quaternion / _norm(quaternion)
    return torch.where(unit[..., :1] < 0, -unit, unit)


def compose(left: Float[Tensor, "*batch 4"], right: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 4"]:
    """Quaternion of "first `right`, then `left`"."""
    a, b, c, d = left.unbind(-1)
    w, x, y, z = right.unbind(-1)
    return torch.stack([
        a * w - b * x - c * y - d * z,
        a * x + b * w + c * z - d * y,
        a * y - b * z + c * w + d * x,
        a * z + b * y - c * x + d * w,
    ], dim=-1)  # fmt: skip


def turned(quaternion: Float[Tensor, "*batch 4"], turn: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 4"]:
    """`quaternion`, then a small turn about the axes of the frame it leads to (a left update).

    Equals the exponential map to second order in `turn` (radians), is finite at zero and needs no sine.
    """
    step = torch.cat([torch.ones_like(turn[..., :1]), 0.5 * turn], dim=-1)
    product = compose(step, quaternion)
    return product / _norm(product)


def quaternion_from_rotation_vector(vector: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 4"]:
    """Exponential map: a turn of |vector| radians about vector; finite, with finite gradients, at zero."""
    # The square root has no gradient at 0, so the angle of a zero vector is cut out before it is taken.
    squared = (vector * vector).sum(-1, keepdim=True)
    tiny = squared < 1e-20
    angle = torch.where(tiny, torch.ones_like(squared), squared).sqrt()
    half_sine = torch.where(tiny, torch.full_like(angle, 0.5), (0.5 * angle).sin() / angle)
    cosine = torch.where(tiny, torch.ones_like(angle), (0.5 * angle).cos())
    return torch.cat([cosine, half_sine * vector], dim=-1)


def _norm(quaternion: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 1"]:
    w, x, y, z = quaternion.unbind(-1)
    return (w * w + x * x + y * y + z * z).sqrt()[..., None]
