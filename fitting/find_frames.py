"""From prepared tracks and their identities to every frame: the second stage, in batches of bounded size.

A long track is cut into windows that overlap; each is fitted by itself, and what lies in the overlap is taken from the
window whose end is farther away. The influence of a frame on another fades within a second or two, and memory does not
grow with the length of a track beyond what comes in and goes out. How a track is cut depends on its length alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float32

from fitting.camera import ScaledOrthographic
from fitting.energy import Observations
from fitting.find_identities import Identities, lenses, observations
from fitting.first_look import first_cameras
from fitting.fit_setup import FitSetup
from fitting.frame_stage import fit_frames
from fitting.preparation import PreparedTrack
from fitting.ragged import TimeMajor, batches
from fitting.sight import Sight

WINDOW_FRAMES = 2048
"""A window's own frames."""
OVERLAP_FRAMES = 64
"""Frames that a window sees beyond its own, on either side: at 30 frames per second, two seconds."""
FRAMES_PER_BATCH = 1 << 14
"""Windows are fitted together until they have this many frames: what the fit needs of memory, 18 kB for each."""


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
class Window:
    """Frames of one track that are fitted together: those it `sees`, of which it `keeps` its own."""

    track: int
    sees: slice
    keeps: slice


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fitted:
    """A window's own frames, and whether any of them has a camera."""

    found: bool
    frames: TrackFrames


def windows(lengths: Sequence[int]) -> list[Window]:
    """Cut tracks of these lengths into windows, in order of time."""
    cut = []
    for track, length in enumerate(lengths):
        # The last window takes what is left, up to half of another.
        count = max(1, round(length / WINDOW_FRAMES))
        for number in range(count):
            start = number * WINDOW_FRAMES
            stop = length if number + 1 == count else start + WINDOW_FRAMES
            sees = slice(max(0, start - OVERLAP_FRAMES), min(length, stop + OVERLAP_FRAMES))
            cut.append(Window(track=track, sees=sees, keeps=slice(start, stop)))
    return cut


def find_frames(tracks: Sequence[PreparedTrack], first: Identities, setup: FitSetup) -> list[TrackFrames]:
    """Run the second stage on tracks whose identities were found in the first."""
    fitted: list[list[_Fitted]] = [[] for _ in tracks]
    lengths = [len(track.pts_s) for track in tracks]
    cuts = windows(lengths)
    for batch in batches(cuts, lambda window: window.sees.stop - window.sees.start, frames=FRAMES_PER_BATCH):
        cut = [tracks[window.track].at(window.sees) for window in batch]
        identities = first.at([window.track for window in batch])
        layout = TimeMajor([len(track.pts_s) for track in cut], device=setup.options.device)
        for window, one in zip(batch, _fit(cut, batch, identities, layout, setup), strict=True):
            fitted[window.track].append(one)
    return [_joined(parts) for parts in fitted]


def _fit(
    cut: Sequence[PreparedTrack], batch: Sequence[Window], first: Identities, layout: TimeMajor, setup: FitSetup
) -> Iterator[_Fitted]:
    options, seen = setup.options, setup.seen
    observed = _observed(cut, layout, setup)
    identity_points = seen.identities(first.identity)
    camera, found = first_cameras(observed, identity_points[layout.track], seen)
    observed = replace(observed, weight=observed.weight * found[:, None])
    sight = Sight(lens=lenses(cut, first, layout) if options.camera == "perspective" else None, contour=setup.contour)
    spacing = torch.tensor(layout.pack([track.spacing_s for track in cut]), device=options.device)
    gap = torch.tensor([track.keyframe_gap for track in cut], dtype=torch.float64, device=options.device)
    fit = fit_frames(
        observed, camera, identity_points, seen,
        uncertainty=first.uncertainty, lasting=setup.lasting, keyframe_gap=gap, spacing_s=spacing, layout=layout,
        smoothness=options.expression_smoothness, learn_smoothness=options.learn_smoothness,
        iterations=options.frame_iterations, robust=options.robust, box=options.box_sd, sight=sight,
        identity_spots=sight.spots(first.identity),
    )  # fmt: skip
    for number, window in enumerate(batch):
        own = slice(window.keeps.start - window.sees.start, window.keeps.stop - window.sees.start)
        rows = torch.as_tensor(layout.positions(number)[own], device=options.device)
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


def _observed(cut: Sequence[PreparedTrack], layout: TimeMajor, setup: FitSetup) -> Observations:
    landmarks = [track.landmarks() for track in cut]
    pictures, weights = (layout.pack([one[which] for one in landmarks])[:, setup.points] for which in (0, 1))
    return observations(pictures, weights, setup.seen.noise_ratio)


def _joined(parts: Sequence[_Fitted]) -> TrackFrames:
    frames = [part.frames for part in parts]
    cameras = [part.camera for part in frames]
    return TrackFrames(
        valid=any(part.found for part in parts) and all(part.valid for part in frames),
        converged=all(part.converged for part in frames),
        iterations=max(part.iterations for part in frames),
        energy=sum(part.energy for part in frames),
        expression=np.concatenate([part.expression for part in frames]),
        expression_sigma=np.concatenate([part.expression_sigma for part in frames]),
        camera=ScaledOrthographic(
            scale=torch.cat([camera.scale for camera in cameras]),
            quaternion=torch.cat([camera.quaternion for camera in cameras]),
            translation=torch.cat([camera.translation for camera in cameras]),
        ),
    )

