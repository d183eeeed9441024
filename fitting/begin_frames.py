"""The first iteration of the frame stage on tracks, whose identities may still move after it.

The second pass over the identities goes on from here, and then the frame stage does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from fitting.find_identities import Identities
from fitting.first_look import first_cameras
from fitting.fit_setup import FitSetup
from fitting.frame_stage import first_step
from fitting.frame_state import FrameState, joined_states
from fitting.frame_windows import window_batches
from fitting.preparation import PreparedTrack


@dataclass(frozen=True, slots=True, kw_only=True)
class BegunTrack:
    """Where the frames of one track stand.

    Attributes:
        state: Expressions and cameras, in units of one landmark standard deviation.
        found: Frames in which there is a camera.
        smoothness: How slowly expressions move in the window that keeps a frame, as in `FitOptions`; learnt, without a
            limit.
        accepted: Whether that window took its step.
    """

    state: FrameState
    found: Bool[Tensor, " frames"]
    smoothness: Float64[Tensor, " frames"]
    accepted: Bool[Tensor, " frames"]

    def at(self, frames: slice | Int64[np.ndarray, " chosen"]) -> "BegunTrack":
        """The same at some frames."""
        rows = frames if isinstance(frames, slice) else torch.as_tensor(frames, device=self.found.device)
        return BegunTrack(
            state=self.state.at(rows),
            found=self.found[rows],
            smoothness=self.smoothness[rows],
            accepted=self.accepted[rows],
        )


def begin_frames(tracks: Sequence[PreparedTrack], first: Identities, setup: FitSetup) -> list[BegunTrack]:
    """Take the first step of tracks whose identities were found in the first stage."""
    options, basis = setup.options, setup.seen
    begun: list[list[BegunTrack]] = [[] for _ in tracks]
    for batch in window_batches(tracks, first, setup):
        camera, found = first_cameras(batch.observed, batch.identity_points[batch.layout.track], basis)
        nothing = batch.observed.points.new_zeros(len(found), basis.expression.shape[-1])
        alone = torch.zeros(len(batch.windows), dtype=torch.float64, device=options.device)
        step = first_step(
            batch.problem(found, basis, alone), FrameState(expression=nothing, camera=camera), batch.spacing_s,
            robust=options.robust, box=options.box_sd,
        )  # fmt: skip
        setup.on_steps(len(found))
        for number, window in enumerate(batch.windows):
            rows = batch.own_rows(number)
            begun[window.track].append(
                BegunTrack(
                    state=step.state.at(rows),
                    found=found[rows],
                    smoothness=step.smoothness[number].expand(len(rows)),
                    accepted=step.accepted[number].expand(len(rows)),
                )
            )
    return [_joined(parts) for parts in begun]


def _joined(parts: Sequence[BegunTrack]) -> BegunTrack:
    return BegunTrack(
        state=joined_states([part.state for part in parts]),
        found=torch.cat([part.found for part in parts]),
        smoothness=torch.cat([part.smoothness for part in parts]),
        accepted=torch.cat([part.accepted for part in parts]),
    )
