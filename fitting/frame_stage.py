"""Second stage: expression and camera of every frame, the identity held.

Expressions are coupled over time by an Ornstein-Uhlenbeck prior, whose marginal in every frame is the model's own
unit Gaussian: `e_t = rho_t e_(t-1) + sqrt(1 - rho_t^2) n_t` with `rho_t = exp(-dt / tau)`. Adding a squared first
difference to a unit prior per frame, as is common, instead shrinks the amplitude with the strength of the
smoothing. Irregular times come for free.

Each iteration eliminates the cameras frame by frame, solves the expressions of all frames by one recursion over
time, and lets each track accept or reject its step. Frames are worked through in chunks, so memory beyond the state
is one small matrix per frame.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from fitting.camera import ScaledOrthographic
from fitting.energy import ROBUST_SCALES, Observations, frame_blocks, landmark_energy, robust_scale
from fitting.identity_stage import DAMPING_LEAST, DAMPING_START
from fitting.landmark_basis import LandmarkBasis
from fitting.ragged import TimeMajor
from fitting.time_recursion import solve_over_time, variances_over_time

FRAME_CHUNK_ENTRIES = 1 << 21
"""Largest number of Jacobian entries held at once."""
CONVERGED_STEP = 0.03
"""A track has converged when no expression coefficient moves by more than this, in standard deviations."""
_CAMERA_RIDGE = 1e-6
_REFERENCE_STEP_S = 1 / 30
_SHORTEST_STEP_S = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class FramesFit:
    """What the second stage found; the frame axis is in the layout's order.

    Attributes:
        expression: Coefficients, standard deviations.
        expression_sigma: Posterior standard deviation of each, all frames considered, given the identity.
        camera: One camera per frame.
        converged: Whether the steps became small before the iterations ran out.
        valid: Whether any step could be taken, and all is finite.
        iterations: Gauss-Newton iterations that each track took part in.
    """

    expression: Float[Tensor, "frames n_expression"]
    expression_sigma: Float[Tensor, "frames n_expression"]
    camera: ScaledOrthographic
    converged: Bool[Tensor, " tracks"]
    valid: Bool[Tensor, " tracks"]
    iterations: Int64[Tensor, " tracks"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SmoothPrior:
    """The Markov prior as a tridiagonal matrix: `precision` on the diagonal, `-coupling` beside it.

    Attributes:
        keep: rho_t, the share of the last frame's expression that remains; 0 at a track's first frame.
        stiffness: 1 / (1 - rho_t^2).
        precision: Diagonal.
        coupling: Between each frame and the one before it.
    """

    keep: Float64[Tensor, " frames"]
    stiffness: Float64[Tensor, " frames"]
    precision: Float64[Tensor, " frames"]
    coupling: Float64[Tensor, " frames"]


def smooth_prior(
    spacing_s: Float64[Tensor, " frames"], layout: TimeMajor, *, expression_smoothness: float
) -> SmoothPrior:
    """The prior for frames that come `spacing_s` after the one before them (first frames: any number).

    `1 / expression_smoothness` is the mean squared change over 1/30 s, which for unit variance is `2 (1 - rho)`.
    """
    first = layout.previous < 0
    keep_30 = max(0.0, 1.0 - 0.5 / expression_smoothness) if expression_smoothness > 0 else 0.0
    if keep_30 > 0:
        rate = -math.log(keep_30) / _REFERENCE_STEP_S
        keep = torch.exp(-rate * spacing_s.clamp_min(_SHORTEST_STEP_S))
    else:
        keep = torch.zeros_like(spacing_s)
    keep = torch.where(first, torch.zeros_like(keep), keep)
    stiffness = 1.0 / (1.0 - keep * keep)
    precision = stiffness.clone()
    later = torch.nonzero(~first)[:, 0]
    # Each frame has at most one successor, so no two of these additions meet.
    precision[layout.previous[later]] += (stiffness * keep * keep)[later]
    return SmoothPrior(keep=keep, stiffness=stiffness, precision=precision, coupling=stiffness * keep)


def fit_frames(
    observed: Observations,
    camera: ScaledOrthographic,
    identity_points: Float[Tensor, "tracks 3 points"],
    basis: LandmarkBasis,
    *,
    prior: SmoothPrior,
    layout: TimeMajor,
    iterations: int,
    robust: bool,
) -> FramesFit:
    """Find expression and camera of every frame of every track.

    Args:
        observed: Landmarks of all frames, in the layout's order, as all arguments per frame are.
        camera: Where the cameras start.
        identity_points: Landmarks of each track's identity with the mean expression, head frame, mm.
        basis: The face model at the observed landmarks.
        prior: Smoothness over time.
        layout: Order of the frame axis.
        iterations: Largest number of Gauss-Newton iterations.
        robust: Whether to use robust weights.
    """
    tracks, device = len(identity_points), observed.points.device
    expression = torch.zeros(len(observed.points), basis.expression.shape[-1], device=device)
    damping = torch.full((tracks,), DAMPING_START, device=device)
    running = torch.ones(tracks, dtype=torch.bool, device=device)
    converged, stepped = torch.zeros_like(running), torch.zeros_like(running)
    taken = torch.zeros(tracks, dtype=torch.int64, device=device)
    work = _FrameWork(observed=observed, identity_points=identity_points, basis=basis, prior=prior, layout=layout)
    for iteration in range(iterations):
        scale = robust_scale(iteration, robust=robust)
        # The pivots, by far the largest, are let go before the next step makes its own.
        step, camera_step = work.step(expression, camera, damping, scale)[:2]
        trial, trial_camera = expression + step, camera.updated(camera_step)
        before = work.energy(expression, camera, scale)
        after = work.energy(trial, trial_camera, scale)
        # The comparison is false for NaN, so a step that failed is never taken.
        accepted = running & (after <= before + 1e-6 * before.abs())
        per_frame = accepted[layout.track]
        expression = torch.where(per_frame[:, None], trial, expression)
        camera = trial_camera.where(per_frame, camera)
        damping = torch.where(accepted, (0.3 * damping).clamp_min(DAMPING_LEAST), 10.0 * damping)
        taken += running
        stepped |= accepted
        small = accepted & (layout.max_over_time(step.abs().amax(dim=-1)) < CONVERGED_STEP)
        converged |= small & (iteration + 1 >= (len(ROBUST_SCALES) if robust else 1))
        running &= ~converged
        if not bool(running.any()):
            break
    _, _, pivots = work.step(expression, camera, torch.zeros_like(damping), robust_scale(iterations, robust=robust))
    variances = variances_over_time(pivots, prior.coupling, layout)
    finite = torch.isfinite(variances).all(dim=-1) & torch.isfinite(expression).all(dim=-1)
    broken = layout.max_over_time((~finite).float()) > 0
    return FramesFit(
        expression=expression,
        expression_sigma=variances.clamp_min(0).sqrt().to(expression.dtype),
        camera=camera,
        converged=converged,
        valid=stepped & ~broken,
        iterations=taken,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _FrameWork:
    """What stays the same over the iterations, and the two things done in each."""

    observed: Observations
    identity_points: Float[Tensor, "tracks 3 points"]
    basis: LandmarkBasis
    prior: SmoothPrior
    layout: TimeMajor

    def step(
        self,
        expression: Float[Tensor, "frames n_expression"],
        camera: ScaledOrthographic,
        damping: Float[Tensor, " tracks"],
        scale: float,
    ) -> tuple[
        Float[Tensor, "frames n_expression"],
        Float[Tensor, "frames 6"],
        Float64[Tensor, "frames n_expression n_expression"],
    ]:
        """Gauss-Newton step of expressions and cameras, and the inverse pivots of the recursion over time."""
        frames, size = expression.shape
        wide = {"dtype": torch.float64, "device": expression.device}
        blocks = torch.empty(frames, size, size, **wide)  # type: ignore[call-overload]
        right = torch.empty(frames, size, **wide)  # type: ignore[call-overload]
        factors = torch.empty(frames, 6, 6, device=expression.device)
        eliminated = torch.empty(frames, 6, size + 1, device=expression.device)
        pull = self._prior_pull(expression)
        for part in self._chunks():
            local = frame_blocks(
                self.observed.at(part), camera.at(part), self._head(expression, part), self.basis, scale
            )
            mu = damping[self.layout.track[part]][:, None]
            camera_block = local.camera_camera.clone()
            diagonal = camera_block.diagonal(dim1=-2, dim2=-1)
            diagonal *= 1.0 + mu
            diagonal += _CAMERA_RIDGE
            factors[part] = torch.linalg.cholesky_ex(camera_block).L
            sides = torch.cat([local.camera_expression, local.camera_gradient[..., None]], dim=-1)
            half = torch.linalg.solve_triangular(factors[part], sides, upper=False)
            eliminated[part] = half
            schur = torch.bmm(half.mT, half).double()
            block = local.expression_expression.double() - schur[:, :size, :size]
            block = 0.5 * (block + block.mT)
            diagonal = block.diagonal(dim1=-2, dim2=-1)
            diagonal += self.prior.precision[part][:, None]
            diagonal += mu * local.expression_expression.diagonal(dim1=-2, dim2=-1)
            blocks[part] = block
            right[part] = local.expression_gradient.double() - schur[:, :size, size] + pull[part]
        step = solve_over_time(blocks, right, self.prior.coupling, self.layout).to(expression.dtype)
        known = torch.cat([-step, torch.ones_like(step[:, :1])], dim=-1)
        remaining = torch.bmm(eliminated, torch.stack([known, torch.zeros_like(known)], dim=-1))
        camera_step = torch.linalg.solve_triangular(factors.mT, remaining, upper=True)[..., 0]
        return step, camera_step, blocks

    def energy(
        self, expression: Float[Tensor, "frames n_expression"], camera: ScaledOrthographic, scale: float
    ) -> Float64[Tensor, " tracks"]:
        """Landmark term and prior of each track."""
        landmarks = torch.cat(
            [
                landmark_energy(self.observed.at(part), camera.at(part), self._head(expression, part), scale)
                for part in self._chunks()
            ]
        )
        change = self._innovation(expression)
        smooth = 0.5 * self.prior.stiffness * (change * change).sum(-1)
        return self.layout.sum_over_time(landmarks.double() + smooth)

    def _innovation(self, expression: Float[Tensor, "frames n"]) -> Float64[Tensor, "frames n"]:
        wide = expression.double()
        return wide - self.prior.keep[:, None] * wide[self.layout.previous_or_self]

    def _prior_pull(self, expression: Float[Tensor, "frames n"]) -> Float64[Tensor, "frames n"]:
        change = self.prior.stiffness[:, None] * self._innovation(expression)
        pull = -change
        later = torch.nonzero(self.layout.previous >= 0)[:, 0]
        pull[self.layout.previous[later]] += (self.prior.keep[:, None] * change)[later]
        return pull

    def _head(self, expression: Float[Tensor, "frames n"], part: slice) -> Float[Tensor, "chunk 3 points"]:
        return self.identity_points[self.layout.track[part]] + self.basis.expressions(expression[part])

    def _chunks(self) -> list[slice]:
        frames, points = self.observed.weight.shape
        size = max(32, FRAME_CHUNK_ENTRIES // (2 * points * self.basis.expression.shape[-1]))
        return [slice(start, min(start + size, frames)) for start in range(0, frames, size)]
