"""Tracks cut into windows that the frame stage works on together, in batches of bounded size.

A long track is cut into windows that overlap; each is fitted by itself, and what lies in the overlap is taken from the
window whose end is farther away. The influence of a frame on another fades within a second or two, and memory does not
grow with the length of a track beyond what comes in and goes out. How a track is cut depends on its length alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from fitting.energy import Observations
from fitting.find_identities import Identities, lenses, observations
from fitting.fit_setup import FitSetup
from fitting.frame_system import FrameProblem
from fitting.landmark_basis import LandmarkBasis
from fitting.preparation import PreparedTrack
from fitting.ragged import TimeMajor, batches
from fitting.sight import Sight
from fitting.smooth_prior import smooth_prior

WINDOW_FRAMES = 1024
"""A window's own frames."""
OVERLAP_FRAMES = 64
"""Frames that a window sees beyond its own, on either side: at 30 frames per second, two seconds."""
FRAMES_PER_BATCH = 1 << 14
"""Windows are fitted together until they have this many frames: what the fit needs of memory, 18 kB for each."""
LONG_TRACK_FRAMES = 1 << 15
"""Half as many are fitted together where a track is longer than this: its landmarks need memory too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Frames of one track that are fitted together: those it `sees`, of which it `keeps` its own."""

    track: int
    sees: slice
    keeps: slice


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowBatch:
    """Windows that are fitted together.

    Attributes:
        windows: In their order.
        tracks: What each of them sees.
        identities: Of their tracks.
        layout: Order of the frame axis of what follows.
        observed: Landmarks of all frames.
        identity_points: Landmarks of each window's identity with the mean expression, head frame, mm.
        sight: Lens of each frame and sliding contour, if any.
        spacing_s: Time since the frame before.
    """

    windows: list[Window]
    tracks: list[PreparedTrack]
    identities: Identities
    layout: TimeMajor
    observed: Observations
    identity_points: Float[Tensor, "tracks 3 points"]
    sight: Sight
    spacing_s: Float64[Tensor, " frames"]

    def problem(
        self, found: Bool[Tensor, " frames"], basis: LandmarkBasis, smoothness: Float64[Tensor, " tracks"]
    ) -> FrameProblem:
        """The frames in which a camera was found, under a prior of this smoothness."""
        return FrameProblem(
            observed=self.observed.times(found),
            identity_points=self.identity_points,
            basis=basis,
            prior=smooth_prior(self.spacing_s, self.layout, smoothness),
            layout=self.layout,
            sight=self.sight,
            identity_spots=self.sight.spots(self.identities.identity),
        )

    def own_rows(self, number: int) -> Int64[Tensor, " own"]:
        """Where a window's own frames lie on the frame axis, in order of time."""
        window = self.windows[number]
        own = slice(window.keeps.start - window.sees.start, window.keeps.stop - window.sees.start)
        return torch.as_tensor(self.layout.positions(number)[own], device=self.spacing_s.device)


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


def window_batches(tracks: Sequence[PreparedTrack], first: Identities, setup: FitSetup) -> Iterator[WindowBatch]:
    """All windows of tracks whose identities are known, batch by batch."""
    device = setup.options.device
    lengths = [len(track.pts_s) for track in tracks]
    frames = FRAMES_PER_BATCH // 2 if max(lengths, default=0) > LONG_TRACK_FRAMES else FRAMES_PER_BATCH
    for batch in batches(windows(lengths), lambda window: window.sees.stop - window.sees.start, frames=frames):
        cut = [tracks[window.track].at(window.sees) for window in batch]
        identities = first.at([window.track for window in batch])
        layout = TimeMajor([len(track.pts_s) for track in cut], device=device)
        lens = lenses(cut, identities, layout) if setup.options.camera == "perspective" else None
        yield WindowBatch(
            windows=batch,
            tracks=cut,
            identities=identities,
            layout=layout,
            observed=_observed(cut, layout, setup),
            identity_points=setup.seen.identities(identities.identity),
            sight=Sight(lens=lens, contour=setup.contour),
            spacing_s=torch.tensor(layout.pack([track.spacing_s for track in cut]), device=device),
        )


def _observed(cut: Sequence[PreparedTrack], layout: TimeMajor, setup: FitSetup) -> Observations:
    landmarks = [track.landmarks() for track in cut]
    pictures, weights = (layout.pack([one[which] for one in landmarks])[:, setup.points] for which in (0, 1))
    return observations(pictures, weights, setup.seen.noise_ratio)
