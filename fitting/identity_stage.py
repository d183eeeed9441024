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
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from fitting.camera import ScaledOrthographic
from fitting.energy import ROBUST_SCALES, Observations, landmark_energy, robust_scale
from fitting.identity_system import IdentityState, Precision, gauss_newton, linearise, turned_spread
from fitting.landmark_basis import LandmarkBasis
from fitting.sight import PLAIN, Sight

DAMPING_START = 1e-4
DAMPING_LEAST = 1e-7
CONVERGED_STEP = 0.03
"""A track has converged when no identity coefficient moves by more than this, in standard deviations."""
UNCERTAIN_DIRECTIONS = 4
"""Directions of the identity's covariance that each frame's expression is asked about. With 4 of 28, and the mean frame
for the rest, posterior standard deviations are within 5% of those with all."""
_LASTING_PRIOR = 0.05
"""What an expression that lasts costs per frame beside one that comes and goes: `(1 - rho) / (1 + rho)` for the
correlation of neighbouring frames at a smoothness of 4 to 16 is 0.07 to 0.02."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityUncertainty:
    """The part of the identity's posterior covariance that expressions feel.

    Attributes:
        directions: U, where `U U^T` is that part of the covariance which moves expressions most.
        remainder: Variance of the expression of a mean frame by the rest of the covariance.
    """

    directions: Float[Tensor, "tracks n_identity directions"]
    remainder: Float[Tensor, "tracks n_expression"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityFit:
    """What the first stage found.

    Attributes:
        identity: Coefficients, standard deviations.
        uncertainty: What is left open about it.
        converged: Whether the steps became small before the iterations ran out.
        iterations: Gauss-Newton iterations that each track took part in.
        energy: Of the last accepted step, EM's bound: minus the log probability up to a constant.
    """

    identity: Float[Tensor, "tracks n_identity"]
    uncertainty: IdentityUncertainty
    converged: Bool[Tensor, " tracks"]
    iterations: Int64[Tensor, " tracks"]
    energy: Float64[Tensor, " tracks"]


def fit_identities(
    observed: Observations,
    camera: ScaledOrthographic,
    basis: LandmarkBasis,
    *,
    tracks: int,
    iterations: int,
    robust: bool,
    sight: Sight = PLAIN,
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
        sight: Lens and sliding contour, if any.
    """
    like = observed.points
    state = IdentityState(
        identity=like.new_zeros(tracks, basis.identity.shape[-1]),
        expression=like.new_zeros(len(like), basis.expression.shape[-1]),
        camera=camera,
    )
    damping = like.new_full((tracks,), DAMPING_START)
    running = torch.ones(tracks, dtype=torch.bool, device=like.device)
    converged = torch.zeros_like(running)
    taken = torch.zeros(tracks, dtype=torch.int64, device=like.device)
    energy = like.new_full((tracks,), float("inf"), dtype=torch.float64)
    precision: Precision | None = None
    for iteration in range(iterations):
        scale = robust_scale(iteration, robust=robust)
        seen = linearise(observed, state, basis, scale, sight)
        trial, elimination = gauss_newton(state, seen, basis, damping)
        before = _energy(seen.blocks.energy, state, seen.spread)
        plain, head = trial.sighted(observed, basis, sight)
        after = _energy(landmark_energy(plain, trial.camera, head, scale), trial, seen.spread)
        # The comparison is false for NaN, so a step that failed is never taken.
        accepted = running & (after <= before + 1e-6 * before.abs())
        energy = torch.where(running, torch.where(accepted, after, before), energy)
        small = accepted & ((trial.identity - state.identity).abs().amax(dim=-1) < CONVERGED_STEP)
        state = trial.where(accepted, state)
        damping = torch.where(accepted, (0.3 * damping).clamp_min(DAMPING_LEAST), 10.0 * damping)
        taken += running
        converged |= small & (iteration + 1 >= (len(ROBUST_SCALES) if robust else 1))
        stopping = running & (converged | (iteration + 1 == iterations))
        running &= ~stopping
        if bool(stopping.any()):
            # A track that has stopped keeps what it had then, whatever its company still does.
            known = elimination.precision()
            precision = known if precision is None else known.where(stopping, precision)
        if not bool(running.any()):
            break
    if precision is None:
        raise ValueError(f"iterations={iterations}: at least one is needed")
    uncertainty = _uncertainty(precision, like.dtype)
    return IdentityFit(
        identity=state.identity, uncertainty=uncertainty, converged=converged, iterations=taken, energy=energy
    )


def _uncertainty(precision: Precision, dtype: torch.dtype) -> IdentityUncertainty:
    """The directions in which an uncertain identity moves expressions most, as long as it is uncertain along them.

    Of the covariance `(L L^T)^(-1)`, an error moves the expression of a mean frame by `A L^(-T) n` with `n` white
    noise; U is `L^(-T)` times the leading right singular vectors of `A L^(-T)`.
    """
    factor = torch.linalg.cholesky_ex(precision.identity).L
    unit = torch.eye(precision.expression.shape[-1], dtype=factor.dtype, device=factor.device)
    expression = torch.linalg.cholesky_ex(precision.expression + _LASTING_PRIOR * unit).L
    moved = torch.cholesky_solve(precision.coupling, expression)
    half = torch.linalg.solve_triangular(factor, moved.mT, upper=False)
    gram = torch.bmm(half.mT, half)
    # Where a track's numbers broke down, no step of it was accepted, and it comes out as diverged or not moved at all.
    values, vectors = torch.linalg.eigh(torch.where(torch.isfinite(gram), gram, torch.zeros_like(gram)))
    kept = slice(-min(UNCERTAIN_DIRECTIONS, gram.shape[-1]), None)
    directions = torch.bmm(half, vectors[..., kept] / values[:, kept].clamp_min(1e-12).sqrt()[:, None])
    directions = torch.linalg.solve_triangular(factor.mT, directions, upper=True)
    leading = vectors[..., kept] ** 2 * values[:, None, kept]
    remainder = (gram.diagonal(dim1=-2, dim2=-1) - leading.sum(-1)).clamp_min(0)
    return IdentityUncertainty(
        directions=directions.to(dtype).nan_to_num(0.0, 0.0, 0.0),
        remainder=remainder.to(dtype).nan_to_num(0.0, 0.0, 0.0),
    )


def _energy(
    landmarks: Float[Tensor, " frames"], state: IdentityState, spread: Float[Tensor, "frames 3 3"]
) -> Float[Tensor, " tracks"]:
    # EM's bound: the expression's covariance stays as it was before the step.
    turned = turned_spread(state.camera, spread)
    trace = 0.5 * (turned[:, 0, 0] + turned[:, 1, 1])
    prior = 0.5 * (state.expression * state.expression).sum(-1)
    frames = (landmarks + trace + prior).double().reshape(len(state.identity), -1).sum(-1)
    identity = state.identity.double()
    return frames + 0.5 * (identity * identity).sum(-1)
