"""From prepared tracks and their identities to every frame: the second stage, in batches of windows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32

from fitting.begin_frames import BegunTrack
from fitting.camera import ScaledOrthographic, joined_cameras
from fitting.find_identities import Identities
from fitting.fit_setup import FitSetup
from fitting.frame_stage import fit_frames
from fitting.frame_state import packed_states
from fitting.frame_windows import WindowBatch, window_batches
from fitting.preparation import PreparedTrack


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackFrames:
    """What the second stage found for one track, on the CPU.

    Attributes:
        valid: Whether there was a camera in any frame, all steps could be taken, and all numbers are finite.
        converged: Whether the steps became small before the iterations ran out, in all windows.
        iterations: Gauss-Newton iterations taken, of the window that took most.
        energy: Landmark term and prior, summed over frames.
        expression: Coefficients, standard deviations.
        expression_sigma: Posterior standard deviation of each.
        camera: In units of one landmark standard deviation, as `PreparedTrack.landmarks` are.
    """

    valid: bool
    converged: bool
    iterations: int
    energy: float
    expression: Float32[np.ndarray, "frames n_expression"]
    expression_sigma: Float32[np.ndarray, "frames n_expression"]
    camera: ScaledOrthographic


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fitted:
    """A window's own frames, and whether any of them has a camera."""

    found: bool
    frames: TrackFrames


def find_frames(
    tracks: Sequence[PreparedTrack], begun: Sequence[BegunTrack], first: Identities, setup: FitSetup
) -> list[TrackFrames]:
    """Run the second stage on tracks whose identities are found, from where `begin_frames` has left them."""
    fitted: list[list[_Fitted]] = [[] for _ in tracks]
    for batch in window_batches(tracks, first, setup):
        parts = [begun[window.track].at(window.sees) for window in batch.windows]
        for window, one in zip(batch.windows, _fit(batch, parts, setup), strict=True):
            fitted[window.track].append(one)
    return [_joined(parts) for parts in fitted]


def _fit(batch: WindowBatch, begun: Sequence[BegunTrack], setup: FitSetup) -> Iterator[_Fitted]:
    options, seen, layout = setup.options, setup.seen, batch.layout
    found = layout.pack_tensors([part.found for part in begun])
    # What a window learnt stands at its own frames; on either side it sees those of its neighbours.
    own = [window.keeps.start - window.sees.start for window in batch.windows]
    learnt = torch.stack([part.smoothness[first] for part, first in zip(begun, own, strict=True)])
    accepted = torch.stack([part.accepted[first] for part, first in zip(begun, own, strict=True)])
    most = options.expression_smoothness
    smoothness = learnt.clamp_max(most) if options.learn_smoothness else torch.full_like(learnt, most)
    state = packed_states([part.state for part in begun], layout)
    gap = torch.tensor([track.keyframe_gap for track in batch.tracks], dtype=torch.float64, device=options.device)
    fit = fit_frames(
        batch.problem(found, seen, smoothness), state, batch.spacing_s, accepted=accepted, smoothness=smoothness,
        uncertainty=batch.identities.uncertainty, lasting=setup.lasting, keyframe_gap=gap,
        iterations=options.frame_iterations, robust=options.robust, box=options.box_sd,
        on_iterations=lambda done: setup.on_steps(done * len(found)),
    )  # fmt: skip
    for number in range(len(begun)):
        rows = batch.own_rows(number)
        kept = fit.camera.at(rows)
        yield _Fitted(
            found=bool(found[rows].any()),
            frames=TrackFrames(
                valid=bool(fit.valid[number]),
                converged=bool(fit.converged[number]),
                iterations=int(fit.iterations[number]),
                energy=float(fit.energy[rows].sum()),
                expression=fit.expression[rows].cpu().numpy(),
                expression_sigma=fit.expression_sigma[rows].cpu().numpy(),
                camera=ScaledOrthographic(
                    scale=kept.scale.cpu(), quaternion=kept.quaternion.cpu(), translation=kept.translation.cpu()
                ),
            ),
        )


def _joined(parts: Sequence[_Fitted]) -> TrackFrames:
    frames = [part.frames for part in parts]
    return TrackFrames(
        valid=any(part.found for part in parts) and all(part.valid for part in frames),
        converged=all(part.converged for part in frames),
        iterations=max(part.iterations for part in frames),
        energy=sum(part.energy for part in frames),
        expression=np.concatenate([part.expression for part in frames]),
        expression_sigma=np.concatenate([part.expression_sigma for part in frames]),
        camera=joined_cameras([part.camera for part in frames]),
    )

