"""How the frame stage ends: the closing step, what it leaves over, and what is then left open about each frame."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from fitting.camera import turned_points
from fitting.closing_step import ChainSolved, Closing, closing_step
from fitting.energy import landmark_energy, residuals, whitened_squares
from fitting.frame_state import FrameState
from fitting.frame_system import FrameProblem, FrameSystem
from fitting.identity_uncertainty import IdentityUncertainty
from fitting.matern_prior import MaternPrior
from fitting.noise_memory import averaged_ratio, noise_memory, smoothed_variances
from fitting.robust_weights import robust_weight
from fitting.time_recursion import variances_over_time


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOver:
    """What a state leaves over.

    Attributes:
        residual: Observed minus fitted landmarks.
        weight: Confidence times robust weight times precision of each landmark.
        energy: Landmark term of each frame.
    """

    residual: Float[Tensor, "frames 2 points"]
    weight: Float[Tensor, "frames points"]
    energy: Float[Tensor, " frames"]


def closed_frames(
    problem: FrameProblem,
    state: FrameState,
    system: FrameSystem,
    information: Float[Tensor, "frames n n"],
    prior: MaternPrior,
) -> tuple[FrameState, Closing, Float64[Tensor, " tracks"]]:
    """The state after the step under a prior whose paths have a velocity, and what that prior gives for the step.

    Where the landmark term grows by more than that, the step was too long.

    Args:
        problem: The frames.
        state: Where the system was linearised, undamped.
        system: Solved by `FrameProblem.stepped`.
        information: Of the system before that.
        prior: The prior.
    """
    chain = ChainSolved(
        information=information,
        inverse_pivots=system.blocks,
        expression=state.expression + system.right[..., 0],
        prior=problem.prior,
    )
    closing = closing_step(chain, prior)
    step = closing.expression - state.expression
    given = problem.layout.sum_over_time((prior.pull(closing.expression) * step).sum(-1))
    return problem.moved(state, system, step), closing, given


def left_over(problem: FrameProblem, state: FrameState, scale: float) -> LeftOver:
    """What a state leaves over, with robust weights of a width."""
    left, weights, energies = [], [], []
    for part in problem.chunks():
        observed, head = problem.sighted(state, part)
        camera = state.camera.at(part)
        residual = residuals(observed, turned_points(camera, head), camera)
        robust = robust_weight(whitened_squares(observed, residual), scale)
        left.append(residual)
        weights.append(observed.weight * observed.precision * robust)
        energies.append(landmark_energy(observed, camera, head, scale))
    return LeftOver(
        residual=torch.cat(left),
        weight=torch.cat(weights),
        energy=torch.cat(energies),
    )


def frame_variances(
    problem: FrameProblem,
    system: FrameSystem,
    *,
    left: LeftOver,
    uncertainty: IdentityUncertainty,
    gap: Float64[Tensor, " tracks"],
    closing: Closing,
) -> Float[Tensor, "frames n"]:
    """Posterior variance of each expression coefficient.

    Args:
        problem: The frames.
        system: Linearised with directions; `FrameProblem.stepped` has solved it.
        left: What is left over where it all ended; it says how the noise remembers.
        uncertainty: What is left open about the identities.
        gap: Frames from one of the identity's key frames to the next.
        closing: The step that closed the fit.
    """
    given_identity = variances_over_time(system.blocks, problem.coupling, problem.layout) * closing.variance_ratio
    memory = noise_memory(left.residual, left.weight, problem.layout)
    lasting = 1.0 + uncertainty.noise_share * (averaged_ratio(memory, gap) - 1.0).to(given_identity.dtype)
    of_identity = (system.right[..., 1:] ** 2).sum(-1) + uncertainty.remainder[problem.layout.track]
    given_identity = smoothed_variances(given_identity, memory, closing.prior)
    return given_identity + of_identity * lasting[problem.layout.track][:, None]
