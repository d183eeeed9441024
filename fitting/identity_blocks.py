"""Blocks of the normal equations in which the identity takes part, from what frames say of their landmarks."""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from fitting.energy import FrameBlocks
from fitting.landmark_basis import LandmarkBasis
from fitting.shared_product import times_shared

CAMERA_RIDGE = 1e-6
"""Added to the camera's block, so that a frame without landmarks has an inverse."""
AT_ONCE = 64
"""Key frames whose blocks between expression and identity are made at once, so that what they are made of stays in the
cache."""


def expression_against(blocks: FrameBlocks, basis: LandmarkBasis) -> Float[Tensor, "frames n_expression n"]:
    """Blocks between expression and identity."""
    # The landmark's square, weighted, meets the expression first: that side is narrow, the wide one stays constant.
    frames, points = blocks.weight.shape
    n_expression, n_identity = basis.expression.shape[-1], basis.identity.shape[-1]
    against = blocks.weight.new_empty(frames, n_expression, n_identity)
    moved = blocks.weight.new_empty(min(frames, AT_ONCE), 3, points * n_expression)
    for start in range(0, frames, AT_ONCE):
        part = slice(start, min(start + AT_ONCE, frames))
        turn, weight = blocks.scaled_rotation[part], blocks.weight[part]
        rows = moved[: len(turn)]
        torch.bmm(torch.bmm(turn.mT, turn), basis.expression.flatten(1).expand(len(turn), -1, -1), out=rows)
        rows.reshape(-1, 3, points, n_expression).mul_(weight[:, None, :, None])
        matrix = basis.identity.flatten(0, 1).expand(len(turn), -1, -1)
        torch.bmm(rows.reshape(-1, 3 * points, n_expression).mT, matrix, out=against[part])
    return against


def weighted_square(
    blocks: FrameBlocks, displaced: Float[Tensor, "frames 3 points"]
) -> Float[Tensor, "frames 3 points"]:
    """`w_l s^2 R_2^T R_2` of each landmark times its displacement: what displacements do to the forces on landmarks."""
    turned = torch.bmm(blocks.scaled_rotation, displaced)
    return torch.bmm(blocks.scaled_rotation.mT, turned * blocks.weight[:, None])


def identity_pull(
    forces: Float[Tensor, "frames 3 points"], basis: LandmarkBasis, tracks: int
) -> Float64[Tensor, "tracks n"]:
    """What forces on the landmarks of all of a track's frames come to for its identity."""
    together = forces.reshape(tracks, -1, 3 * forces.shape[-1]).sum(1)
    return times_shared(together, basis.identity.flatten(0, 1)).double()


def expression_against_together(
    blocks: FrameBlocks, basis: LandmarkBasis, tracks: int
) -> Float[Tensor, "tracks n_expression n"]:
    """The sum of `expression_against` over all of a track's frames, each track with the same number."""
    return _against_moved(basis.expression, _squares(blocks, tracks), basis)


def identity_hessian_of(
    blocks: FrameBlocks, basis: LandmarkBasis, tracks: int
) -> Float[Tensor, "tracks n n"]:
    """The identity's own block from all of a track's frames, each track with the same number."""
    return identity_hessian(_squares(blocks, tracks), basis)


def identity_hessian(squares: Float[Tensor, "tracks points 9"], basis: LandmarkBasis) -> Float[Tensor, "tracks n n"]:
    """The identity's own block from each landmark's `sum_f w_f s_f^2 R_2^T R_2`, row by row."""
    return _against_moved(basis.identity, squares, basis)


def _squares(blocks: FrameBlocks, tracks: int) -> Float[Tensor, "tracks points 9"]:
    # Frames enter only through one 3x3 matrix per landmark, so the cost does not grow with frames times identities.
    square = torch.bmm(blocks.scaled_rotation.mT, blocks.scaled_rotation).reshape(tracks, -1, 9)
    weight = blocks.weight.reshape(tracks, -1, blocks.weight.shape[-1])
    return torch.bmm(weight.mT, square)


def _against_moved(
    displaced: Float[Tensor, "3 points m"], squares: Float[Tensor, "tracks points 9"], basis: LandmarkBasis
) -> Float[Tensor, "tracks m n"]:
    tracks, points, _ = squares.shape
    by_landmark = basis.identity.permute(1, 0, 2)
    moved = torch.bmm(squares.reshape(-1, 3, 3), by_landmark.repeat(tracks, 1, 1)).reshape(tracks, 3 * points, -1)
    flat = displaced.permute(1, 0, 2).flatten(0, 1)
    return torch.bmm(flat.mT.expand(tracks, -1, -1), moved)
