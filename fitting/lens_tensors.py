"""The lenses of a batch of frames, as the fit computes with them. What a lens is, `fitting.lens` says."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from fitting.lens import NEAREST_DEPTH


@dataclass(frozen=True, slots=True, kw_only=True)
class Lens:
    """The lens before each frame, in the units of its observations.

    Attributes:
        inverse_focal: One over the focal length.
        principal: The principal point.
    """

    inverse_focal: Float[Tensor, " frames"]
    principal: Float[Tensor, "frames 2"]

    def at(self, index: Tensor | slice) -> "Lens":
        """The lenses at an index or slice of the frame axis."""
        return Lens(inverse_focal=self.inverse_focal[index], principal=self.principal[index])

    def depth(self, scaled: Float[Tensor, "frames 3 points"]) -> Float[Tensor, "frames points"]:
        """Depth of points, 1 at the head's origin, from `camera.turned_points`."""
        return (1.0 + self.inverse_focal[:, None] * scaled[:, 2]).clamp_min(NEAREST_DEPTH)
