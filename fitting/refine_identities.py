"""From the identities of the key frames to better ones: the second pass over many frames of each track.

How large the head is, is known by the size of its expressions beside the prior's, and that depends on the prior over
time, which is never quite right: where it is too smooth, expressions cost too much and heads shrink. So the size stays
what the key frames found, whose prior has no time in it, and the second pass moves the identity along all directions
that leave the mean landmarks as far apart as they are.

Landmarks err alike for a while, so many frames say no more together than key frames do: their weights add up to that.
One step about the identities of the key frames, under the widest robust weights, is enough to begin with: with a second
one, under those that stay, identities were nearer to the truth by 1.5%.

Errors that last through a track look like an expression that does, so the step is shortened to the share of the
errors' variance that changes from frame to frame.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from fitting.energy import ROBUST_SCALES, robust_scale
from fitting.find_identities import Identities, identity_observations, lenses
from fitting.first_look import first_cameras
from fitting.fit_setup import FitSetup
from fitting.frame_system import FrameProblem, FrameState
from fitting.landmark_basis import LandmarkBasis
from fitting.preparation import PreparedTrack
from fitting.ragged import TimeMajor, batches
from fitting.second_pass import IdentitySystem, identity_system
from fitting.sight import Sight
from fitting.smooth_prior import smooth_prior

FRAMES_PER_KEYFRAME = 2
"""Frames of a track that are looked at, evenly spaced, as a multiple of its key frames. More of them bring no more of
the identity where they count for no more together, and take longer."""
_FEWEST_FRAMES = 16
MOST_SMOOTH = 8.0
"""The largest smoothness that is learnt here. On seven real videos identities of halves of a video were nearest to each
other, beside those of other videos, at 6 to 8: errors of detectors are smooth too."""
FRAMES_PER_BATCH = 1 << 12
"""Tracks are worked through together until they have this many frames."""


def refine_identities(tracks: Sequence[PreparedTrack], first: Identities, setup: FitSetup) -> Identities:
    """The identities after the second pass; those of tracks where it cannot be made are as they were.

    What is left open about them stays what the key frames left open, which is rather more.
    """
    identity = first.identity.clone()
    chosen = [_frames(track) for track in tracks]
    for batch in batches(range(len(tracks)), lambda number: len(chosen[number]), frames=FRAMES_PER_BATCH):
        cut = [tracks[number].at(chosen[number]) for number in batch]
        share = [min(1.0, len(tracks[number].keyframes) / len(chosen[number])) for number in batch]
        found, sound = _refined(cut, share, first.at(batch), setup)
        for row, number in enumerate(batch):
            if bool(sound[row]):
                identity[number] = found[row]
    return replace(first, identity=identity)


def _frames(track: PreparedTrack) -> np.ndarray:
    usable = np.flatnonzero(track.usable)
    wanted = max(_FEWEST_FRAMES, FRAMES_PER_KEYFRAME * len(track.keyframes))
    return usable[:: max(1, round(len(usable) / wanted))]


def _refined(
    cut: Sequence[PreparedTrack], share: Sequence[float], first: Identities, setup: FitSetup
) -> tuple[Float[Tensor, "tracks n"], Bool[Tensor, " tracks"]]:
    options, basis = setup.options, setup.seen
    layout = TimeMajor([len(track.pts_s) for track in cut], device=options.device)
    landmarks = [track.landmarks() for track in cut]
    observed, unit = identity_observations(
        layout.pack([picture for picture, _ in landmarks]), layout.pack([weight for _, weight in landmarks]), setup
    )
    points = basis.identities(first.identity)
    camera, found = first_cameras(observed, points[layout.track], basis)
    shares = torch.tensor(share, dtype=torch.float32, device=options.device)
    observed = replace(observed, weight=observed.weight * (shares[layout.track] * found)[:, None])
    lens = lenses(cut, first, layout, unit) if options.camera == "perspective" else None
    sight = Sight(lens=lens, contour=setup.contour)
    spacing = torch.tensor(layout.pack([track.spacing_s for track in cut]), device=options.device)
    alone = torch.zeros(len(cut), dtype=torch.float64, device=options.device)
    problem = FrameProblem(
        observed=observed, identity_points=points, basis=basis, layout=layout, sight=sight,
        prior=smooth_prior(spacing, layout, alone), identity_spots=sight.spots(first.identity),
    )  # fmt: skip
    nothing = observed.points.new_zeros(len(observed.points), basis.expression.shape[-1])
    problem, state, sound = _stepped(problem, FrameState(expression=nothing, camera=camera), spacing, setup)
    system = identity_system(problem, state, robust_scale(len(ROBUST_SCALES), robust=options.robust))
    step = _step_of_same_size(system, first.identity, basis)
    # The unit is the root of the share of the variance that changes.
    moved = first.identity + (unit**2 * step).to(first.identity.dtype)
    return moved, sound & torch.isfinite(step).all(dim=-1)


def _stepped(
    problem: FrameProblem, state: FrameState, spacing_s: Float64[Tensor, " frames"], setup: FitSetup
) -> tuple[FrameProblem, FrameState, Bool[Tensor, " tracks"]]:
    """Expressions and cameras about the identities after one step, the smoothness learnt; and where it was downhill."""
    undamped = state.expression.new_zeros(len(problem.identity_points))
    scale = robust_scale(0, robust=setup.options.robust)
    system = problem.linearised(state, undamped, scale)
    problem, _ = problem.learnt(system, state, spacing_s, MOST_SMOOTH)
    trial = problem.stepped(state, system, undamped, scale, setup.options.box_sd)
    # The comparison is false for NaN.
    sound = problem.energy(trial, scale) <= problem.total(system.energy, state)
    return problem, trial.where(sound[problem.layout.track], state), sound


def _step_of_same_size(
    system: IdentitySystem, identity: Float[Tensor, "tracks n"], basis: LandmarkBasis
) -> Float64[Tensor, "tracks n"]:
    """The Gauss-Newton step that leaves the size of the head."""
    about = basis.mean - basis.mean.mean(dim=-1, keepdim=True)
    growth = (about[..., None] * basis.identity).sum(dim=(0, 1)).double()
    unit = torch.eye(len(growth), dtype=torch.float64, device=growth.device)
    factor = torch.linalg.cholesky_ex(system.information + unit).L
    sides = torch.stack([system.downhill - identity.double(), growth.expand_as(identity)], dim=-1)
    half = torch.linalg.solve_triangular(factor, sides, upper=False)
    free, along = torch.linalg.solve_triangular(factor.mT, half, upper=True).unbind(-1)
    excess = (free * growth).sum(-1) / (along * growth).sum(-1)
    step: Tensor = free - excess[:, None] * along
    return step
