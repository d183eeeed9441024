"""Second stage: expression and camera of every frame, the identity held.

Expressions are coupled over time by the prior of `smooth_prior`. Each iteration eliminates the cameras frame by
frame, solves the expressions of all frames by one recursion over time, and lets each track accept or reject its
step. The last one goes on to the solution under the prior of `matern_prior` (see `closing_step`), which a track takes
if its landmarks cost no more for it than the prior gives, and if it lies in the box. It also yields the posterior
variances: what is left open given the identity (see `noise_memory`), plus how far the identity's own uncertainty and
errors that last move each frame's expression.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from fitting.box_constraint import outside
from fitting.camera import ScaledOrthographic
from fitting.energy import ROBUST_SCALES, Observations, robust_scale
from fitting.frame_system import Directions, FrameProblem, FrameState
from fitting.identity_stage import DAMPING_LEAST, DAMPING_START
from fitting.identity_uncertainty import IdentityUncertainty
from fitting.landmark_basis import LandmarkBasis
from fitting.matern_prior import matern_prior
from fitting.ragged import TimeMajor
from fitting.sight import PLAIN, Sight
from fitting.smooth_prior import smooth_prior

CONVERGED_STEP = 0.1
"""A track has converged when no expression coefficient moves by more than this, in standard deviations: 0.03 takes an
iteration more of three or four, and changes errors against the truth in the fourth digit."""


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
        smoothness: How slowly each track's expressions move, as in `FitOptions`.
    """

    expression: Float[Tensor, "frames n_expression"]
    expression_sigma: Float[Tensor, "frames n_expression"]
    camera: ScaledOrthographic
    converged: Bool[Tensor, " tracks"]
    valid: Bool[Tensor, " tracks"]
    iterations: Int64[Tensor, " tracks"]
    energy: Float64[Tensor, " frames"]
    smoothness: Float64[Tensor, " tracks"]


def fit_frames(
    observed: Observations,
    camera: ScaledOrthographic,
    identity_points: Float[Tensor, "tracks 3 points"],
    basis: LandmarkBasis,
    *,
    uncertainty: IdentityUncertainty,
    lasting: Float[Tensor, " points"],
    keyframe_gap: Float64[Tensor, " tracks"],
    spacing_s: Float64[Tensor, " frames"],
    layout: TimeMajor,
    smoothness: float,
    learn_smoothness: bool,
    iterations: int,
    robust: bool,
    box: float | None,
    sight: Sight = PLAIN,
    identity_spots: Float[Tensor, "tracks 3 spots"] | None = None,
) -> FramesFit:
    """Find expression and camera of every frame of every track.

    Args:
        observed: Landmarks of all frames, in the layout's order, as all arguments per frame are.
        camera: Where the cameras start.
        identity_points: Landmarks of each track's identity with the mean expression, head frame, mm.
        basis: The face model at the observed landmarks.
        uncertainty: What is left open about the identities.
        lasting: Standard deviation of the error that each landmark keeps through a track, in the unit of `observed`.
        keyframe_gap: Frames from one of the identity's key frames to the next.
        spacing_s: Time since the frame before.
        layout: Order of the frame axis.
        smoothness: How slowly expressions move, as in `FitOptions`; at most, where it is learnt.
        learn_smoothness: Whether it is learnt, track by track.
        iterations: Largest number of Gauss-Newton iterations.
        robust: Whether to use robust weights.
        box: Largest absolute value of an expression coefficient.
        sight: Lens of each frame and sliding contour, if any.
        identity_spots: What `Sight.spots` says of each track's identity.
    """
    tracks, like = len(identity_points), observed.points
    chosen = torch.full((tracks,), 0.0 if learn_smoothness else smoothness, dtype=torch.float64, device=like.device)
    problem = FrameProblem(
        observed=observed, identity_points=identity_points, basis=basis, layout=layout, sight=sight,
        prior=smooth_prior(spacing_s, layout, chosen),
        identity_spots=identity_spots,
    )  # fmt: skip
    directions = Directions.of(uncertainty, basis, lasting)
    state = FrameState(expression=like.new_zeros(len(like), basis.expression.shape[-1]), camera=camera)
    damping = like.new_full((tracks,), DAMPING_START)
    running = torch.ones(tracks, dtype=torch.bool, device=like.device)
    converged, stepped = torch.zeros_like(running), torch.zeros_like(running)
    taken = torch.zeros(tracks, dtype=torch.int64, device=like.device)
    for iteration in range(iterations):
        # All tracks take part in the last, undamped: it yields the variances. Only steps that help are taken.
        last = iteration + 1 == iterations or not bool(running.any())
        scale = robust_scale(iteration, robust=robust)
        mu = torch.zeros_like(damping) if last else damping
        system = problem.linearised(state, mu, scale, directions if last else None)
        if iteration == 0 and learn_smoothness:
            # Until then frames stand alone.
            problem, chosen = problem.learnt(system, state, spacing_s, smoothness)
        if last:
            information = problem.information(system)
        trial = problem.stepped(state, system, mu, scale, box)
        before, after = problem.total(system.energy, state), problem.energy(trial, scale)
        # The comparison is false for NaN, so a step that failed is never taken.
        accepted = running & (after <= before + 1e-6 * before.abs())
        small = accepted & (layout.max_over_time((trial.expression - state.expression).abs().amax(-1)) < CONVERGED_STEP)
        begun, state = state, trial.where(accepted[layout.track], state)
        damping = torch.where(accepted, (0.3 * damping).clamp_min(DAMPING_LEAST), 10.0 * damping)
        taken += running
        stepped |= accepted
        converged |= small & (iteration + 1 >= (len(ROBUST_SCALES) if robust else 1))
        running &= ~converged
        if last:
            break
    ending, closing, gain = problem.closed(begun, system, information, matern_prior(spacing_s, layout, chosen))
    cost = layout.sum_over_time((problem.landmark_energy(ending, scale) - system.energy).double())
    closed = cost <= gain + 1e-6 * before.abs()
    if box is not None:
        closed &= layout.max_over_time(outside(ending.expression, box).any(dim=-1).float()) == 0
    # Elsewhere the chain's solution stays.
    of_frame = closed[layout.track]
    closing = closing.where(of_frame)
    state = ending.where(of_frame, state)
    stepped |= closed
    left = problem.left_over(state, robust_scale(len(ROBUST_SCALES), robust=robust))
    variances = problem.variances(system, left, uncertainty, keyframe_gap, closing)
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
        smoothness=chosen,
    )
