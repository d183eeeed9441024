"""One Gauss-Newton step of the identity stage: key frames are eliminated first, so the identity's system is small.

Per frame the expression goes first (its block is the one whose inverse EM needs anyway), then the camera. With inverse
Cholesky factors instead of triangular solves everything is a batched product.
"""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from fitting.camera import PARAMETERS, ScaledOrthographic
from fitting.head_size import growth, step_with_share_of_size
from fitting.identity_blocks import (
    AT_ONCE,
    CAMERA_RIDGE,
    expression_against,
    identity_hessian_of,
    identity_pull,
    weighted_square,
)
from fitting.identity_precision import Elimination
from fitting.identity_state import IdentityState, KeyFrames, turned_spread
from fitting.inverse_root import inverse_root
from fitting.landmark_basis import LandmarkBasis, displacements
from fitting.shared_product import times_column, times_shared


def gauss_newton(
    state: IdentityState,
    seen: KeyFrames,
    basis: LandmarkBasis,
    damping: Float[Tensor, " tracks"],
    *,
    share_of_size: float = 1.0,
) -> tuple[IdentityState, Elimination]:
    """The state after one damped step, and the eliminated system at the state before it.

    Args:
        state: Where.
        seen: The key frames linearised there.
        basis: The face model at the observed landmarks.
        damping: Levenberg-Marquardt damping.
        share_of_size: How much of the change in size to take, see `head_size`.
    """
    tracks, blocks = len(damping), seen.blocks
    size = len(state.expression) // tracks
    hessian, gradient = camera_system(state.camera, seen)
    narrow_identity = blocks.camera_against(basis.identity_by_point)
    # Eliminate the expression, then the camera. The gradient is one more column, beside the camera's.
    root = seen.expression_root
    downhill = (blocks.expression_gradient - state.expression)[..., None]
    half_camera = torch.bmm(root, torch.cat([blocks.camera_expression.mT, downhill], dim=-1))
    half = half_camera[..., :PARAMETERS].mT.contiguous()
    left = torch.bmm(half, half_camera)
    camera_root = inverse_root(_damped(hessian, damping.repeat_interleave(size)) - left[..., :PARAMETERS])
    camera_sides = torch.cat([narrow_identity[:, :PARAMETERS], gradient[..., None] - left[..., PARAMETERS:]], dim=-1)
    by_expression = _eliminate_expression(seen, basis, half, camera_sides, tracks)
    # Float64: this difference is where digits are lost. The last row and column belong to the gradient.
    by_camera = torch.bmm(camera_root, camera_sides).reshape(tracks, size * PARAMETERS, -1)
    eliminated = torch.bmm(by_camera.mT, by_camera).double()
    eliminated[:, :-1, :-1] += by_expression
    # What the expressions' own steps would do to the landmarks, and with that to the identity.
    settled = basis.expressions(times_column(root.mT, half_camera[..., PARAMETERS]))
    eliminated[:, :-1, -1] += identity_pull(weighted_square(blocks, settled), basis, tracks)
    own = identity_hessian_of(blocks, basis, tracks).double()
    schur = own - eliminated[:, :-1, :-1] + _unit(own)
    schur = 0.5 * (schur + schur.mT)
    downhill = narrow_identity[:, PARAMETERS].reshape(tracks, size, -1).double().sum(1)
    downhill = downhill - state.identity - eliminated[:, :-1, -1]
    step = step_with_share_of_size(_damped_identity(schur, own, damping), downhill, growth(basis), share_of_size)
    step = step.to(state.identity.dtype)
    # Back: the camera's step from the identity's, the expression's from both.
    known = torch.cat([-step, torch.ones_like(step[:, :1])], dim=-1)
    camera_step = times_column(camera_root.mT, times_column(by_camera, known).reshape(-1, PARAMETERS))
    remaining = times_column(half_camera, torch.cat([-camera_step, torch.ones_like(camera_step[:, :1])], dim=-1))
    shifted = weighted_square(blocks, displacements(step, basis.identity).repeat_interleave(size, dim=0))
    remaining -= times_column(root, times_shared(shifted.flatten(1), basis.expression.flatten(0, 1)))
    moved = IdentityState(
        identity=state.identity + step,
        expression=state.expression + times_column(root.mT, remaining),
        camera=state.camera.updated(camera_step),
    )
    return moved, Elimination(
        seen=seen,
        camera_hessian=hessian,
        narrow_identity=narrow_identity,
        identity=schur,
    )


def _eliminate_expression(
    seen: KeyFrames,
    basis: LandmarkBasis,
    half_camera: Float[Tensor, "frames 6 n_expression"],
    camera_sides: Float[Tensor, "frames 6 n_plus_1"],
    tracks: int,
) -> Float[Tensor, "tracks n n"]:
    """What the expressions take of the identity's block; what they take of the camera's goes off `camera_sides`."""
    n, size = basis.identity.shape[-1], len(half_camera) // tracks
    taken = half_camera.new_empty(tracks, n, n)
    # Some tracks at a time, so that the blocks between expression and identity never leave the cache.
    together = max(1, AT_ONCE // size)
    for start in range(0, tracks, together):
        some = slice(start, min(start + together, tracks))
        part = slice(some.start * size, some.stop * size)
        half = torch.bmm(seen.expression_root[part], expression_against(seen.blocks.at(part), basis))
        camera_sides[part, :, :n] -= torch.bmm(half_camera[part], half)
        stacked = half.reshape(some.stop - some.start, -1, n)
        torch.bmm(stacked.mT, stacked, out=taken[some])
    return taken


def camera_system(
    camera: ScaledOrthographic, seen: KeyFrames
) -> tuple[Float[Tensor, "frames 6 6"], Float[Tensor, "frames 6"]]:
    """The camera's block and gradient with EM's trace term, `1/2 s^2 tr(R_2 spread R_2^T)`."""
    hessian, gradient = seen.blocks.camera_camera.clone(), seen.blocks.camera_gradient.clone()
    turned = turned_spread(camera, seen.spread)
    trace = turned[:, 0, 0] + turned[:, 1, 1]
    diagonal = hessian.diagonal(dim1=-2, dim2=-1)
    diagonal += CAMERA_RIDGE
    diagonal[:, 0] += 2.0 * trace
    # By log scale and by the turns about x and y.
    gradient[:, 0] -= trace
    gradient[:, 1] += turned[:, 1, 2]
    gradient[:, 2] -= turned[:, 0, 2]
    return hessian, gradient


def _damped_identity(
    schur: Float64[Tensor, "tracks n n"], own: Float64[Tensor, "tracks n n"], damping: Float[Tensor, " tracks"]
) -> Float64[Tensor, "tracks n n"]:
    damped = schur.clone()
    diagonal = damped.diagonal(dim1=-2, dim2=-1)
    diagonal += damping[:, None].double() * (1.0 + own.diagonal(dim1=-2, dim2=-1))
    return damped


def _damped(hessian: Float[Tensor, "frames d d"], damping: Float[Tensor, " frames"]) -> Float[Tensor, "frames d d"]:
    damped = hessian.clone()
    diagonal = damped.diagonal(dim1=-2, dim2=-1)
    diagonal *= 1.0 + damping[:, None]
    return damped


def _unit(like: Float[Tensor, "batch n n"]) -> Float[Tensor, "n n"]:
    return torch.eye(like.shape[-1], dtype=like.dtype, device=like.device)
