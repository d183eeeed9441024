"""First stage: one identity per track, from its key frames.

The textbook fit of one identity, F expressions and F cameras shrinks the head, and more with every frame: the scale
of the camera multiplies the expression basis, so a small head seen closer makes every expression cheaper, and F
expression priors outvote one identity prior (Neyman and Scott 1948). The expression has to be integrated out, not
optimised. That is EM (as for non-rigid structure from motion in Torresani, Hertzmann and Bregler, PAMI 2008): the
covariance of each frame's expression, given camera and identity, adds `1/2 tr(Cov J^T J)` to the energy, which
depends on scale and rotation, and pulls the scale back.

Each iteration is one Gauss-Newton step on that energy for everything at once: frames are eliminated first (Schur
complement over the identity), so the only large system per track is the identity's own. Tracks accept or reject
their steps, and stop, one by one.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from fitting.camera import PARAMETERS, ScaledOrthographic
from fitting.energy import (
    ROBUST_SCALES,
    FrameBlocks,
    Observations,
    frame_blocks,
    landmark_energy,
    model_jacobian,
    robust_scale,
)
from fitting.landmark_basis import LandmarkBasis

DAMPING_START = 1e-4
DAMPING_LEAST = 1e-7
CONVERGED_STEP = 0.03
"""A track has converged when no identity coefficient moves by more than this, in standard deviations."""
_CAMERA_RIDGE = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityFit:
    """What the first stage found.

    Attributes:
        identity: Coefficients, standard deviations.
        converged: Whether the steps became small before the iterations ran out.
        iterations: Gauss-Newton iterations that each track took part in.
    """

    identity: Float[Tensor, "tracks n_identity"]
    converged: Bool[Tensor, " tracks"]
    iterations: Int64[Tensor, " tracks"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    identity: Float[Tensor, "tracks n_identity"]
    expression: Float[Tensor, "frames n_expression"]
    camera: ScaledOrthographic


def fit_identities(
    observed: Observations,
    camera: ScaledOrthographic,
    basis: LandmarkBasis,
    *,
    tracks: int,
    iterations: int,
    robust: bool,
) -> IdentityFit:
    """Find the identity of each track from its key frames.

    Args:
        observed: Key frames of all tracks, each track with the same number, one track after the other; frames that
            only fill up have weight 0 everywhere.
        camera: Where the cameras start.
        basis: The face model at the observed landmarks.
        tracks: Number of tracks.
        iterations: Largest number of Gauss-Newton iterations.
        robust: Whether to use robust weights.
    """
    device = observed.points.device
    state = _State(
        identity=torch.zeros(tracks, basis.identity.shape[-1], device=device),
        expression=torch.zeros(len(observed.points), basis.expression.shape[-1], device=device),
        camera=camera,
    )
    damping = torch.full((tracks,), DAMPING_START, device=device)
    running = torch.ones(tracks, dtype=torch.bool, device=device)
    converged = torch.zeros_like(running)
    taken = torch.zeros(tracks, dtype=torch.int64, device=device)
    for iteration in range(iterations):
        scale = robust_scale(iteration, robust=robust)
        blocks = frame_blocks(observed, state.camera, _head(state, basis), basis, scale)
        spread = expression_spread(blocks, basis)
        trial, step = _trial(state, blocks, spread, basis, damping)
        before = _energy(observed, state, spread, basis, scale)
        after = _energy(observed, trial, spread, basis, scale)
        # The comparison is false for NaN, so a step that failed is never taken.
        accepted = running & (after <= before + 1e-6 * before.abs())
        state = _chosen(trial, state, accepted)
        damping = torch.where(accepted, (0.3 * damping).clamp_min(DAMPING_LEAST), 10.0 * damping)
        taken += running
        small = accepted & (step.abs().amax(dim=-1) < CONVERGED_STEP)
        converged |= small & (iteration + 1 >= (len(ROBUST_SCALES) if robust else 1))
        running &= ~converged
        if not bool(running.any()):
            break
    return IdentityFit(identity=state.identity, converged=converged, iterations=taken)


def expression_spread(blocks: FrameBlocks, basis: LandmarkBasis) -> Float[Tensor, "frames 3 3"]:
    """`sum_l w_l E_l Cov(e) E_l^T` per frame: where the unknown expression scatters the landmarks, head frame, mm^2.

    Cov is the expression's covariance given camera and identity, under a unit Gaussian prior.
    """
    hessian = blocks.expression_expression + _unit(blocks.expression_expression)
    covariance = torch.cholesky_inverse(torch.linalg.cholesky_ex(hessian).L)
    frames = len(hessian)
    flat = basis.expression.flatten(0, 1).expand(frames, -1, -1)
    moved = torch.bmm(flat, covariance).reshape(frames, *basis.expression.shape)
    moved = (moved * blocks.weight[:, None, :, None]).flatten(2)
    return torch.bmm(moved, basis.expression.flatten(1).mT.expand(frames, -1, -1))


def _trial(
    state: _State,
    blocks: FrameBlocks,
    spread: Float[Tensor, "frames 3 3"],
    basis: LandmarkBasis,
    damping: Float[Tensor, " tracks"],
) -> tuple[_State, Float[Tensor, "tracks n_identity"]]:
    tracks = len(damping)
    hessian, gradient = _frame_system(state, blocks, spread)
    root = blocks.weight.sqrt()[:, None, :, None]
    identity_jacobian = model_jacobian(blocks.scaled_rotation, basis.identity).mul_(root).flatten(1, 2)
    narrow = torch.cat([blocks.weighted_camera, blocks.weighted_expression, blocks.weighted_residual], dim=-1)
    coupling = torch.bmm(narrow.mT, identity_jacobian)
    per_frame = damping.repeat_interleave(len(hessian) // tracks)
    factor = torch.linalg.cholesky_ex(_damped(hessian, per_frame)).L
    # One triangular solve for the coupling and the gradient together.
    right = torch.cat([coupling[:, :-1], gradient[..., None]], dim=-1)
    solved = torch.linalg.solve_triangular(factor, right, upper=False)
    stacked = solved.reshape(tracks, -1, solved.shape[-1])
    eliminated = torch.bmm(stacked.mT, stacked)
    frames_gradient = coupling[:, -1].reshape(tracks, -1, coupling.shape[-1]).mT.contiguous().sum(-1)
    step = _identity_step(
        _identity_hessian(blocks, basis, tracks), eliminated, frames_gradient - state.identity, damping
    )
    frame_step = step.repeat_interleave(len(hessian) // tracks, dim=0)
    known = torch.cat([-frame_step, torch.ones_like(frame_step[:, :1])], dim=-1)
    # Two columns, because a batched product with one takes another path where the batch is 1.
    remaining = torch.bmm(solved, torch.stack([known, torch.zeros_like(known)], dim=-1))
    step_frames = torch.linalg.solve_triangular(factor.mT, remaining, upper=True)[..., 0]
    moved = _State(
        identity=state.identity + step,
        expression=state.expression + step_frames[:, PARAMETERS:],
        camera=state.camera.updated(step_frames[:, :PARAMETERS]),
    )
    return moved, step


def _frame_system(
    state: _State, blocks: FrameBlocks, spread: Float[Tensor, "frames 3 3"]
) -> tuple[Float[Tensor, "frames d d"], Float[Tensor, "frames d"]]:
    upper = torch.cat([blocks.camera_camera, blocks.camera_expression], dim=-1)
    lower = torch.cat([blocks.camera_expression.mT, blocks.expression_expression], dim=-1)
    hessian = torch.cat([upper, lower], dim=1)
    gradient = torch.cat([blocks.camera_gradient, blocks.expression_gradient - state.expression], dim=-1)
    diagonal = hessian.diagonal(dim1=-2, dim2=-1)
    diagonal[:, :PARAMETERS] += _CAMERA_RIDGE
    diagonal[:, PARAMETERS:] += 1.0
    # The trace term of EM: 1/2 s^2 tr(R_2 spread R_2^T), by log scale and by the turns about x and y.
    turned = _turned_spread(state.camera, spread)
    trace = turned[:, 0, 0] + turned[:, 1, 1]
    gradient[:, 0] -= trace
    diagonal[:, 0] += 2.0 * trace
    gradient[:, 1] += turned[:, 1, 2]
    gradient[:, 2] -= turned[:, 0, 2]
    return hessian, gradient


def _identity_hessian(blocks: FrameBlocks, basis: LandmarkBasis, tracks: int) -> Float[Tensor, "tracks n n"]:
    # Frames enter only through one 3x3 matrix per landmark, so the cost does not grow with frames times identities.
    square = torch.bmm(blocks.scaled_rotation.mT, blocks.scaled_rotation).reshape(tracks, -1, 9)
    points = blocks.weight.shape[-1]
    weight = blocks.weight.reshape(tracks, -1, points)
    per_landmark = torch.bmm(weight.mT, square).reshape(-1, 3, 3)
    by_landmark = basis.identity.permute(1, 0, 2)
    moved = torch.bmm(per_landmark, by_landmark.repeat(tracks, 1, 1)).reshape(tracks, 3 * points, -1)
    flat = by_landmark.flatten(0, 1)
    return torch.bmm(flat.mT.expand(tracks, -1, -1), moved)


def _identity_step(
    hessian: Float[Tensor, "tracks n n"],
    eliminated: Float[Tensor, "tracks m m"],
    gradient: Float[Tensor, "tracks n"],
    damping: Float[Tensor, " tracks"],
) -> Float[Tensor, "tracks n"]:
    # The last row of `eliminated` belongs to the gradient. Float64: this difference is where digits are lost.
    schur = hessian.double() - eliminated[:, :-1, :-1].double() + _unit(hessian).double()
    schur = 0.5 * (schur + schur.mT)
    right = gradient.double() - eliminated[:, :-1, -1].double()
    diagonal = schur.diagonal(dim1=-2, dim2=-1)
    diagonal += damping[:, None].double() * (1.0 + hessian.diagonal(dim1=-2, dim2=-1).double())
    factor = torch.linalg.cholesky_ex(schur).L
    wide = torch.stack([right, torch.zeros_like(right)], dim=-1)
    half = torch.linalg.solve_triangular(factor, wide, upper=False)
    step: Tensor = torch.linalg.solve_triangular(factor.mT, half, upper=True)[..., 0]
    return step.to(hessian.dtype)


def _energy(
    observed: Observations,
    state: _State,
    spread: Float[Tensor, "frames 3 3"],
    basis: LandmarkBasis,
    scale: float,
) -> Float[Tensor, " tracks"]:
    # EM's bound: the expression's covariance stays as it was before the step.
    turned = _turned_spread(state.camera, spread)
    trace = 0.5 * (turned[:, 0, 0] + turned[:, 1, 1])
    landmarks = landmark_energy(observed, state.camera, _head(state, basis), scale)
    prior = 0.5 * (state.expression * state.expression).sum(-1)
    frames = (landmarks + trace + prior).double().reshape(len(state.identity), -1).sum(-1)
    identity = state.identity.double()
    return frames + 0.5 * (identity * identity).sum(-1)


def _turned_spread(camera: ScaledOrthographic, spread: Float[Tensor, "frames 3 3"]) -> Float[Tensor, "frames 3 3"]:
    turn = camera.scale[:, None, None] * camera.rotation()
    return torch.bmm(torch.bmm(turn, spread), turn.mT)


def _head(state: _State, basis: LandmarkBasis) -> Float[Tensor, "frames 3 points"]:
    frames = len(state.expression) // len(state.identity)
    return basis.identities(state.identity).repeat_interleave(frames, dim=0) + basis.expressions(state.expression)


def _damped(hessian: Float[Tensor, "frames d d"], damping: Float[Tensor, " frames"]) -> Float[Tensor, "frames d d"]:
    damped = hessian.clone()
    diagonal = damped.diagonal(dim1=-2, dim2=-1)
    diagonal *= 1.0 + damping[:, None]
    return damped


def _chosen(trial: _State, state: _State, accepted: Bool[Tensor, " tracks"]) -> _State:
    per_frame = accepted.repeat_interleave(len(state.expression) // len(accepted))
    return _State(
        identity=torch.where(accepted[:, None], trial.identity, state.identity),
        expression=torch.where(per_frame[:, None], trial.expression, state.expression),
        camera=trial.camera.where(per_frame, state.camera),
    )


def _unit(like: Float[Tensor, "batch n n"]) -> Float[Tensor, "n n"]:
    return torch.eye(like.shape[-1], dtype=like.dtype, device=like.device)
