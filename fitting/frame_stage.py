"""Second stage: expression and camera of every frame, the identity held.

Expressions are coupled over time by the prior of `smooth_prior`. Each iteration eliminates the cameras frame by
frame, solves the expressions of all frames by one recursion over time, and lets each track accept or reject its
step. The last one goes on to the solution under the prior of `matern_prior` (see `closing_step`), which a track takes
if its landmarks cost no more for it than the prior gives, and if it lies in the box. It also yields the posterior
variances: what is left open given the identity (see `noise_memory`), plus how far the identity's own uncertainty and
errors that last move each frame's expression.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from fitting.box_constraint import outside
from fitting.camera import ScaledOrthographic
from fitting.directions import Directions
from fitting.frame_ending import closed_frames, frame_variances, left_over
from fitting.frame_state import FrameState
from fitting.frame_system import FrameProblem
from fitting.identity_stage import DAMPING_LEAST, DAMPING_START
from fitting.identity_uncertainty import IdentityUncertainty
from fitting.matern_prior import matern_prior
from fitting.robust_weights import ROBUST_SCALES, robust_scale

CONVERGED_STEP = 0.1
"""A track has converged when no expression coefficient moves by more than this, in standard deviations: 0.03 takes an
iteration more of three or four, and changes errors against the truth in the fourth digit."""


MOST_SMOOTH = 8.0
"""The largest smoothness under which the first step and the identity's second pass are made, whatever a user allows in
the end. On seven real videos identities of halves of a video were nearest to each other, beside those of other videos,
at 6 to 8: errors of detectors are smooth too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FramesFit:
    """What the second stage found; the frame axis is in the layout's order.

    Attributes:
        expression: Coefficients, standard deviations.
        expression_sigma: Posterior standard deviation of each, all frames and the uncertainty of the identity
            considered.
        camera: One camera per frame.
        converged: Whether the steps became small before the iterations ran out.
        valid: Whether any step could be taken, and all is finite.
        iterations: Gauss-Newton iterations that each track took part in.
        energy: Landmark term and prior of each frame: that of `matern_prior` where the track took the last step, else
            that of `smooth_prior`, which has another constant.
    """

    expression: Float[Tensor, "frames n_expression"]
    expression_sigma: Float[Tensor, "frames n_expression"]
    camera: ScaledOrthographic
    converged: Bool[Tensor, " tracks"]
    valid: Bool[Tensor, " tracks"]
    iterations: Int64[Tensor, " tracks"]
    energy: Float64[Tensor, " frames"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstStep:
    """Where frames stand after the first iteration.

    Attributes:
        state: Expressions and cameras.
        smoothness: How slowly each track's expressions move, as in `FitOptions`: learnt, without a limit.
        accepted: Whether the step was taken.
    """

    state: FrameState
    smoothness: Float64[Tensor, " tracks"]
    accepted: Bool[Tensor, " tracks"]


def first_step(
    problem: FrameProblem, state: FrameState, spacing_s: Float64[Tensor, " frames"], *, robust: bool, box: float | None
) -> FirstStep:
    """Take the first Gauss-Newton step, with a smoothness that is learnt on the way, `MOST_SMOOTH` at most.

    Args:
        problem: Frames of all tracks. Under a prior of smoothness 0 they stand alone until theirs is learnt.
        state: Where they start.
        spacing_s: Time since the frame before.
        robust: Whether to use robust weights.
        box: Largest absolute value of an expression coefficient.
    """
    damping = problem.observed.points.new_full((len(problem.identity_points),), DAMPING_START)
    scale = robust_scale(0, robust=robust)
    system = problem.linearised(state, damping, scale)
    problem, smoothness = problem.learnt(system, state, spacing_s, MOST_SMOOTH)
    trial = problem.stepped(state, system, damping, scale, box)
    before, after = problem.total(system.energy, state), problem.energy(trial, scale)
    accepted = _helps(before, after)
    return FirstStep(
        state=trial.where(accepted[problem.layout.track], state), smoothness=smoothness, accepted=accepted
    )


def fit_frames(
    problem: FrameProblem,
    state: FrameState,
    spacing_s: Float64[Tensor, " frames"],
    *,
    accepted: Bool[Tensor, " tracks"],
    smoothness: Float64[Tensor, " tracks"],
    uncertainty: IdentityUncertainty,
    lasting: Float[Tensor, " points"],
    keyframe_gap: Float64[Tensor, " tracks"],
    iterations: int,
    robust: bool,
    box: float | None,
    on_iterations: Callable[[int], None],
) -> FramesFit:
    """Find expression and camera of every frame of every track.

    Args:
        problem: Frames of all tracks, under a prior of `smoothness`.
        state: Where they stand after the first iteration, the identities perhaps a little different then.
        spacing_s: Time since the frame before.
        accepted: Whether that one's step was taken.
        smoothness: How slowly expressions move, as in `FitOptions`.
        uncertainty: What is left open about the identities.
        lasting: Standard deviation of the error that each landmark keeps through a track, in the unit of what was
            observed.
        keyframe_gap: Frames from one of the identity's key frames to the next.
        iterations: Largest number of Gauss-Newton iterations, the first one counted; 2 at least.
        robust: Whether to use robust weights.
        box: Largest absolute value of an expression coefficient.
        on_iterations: Called with 1 after each iteration, and after the last with those that were not needed besides;
            the one before is not counted.
    """
    layout = problem.layout
    directions = Directions.of(uncertainty, problem.basis, lasting)
    damping = _next_damping(torch.full_like(smoothness, DAMPING_START).to(state.expression.dtype), accepted)
    running, stepped = torch.ones_like(accepted), accepted
    converged = torch.zeros_like(running)
    taken = torch.ones_like(running, dtype=torch.int64)
    for iteration in range(1, iterations):
        # All tracks take part in the last, undamped: it yields the variances. Only steps that help are taken.
        last = iteration + 1 == iterations or not bool(running.any())
        scale = robust_scale(iteration, robust=robust)
        mu = torch.zeros_like(damping) if last else damping
        system = problem.linearised(state, mu, scale, directions if last else None)
        if last:
            information = problem.information(system)
        trial = problem.stepped(state, system, mu, scale, box)
        before, after = problem.total(system.energy, state), problem.energy(trial, scale)
        accepted = running & _helps(before, after)
        small = accepted & (layout.max_over_time((trial.expression - state.expression).abs().amax(-1)) < CONVERGED_STEP)
        origin, state = state, trial.where(accepted[layout.track], state)
        damping = _next_damping(damping, accepted)
        taken += running
        stepped = stepped | accepted
        converged |= small & (iteration + 1 >= (len(ROBUST_SCALES) if robust else 1))
        running &= ~converged
        on_iterations(iterations - iteration if last else 1)
        if last:
            break
    ending, closing, gain = closed_frames(
        problem, origin, system, information, matern_prior(spacing_s, layout, smoothness)
    )
    cost = layout.sum_over_time((problem.landmark_energy(ending, scale) - system.energy).double())
    closed = cost <= gain + 1e-6 * before.abs()
    if box is not None:
        closed &= layout.max_over_time(outside(ending.expression, box).any(dim=-1).float()) == 0
    # Elsewhere the chain's solution stays.
    of_frame = closed[layout.track]
    closing = closing.where(of_frame)
    state = ending.where(of_frame, state)
    stepped = stepped | closed
    left = left_over(problem, state, robust_scale(len(ROBUST_SCALES), robust=robust))
    variances = frame_variances(
        problem, system, left=left, uncertainty=uncertainty, gap=keyframe_gap, closing=closing
    )
    finite = torch.isfinite(variances).all(dim=-1) & torch.isfinite(state.expression).all(dim=-1)
    broken = layout.max_over_time((~finite).float()) > 0
    smooth, chain = closing.prior.energy(state.expression), problem.prior.energy(state.expression)
    return FramesFit(
        expression=state.expression,
        expression_sigma=variances.clamp_min(0).sqrt().to(state.expression.dtype),
        camera=state.camera,
        converged=converged,
        valid=stepped & ~broken,
        iterations=taken,
        energy=left.energy.double() + torch.where(of_frame, smooth, chain),
    )


def _helps(before: Float64[Tensor, " tracks"], after: Float64[Tensor, " tracks"]) -> Bool[Tensor, " tracks"]:
    # The comparison is false for NaN, so a step that failed is never taken.
    return after <= before + 1e-6 * before.abs()


def _next_damping(damping: Float[Tensor, " tracks"], accepted: Bool[Tensor, " tracks"]) -> Float[Tensor, " tracks"]:
    return torch.where(accepted, (0.3 * damping).clamp_min(DAMPING_LEAST), 10.0 * damping)
