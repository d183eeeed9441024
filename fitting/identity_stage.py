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
from fitting.energy import Observations, landmark_energy
from fitting.head_size import share_of_size
from fitting.identity_precision import Precision
from fitting.identity_state import IdentityState, linearise, turned_spread
from fitting.identity_system import gauss_newton
from fitting.identity_uncertainty import IdentityUncertainty, identity_uncertainty
from fitting.landmark_basis import LandmarkBasis
from fitting.robust_weights import ROBUST_SCALES, robust_scale
from fitting.sight import PLAIN, Sight

DAMPING_START = 1e-4
DAMPING_LEAST = 1e-7
CONVERGED_STEP = 0.1
"""A track has converged when no identity coefficient moves by more than this, in standard deviations: with 0.03, which
takes an iteration more of six, identities are nearer to the truth by 0.01% and heads by 0.1% of their size."""


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
    lasting: Float[Tensor, " points"],
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
        lasting: Standard deviation of the error that each landmark keeps through a track, in the unit of `observed`.
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
        share = share_of_size(iteration, of=iterations)
        trial, elimination = gauss_newton(state, seen, basis, damping, share_of_size=share)
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
        converged |= small & (iteration + 1 >= (len(ROBUST_SCALES) if robust else 2))
        stopping = running & (converged | (iteration + 1 == iterations))
        running &= ~stopping
        if bool(stopping.any()):
            # A track that has stopped keeps what it had then, whatever its company still does.
            known = elimination.precision(basis)
            precision = known if precision is None else known.where(stopping, precision)
        if not bool(running.any()):
            break
    if precision is None:
        raise ValueError(f"iterations={iterations}: at least one is needed")
    return IdentityFit(
        identity=state.identity,
        uncertainty=identity_uncertainty(precision, lasting),
        converged=converged,
        iterations=taken,
        energy=energy,
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
