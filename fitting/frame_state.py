"""Expression and camera of frames, as the frame stage works on them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fitting.camera import ScaledOrthographic, joined_cameras
from fitting.ragged import TimeMajor


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameState:
    """Where the iteration stands; the frame axis is in the layout's order."""

    expression: Float[Tensor, "frames n_expression"]
    camera: ScaledOrthographic

    def at(self, index: Tensor | slice) -> "FrameState":
        """The state of some frames."""
        return FrameState(expression=self.expression[index], camera=self.camera.at(index))

    def in_unit(self, unit: float) -> "FrameState":
        """The same in a picture whose coordinates are `unit` times as large."""
        camera = replace(self.camera, scale=self.camera.scale * unit, translation=self.camera.translation * unit)
        return replace(self, camera=camera)

    def where(self, chosen: Bool[Tensor, " frames"], other: "FrameState") -> "FrameState":
        """This state in frames that are `chosen`, `other` in the rest."""
        return FrameState(
            expression=torch.where(chosen[:, None], self.expression, other.expression),
            camera=self.camera.where(chosen, other.camera),
        )


def joined_states(states: Sequence[FrameState]) -> FrameState:
    """The frames of one state after those of another."""
    return FrameState(
        expression=torch.cat([state.expression for state in states]),
        camera=joined_cameras([state.camera for state in states]),
    )


def packed_states(states: Sequence[FrameState], layout: TimeMajor) -> FrameState:
    """The frames of one track each, in the layout's order."""
    return FrameState(
        expression=layout.pack_tensors([state.expression for state in states]),
        camera=ScaledOrthographic(
            scale=layout.pack_tensors([state.camera.scale for state in states]),
            quaternion=layout.pack_tensors([state.camera.quaternion for state in states]),
            translation=layout.pack_tensors([state.camera.translation for state in states]),
        ),
    )
