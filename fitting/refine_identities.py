"""From the identities of the key frames to better ones: the second pass over many frames of each track.

How large the head is, is known by the size of its expressions beside the prior's, and that depends on the prior over
time, which is never quite right: where it is too smooth, expressions cost too much and heads shrink. So the size stays
what the key frames found, whose prior has no time in it, and the second pass moves the identity along all directions
that leave the mean landmarks as far apart as they are.

It begins where the first step of the frame stage has left expressions and cameras (see `begin_frames`), smoothed over
all frames of a track. Landmarks err alike for a while, so many frames say no more of the identity together than key
frames do: their weights add up to that.

Errors that last through a track look like an expression that does, so the step is shortened to the share of the
errors' variance that changes from frame to frame.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from fitting.begin_frames import BegunTrack
from fitting.find_identities import Identities, identity_observations, lenses
from fitting.fit_setup import FitSetup
from fitting.frame_stage import MOST_SMOOTH
from fitting.frame_state import packed_states
from fitting.frame_system import FrameProblem
from fitting.head_size import growth, step_with_share_of_size
from fitting.landmark_basis import LandmarkBasis
from fitting.preparation import PreparedTrack
from fitting.ragged import TimeMajor, batches
from fitting.robust_weights import ROBUST_SCALES, robust_scale
from fitting.second_pass import IdentitySystem, identity_system
from fitting.sight import Sight
from fitting.smooth_prior import smooth_prior

_AT_LEAST_ABOUT, _AT_MOST_ABOUT = 144, 288
"""Frames: every second one is looked at of a track as long as that, else every so many that they are about as many.
They err alike from one to the next, and beyond a few hundred identities came no nearer to the truth."""
FRAMES_PER_BATCH = 1 << 12
"""Tracks are worked through together until they have this many frames."""


def frames_to_look_at(track: PreparedTrack) -> Int64[np.ndarray, " chosen"]:
    """Frames of a track from which `refine_identities` finds its identity."""
    usable = np.flatnonzero(track.usable)
    wanted = min(max(len(usable) // 2, _AT_LEAST_ABOUT), _AT_MOST_ABOUT)
    return usable[:: max(1, round(len(usable) / wanted))]


def refine_identities(
    cut: Sequence[PreparedTrack], begun: Sequence[BegunTrack], first: Identities, setup: FitSetup
) -> Identities:
    """The identities after the second pass; those of tracks where it cannot be made are as they were.

    What is left open about them stays what the key frames left open, which is rather more.

    Args:
        cut: Each track at its `frames_to_look_at`.
        begun: Where those frames stand.
        first: The identities of the key frames.
        setup: The same for all tracks.
    """
    identity = first.identity.clone()
    for batch in batches(range(len(cut)), lambda number: len(cut[number].pts_s), frames=FRAMES_PER_BATCH):
        some = [begun[number] for number in batch]
        found = _refined([cut[number] for number in batch], some, first.at(batch), setup)
        for row, number in enumerate(batch):
            if bool(some[row].accepted.any()) and bool(torch.isfinite(found[row]).all()):
                identity[number] = found[row]
    return replace(first, identity=identity)


def _refined(
    cut: Sequence[PreparedTrack], begun: Sequence[BegunTrack], first: Identities, setup: FitSetup
) -> Float[Tensor, "tracks n"]:
    options, basis = setup.options, setup.seen
    layout = TimeMajor([len(track.pts_s) for track in cut], device=options.device)
    landmarks = [track.landmarks() for track in cut]
    observed, unit = identity_observations(
        layout.pack([picture for picture, _ in landmarks]), layout.pack([weight for _, weight in landmarks]), setup
    )
    state = packed_states([part.state for part in begun], layout).in_unit(unit)
    share = [min(1.0, len(track.keyframes) / len(track.pts_s)) for track in cut]
    shares = torch.tensor(share, dtype=torch.float32, device=options.device)[layout.track]
    found = layout.pack_tensors([part.found & part.accepted for part in begun])
    lens = lenses(cut, first, layout, unit) if options.camera == "perspective" else None
    sight = Sight(lens=lens, contour=setup.contour)
    spacing = torch.tensor(layout.pack([track.spacing_s for track in cut]), device=options.device)
    learnt = torch.stack([_mean_smoothness(part) for part in begun])
    problem = FrameProblem(
        observed=observed.times(shares * found),
        identity_points=basis.identities(first.identity),
        basis=basis,
        prior=smooth_prior(spacing, layout, learnt),
        layout=layout,
        sight=sight,
        identity_spots=sight.spots(first.identity),
    )
    system = identity_system(problem, state, robust_scale(len(ROBUST_SCALES), robust=options.robust))
    # The unit is the root of the share of the variance that changes.
    step = unit**2 * _step_of_same_size(system, first.identity, basis)
    return first.identity + step.to(first.identity.dtype)


def _mean_smoothness(begun: BegunTrack) -> Float64[Tensor, ""]:
    """Of the windows of a track, each of which has learnt its own: in octaves, by frames that said something."""
    usable = begun.found & begun.accepted
    own = begun.smoothness[usable] if bool(usable.any()) else begun.smoothness
    return own.clamp_max(MOST_SMOOTH).log2().mean().exp2()


def _step_of_same_size(
    system: IdentitySystem, identity: Float[Tensor, "tracks n"], basis: LandmarkBasis
) -> Float64[Tensor, "tracks n"]:
    """The Gauss-Newton step that leaves the size of the head."""
    grows = growth(basis)
    unit = torch.eye(len(grows), dtype=torch.float64, device=grows.device)
    return step_with_share_of_size(system.information + unit, system.downhill - identity.double(), grows, 0.0)
