"""What all frames of a track, together with their order in time, say of its identity.

The identity stage takes key frames for independent of each other. Here expressions are coupled over time by the prior
of `smooth_prior`: cameras are eliminated frame by frame, expressions by one recursion over time with the identity's
columns on the right-hand side, and what is left is the identity's own system. A lasting expression and an identity
that explain the same landmarks are then told apart by as much as the expression moves.

The scale of the cameras again needs the covariance of what is integrated out (see `identity_stage`), now of expressions
and cameras together, smoothed over time. With `J~ = J_e - J_c H_cc^(-1) H_ce`, the expression's Jacobian beside the
camera, and V_t the covariance of frame t, it adds `tr(V_t J~_t^T W_t dJ_e)` to the gradient by the camera.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from fitting.camera import PARAMETERS, ScaledOrthographic
from fitting.energy import FrameBlocks
from fitting.frame_state import FrameState
from fitting.frame_system import FrameProblem
from fitting.identity_blocks import CAMERA_RIDGE, expression_against, identity_hessian, weighted_square
from fitting.inverse_root import inverse_root
from fitting.landmark_basis import LandmarkBasis
from fitting.shared_product import times_column, times_shared, two_columns
from fitting.time_recursion import covariances_over_time, invert_pivot, solve_with_pivots

_FRAMES_AT_ONCE = 512
"""Frames whose blocks against the identity are there at once."""


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

    With `C_t` the block between expression and identity of frame t and `A_t`, `K_t` as in `time_recursion`, going
    forward `Y_t = C_t + K_t A_(t-1)^(-1) Y_(t-1)` gives `C^T M^(-1) C = sum_t Y_t^T A_t^(-1) Y_t`, M the expressions'
    system over time, so that no frame's C_t has to be kept. For the gradient g, `C^T M^(-1) g` needs none.

    Args:
        problem: Frames of all tracks, with their identities and prior.
        state: Expressions and cameras there.
        scale: Width of the robust weights.
    """
    layout, basis, like = problem.layout, problem.basis, state.expression
    frames, size = like.shape
    tracks, n = len(problem.identity_points), basis.identity.shape[-1]
    cameras = _Cameras(
        root=like.new_empty(frames, PARAMETERS, PARAMETERS),
        half=like.new_empty(frames, PARAMETERS, size + 1),
        by_identity=like.new_empty(frames, PARAMETERS, n),
    )
    blocks, pulled, downhill = like.new_empty(frames, size, size), torch.empty_like(like), like.new_empty(frames, n)
    squares = like.new_empty(frames, basis.mean.shape[-1], 9)
    forward = _Forward(blocks=blocks, coupling=problem.coupling, said=like.new_zeros(tracks, n, n))
    parts = []
    for steps in layout.runs(_FRAMES_AT_ONCE):
        part = slice(steps[0].start, steps[-1].stop)
        ((_, local),) = problem.local_blocks(state, scale, [part])
        downhill[part] = cameras.eliminate(part, local, basis)
        across = cameras.half[part, :, :size]
        torch.baddbmm(local.expression_expression, across.mT, across, alpha=-1, out=blocks[part])
        diagonal = blocks[part].diagonal(dim1=-2, dim2=-1)
        diagonal += problem.prior.precision[part, None].to(like.dtype)
        narrow = cameras.by_identity[part]
        forward.go(steps, expression_against(local, basis).baddbmm_(across.mT, narrow, alpha=-1), narrow)
        pulled[part] = local.expression_gradient
        square = torch.bmm(local.scaled_rotation.mT, local.scaled_rotation).flatten(1)
        torch.mul(local.weight[..., None], square[:, None], out=squares[part])
        parts.append((part, local))
    _feel_covariance(cameras, covariances_over_time(blocks, problem.coupling, layout), state, parts, basis)
    # What the camera's gradient leaves to the expression once the camera is eliminated.
    of_camera = cameras.half[..., size]
    pulled += problem.prior.pull(state.expression).to(like.dtype)
    right = two_columns(pulled) - torch.bmm(cameras.half[..., :size].mT, two_columns(of_camera))
    settled = solve_with_pivots(blocks, right, problem.coupling, layout)
    # What both do to the identity.
    remaining = two_columns(of_camera) - torch.bmm(cameras.half[..., :size], settled)
    downhill -= torch.bmm(cameras.by_identity.mT, remaining)[..., 0]
    forces = torch.cat([weighted_square(local, basis.expressions(settled[part, :, 0])) for part, local in parts])
    pull = times_shared(layout.sum_over_time(forces.flatten(1)).to(like.dtype), basis.identity.flatten(0, 1))
    own = identity_hessian(layout.sum_over_time(squares).to(like.dtype), basis).double()
    own -= layout.to_tracks(forward.said)
    return IdentitySystem(
        information=0.5 * (own + own.mT), downhill=layout.sum_over_time(downhill) - pull.double()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cameras:
    """The cameras' blocks of all frames, inverse roots of their own applied.

    Attributes:
        root: Those inverse roots.
        half: Against the expression, then the gradient.
        by_identity: Against the identity.
    """

    root: Float[Tensor, "frames 6 6"]
    half: Float[Tensor, "frames 6 n_expression_plus_1"]
    by_identity: Float[Tensor, "frames 6 n"]

    def eliminate(self, part: slice, local: FrameBlocks, basis: LandmarkBasis) -> Float[Tensor, "chunk n"]:
        """Fill in a part; returns the identity's own gradient."""
        block = local.camera_camera.clone()
        diagonal = block.diagonal(dim1=-2, dim2=-1)
        diagonal += CAMERA_RIDGE
        root = inverse_root(block)
        self.root[part] = root
        sides = torch.cat([local.camera_expression, local.camera_gradient[..., None]], dim=-1)
        torch.bmm(root, sides, out=self.half[part])
        narrow = local.camera_against(basis.identity_by_point)
        torch.bmm(root, narrow[:, :PARAMETERS], out=self.by_identity[part])
        return narrow[:, PARAMETERS]


@dataclass(slots=True, kw_only=True)
class _Forward:
    """The elimination of expressions, going forward in time.

    Attributes:
        blocks: Of all frames; become inverse pivots.
        coupling: Of all frames.
        said: What has been said of each identity, tracks in the order in which a step has them.
        passed: The last step that was taken.
        reached: `A_t^(-1) Y_t` of that step.
    """

    blocks: Float[Tensor, "frames n_expression n_expression"]
    coupling: Float[Tensor, "frames n_or_1"]
    said: Float[Tensor, "tracks n n"]
    passed: slice | None = None
    reached: Float[Tensor, "tracks n_expression n"] | None = None

    def go(
        self, steps: Sequence[slice], wide: Float[Tensor, "chunk n_expression n"], narrow: Float[Tensor, "chunk 6 n"]
    ) -> None:
        """Take these steps.

        Args:
            steps: One after the other.
            wide: Their blocks of expression against identity, overwritten.
            narrow: Of camera against identity.
        """
        for step in steps:
            pivot = invert_pivot(self.blocks, self.coupling, step, self.passed)
            here = slice(step.start - steps[0].start, step.stop - steps[0].start)
            rows = wide[here]
            if self.reached is not None:
                rows.addcmul_(self.coupling[step, :, None], self.reached[: len(rows)])
            reached = torch.bmm(pivot, rows)
            # Joined, as a product into a part of each matrix is made matrix by matrix.
            both, against = (torch.cat([each, narrow[here]], dim=1) for each in (rows, reached))
            self.said[: len(rows)].baddbmm_(both.mT, against)
            self.passed, self.reached = step, reached


def _feel_covariance(
    cameras: _Cameras,
    covariance: Float[Tensor, "frames n_expression n_expression"],
    state: FrameState,
    parts: Sequence[tuple[slice, FrameBlocks]],
    basis: LandmarkBasis,
) -> None:
    """Add to the cameras' gradients what the covariance of expression and camera pulls at them."""
    size = covariance.shape[-1]
    # What the camera takes of the expression: `H_cc^(-1) H_ce V`.
    taken = torch.bmm(torch.bmm(cameras.root.mT, cameras.half[..., :size]), covariance)
    for part, local in parts:
        spread = basis.squares.spread(local.weight, covariance[part])
        slope = _slope_of_covariance(state.camera.at(part), local, spread, taken[part])
        cameras.half[part, :, size] += times_column(cameras.root[part], slope)


def _slope_of_covariance(
    camera: ScaledOrthographic,
    local: FrameBlocks,
    spread: Float[Tensor, "frames 3 3"],
    taken: Float[Tensor, "frames 6 m"],
) -> Float[Tensor, "frames 6"]:
    """What the covariance of expression and camera adds to the camera's downhill gradient.

    Of `T_pi = sum_l w_l (J~ V)_pl . (s R E)_il`, p an axis of the picture and i one of the camera, log scale feels the
    trace, and the turns about x and y what lies in depth.
    """
    turn = camera.scale[:, None, None] * camera.rotation()
    plain = torch.bmm(turn[:, :2], spread)
    turned = torch.bmm(plain - local.camera_times(taken), turn.mT)
    slope = turn.new_zeros(len(taken), PARAMETERS)
    slope[:, 0] = -(turned[:, 0, 0] + turned[:, 1, 1])
    slope[:, 1] = turned[:, 1, 2]
    slope[:, 2] = -turned[:, 0, 2]
    return slope
