"""What all frames of a track, together with their order in time, say of its identity.

The identity stage takes key frames for independent of each other. Here expressions are coupled over time by the prior
of `smooth_prior`: cameras are eliminated frame by frame, expressions by one recursion over time with the identity's
columns on the right-hand side, and what is left is the identity's own system. A lasting expression and an identity
that explain the same landmarks are then told apart by as much as the expression moves.

The scale of the cameras again needs the covariance of what is integrated out (see `identity_stage`), now of expressions
and cameras together, smoothed over time. With `J~ = J_e - J_c H_cc^(-1) H_ce`, the expression's Jacobian beside the
camera, and V_t the covariance of frame t, it adds `tr(V_t J~_t^T W_t dJ_e)` to the gradient by the camera.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from fitting.camera import PARAMETERS, ScaledOrthographic
from fitting.energy import FrameBlocks
from fitting.frame_system import FrameProblem, FrameState
from fitting.identity_system import CAMERA_RIDGE, expression_against, identity_hessian, inverse_root
from fitting.landmark_basis import LandmarkBasis
from fitting.shared_product import times_shared
from fitting.time_recursion import covariances_over_time, solve_over_time


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentitySystem:
    """The identity's Gauss-Newton system of each track, expressions and cameras eliminated, without its own prior.

    Attributes:
        information: What the frames say together, an inverse covariance.
        downhill: Downhill gradient.
    """

    information: Float64[Tensor, "tracks n n"]
    downhill: Float64[Tensor, "tracks n"]


def identity_system(problem: FrameProblem, state: FrameState, scale: float) -> IdentitySystem:
    """The identity's system of each track.

    Args:
        problem: Frames of all tracks, with their identities and prior.
        state: Expressions and cameras there.
        scale: Width of the robust weights.
    """
    layout, basis, like = problem.layout, problem.basis, state.expression
    frames, size = like.shape
    n, points = basis.identity.shape[-1], basis.mean.shape[-1]
    # Sides of the camera's block, its inverse root applied: the expression, then its own gradient.
    half = like.new_empty(frames, PARAMETERS, size + 1)
    by_camera, root = like.new_empty(frames, PARAMETERS, n), like.new_empty(frames, PARAMETERS, PARAMETERS)
    blocks, coupling = like.new_empty(frames, size, size), like.new_empty(frames, size, n)
    pulled, downhill = like.new_empty(frames, size), like.new_empty(frames, n)
    squares = like.new_empty(frames, points, 9)
    local_blocks = list(problem.local_blocks(state, scale))
    for part, local in local_blocks:
        camera_block = local.camera_camera.clone()
        diagonal = camera_block.diagonal(dim1=-2, dim2=-1)
        diagonal += CAMERA_RIDGE
        root[part] = inverse_root(camera_block)
        narrow = local.camera_against(basis.identity_by_point)
        sides = torch.cat([local.camera_expression, local.camera_gradient[..., None]], dim=-1)
        half[part] = torch.bmm(root[part], sides)
        by_camera[part] = torch.bmm(root[part], narrow[:, :PARAMETERS])
        expression_half = half[part, :, :size].mT
        blocks[part] = local.expression_expression - torch.bmm(expression_half, half[part, :, :size])
        coupling[part] = expression_against(local, basis) - torch.bmm(expression_half, by_camera[part])
        pulled[part] = local.expression_gradient
        downhill[part] = narrow[:, PARAMETERS]
        square = torch.bmm(local.scaled_rotation.mT, local.scaled_rotation).flatten(1)
        squares[part] = local.weight[..., None] * square[:, None]
    diagonal = blocks.diagonal(dim1=-2, dim2=-1)
    diagonal += problem.prior.precision[:, None].to(like.dtype)
    reaction = solve_over_time(blocks, coupling.clone(), problem.coupling, layout)
    covariance = covariances_over_time(blocks, problem.coupling, layout)
    # What the camera takes of the expression: `H_cc^(-1) H_ce V`.
    taken = torch.bmm(torch.bmm(root.mT, half[..., :size]), covariance)
    for part, local in local_blocks:
        spread = basis.squares.spread(local.weight, covariance[part])
        slope = _slope_of_covariance(state.camera.at(part), local, spread, taken[part], basis)
        half[part, :, size] += torch.bmm(root[part], torch.stack([slope, torch.zeros_like(slope)], dim=-1))[..., 0]
    # What the camera's gradient leaves to expression and identity once the camera is eliminated.
    of_camera = torch.stack([half[..., size], torch.zeros_like(half[..., size])], dim=-1)
    pulled += problem.prior.pull(state.expression).to(like.dtype)
    pulled -= torch.bmm(half[..., :size].mT, of_camera)[..., 0]
    downhill -= torch.bmm(by_camera.mT, of_camera)[..., 0]
    own = identity_hessian(layout.sum_over_time(squares).to(like.dtype), basis).double()
    total = layout.sum_over_time(downhill)
    for track in range(len(own)):
        # One product per track, whose shape depends on this track alone.
        rows = torch.as_tensor(layout.positions(track), device=like.device)
        camera, said, moved = by_camera[rows].flatten(0, 1), coupling[rows].flatten(0, 1), reaction[rows].flatten(0, 1)
        own[track] -= (camera.mT @ camera).double() + (said.mT @ moved).double()
        total[track] -= (moved * pulled[rows].reshape(-1, 1)).double().sum(0)
    return IdentitySystem(information=0.5 * (own + own.mT), downhill=total)


def _slope_of_covariance(
    camera: ScaledOrthographic,
    local: FrameBlocks,
    spread: Float[Tensor, "frames 3 3"],
    taken: Float[Tensor, "frames 6 m"],
    basis: LandmarkBasis,
) -> Float[Tensor, "frames 6"]:
    """What the covariance of expression and camera adds to the camera's downhill gradient.

    Of `T_pi = sum_l w_l (J~ V)_pl . (s R E)_il`, p an axis of the picture and i one of the camera, log scale feels the
    trace, and the turns about x and y what lies in depth.
    """
    turn = camera.scale[:, None, None] * camera.rotation()
    displaced = times_shared(taken.flatten(0, 1), basis.expression.flatten(0, 1).mT)
    displaced = displaced.reshape(len(taken), PARAMETERS, 3, -1).transpose(1, 2).flatten(2)
    jacobian = local.weighted_camera().reshape(len(taken), PARAMETERS, 2, -1).transpose(1, 2).flatten(2)
    plain = torch.bmm(turn[:, :2], spread)
    turned = torch.bmm(plain - torch.bmm(jacobian, displaced.mT), turn.mT)
    slope = turn.new_zeros(len(taken), PARAMETERS)
    slope[:, 0] = -(turned[:, 0, 0] + turned[:, 1, 1])
    slope[:, 1] = turned[:, 1, 2]
    slope[:, 2] = -turned[:, 0, 2]
    return slope
