"""What stands between the landmarks of a picture and a scaled-orthographic camera on points fixed to the head.

Two things may: a lens (perspective), and an outline along which the contour's landmarks slide. Both are taken into
account by restating the observations at the current estimate, before each linearisation and each energy, so that the
solver knows neither:

- through a lens, an observation y is that of an orthographic camera at `c + d (y - c)`, d the landmark's depth. Its
  errors are d times as large, and its weight is divided by d^2. Exact where the residual vanishes; the derivative of
  the depth is left out of the step, as it is small (the tangent of the angle off the optical axis) beside the rest.
- of a point on the outline, only the residual across the outline is left. Its derivative by shape is that of the
  landmark, not of the candidate, and its weight is lowered, so that this pulls less at the head than the outline's
  place says about its pose.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from fitting.camera import ScaledOrthographic, turned_points
from fitting.contour_slide import SlidingContour, outline
from fitting.energy import Observations
from fitting.lens_tensors import Lens

_OUTLINE_WEIGHT = 0.15
"""Of 0.5, 0.25, 0.1 and 0.04, the middle two gave the best shapes and poses at 25 and 45 degrees of yaw."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """Restates observations. Without lens and contour it does nothing, at no cost.

    Attributes:
        lens: Per frame, or None.
        contour: Candidates of the contour's points, or None.
    """

    lens: Lens | None = None
    contour: SlidingContour | None = None

    def at(self, index: Tensor | slice) -> "Sight":
        """The sight of some frames."""
        return self if self.lens is None else replace(self, lens=self.lens.at(index))

    def spots(
        self, identity: Float[Tensor, "tracks n_identity"]
    ) -> Float[Tensor, "tracks 3 spots"] | None:
        """Candidates of the contour's points on each identity, None where no contour slides."""
        return None if self.contour is None else self.contour.identities(identity)

    def restated(
        self,
        observed: Observations,
        camera: ScaledOrthographic,
        head: Float[Tensor, "frames 3 points"],
        expression: Float[Tensor, "frames n_expression"],
        spots: Float[Tensor, "frames 3 spots"] | None,
    ) -> tuple[Observations, Float[Tensor, "frames 3 points"]]:
        """Observations and head points with which the plain camera gives the residuals as they are seen.

        Args:
            observed: What was observed, of the frames that this sight is of.
            camera: The current cameras.
            head: The scheme's landmarks as estimated, head frame, mm.
            expression: The current expressions.
            spots: `spots` of each frame's track.
        """
        if self.contour is not None and spots is not None:
            count = self.contour.count
            seen = outline(spots + self.contour.expressions(expression), head, camera.rotation(), count=count)
            head = torch.cat([seen.head, head[:, :, count:]], dim=-1)
        if self.lens is not None:
            observed = _flattened(observed, turned_points(camera, head), self.lens)
        if self.contour is not None and spots is not None:
            observed = _across(observed, camera, head, seen.across)
        return observed, head


PLAIN = Sight()
"""Landmarks fixed to the head, seen by a scaled-orthographic camera."""


def _flattened(observed: Observations, scaled: Float[Tensor, "frames 3 points"], lens: Lens) -> Observations:
    depth = lens.depth(scaled)
    centre = lens.principal[:, :, None]
    points = centre + (observed.points - centre) * depth[:, None]
    return replace(observed, points=points, weight=observed.weight / (depth * depth))


def _across(
    observed: Observations,
    camera: ScaledOrthographic,
    head: Float[Tensor, "frames 3 points"],
    across: Float[Tensor, "frames 2 contour"],
) -> Observations:
    count = across.shape[-1]
    fitted = turned_points(camera, head[:, :, :count])[:, :2] + camera.translation[:, :, None]
    off = ((observed.points[:, :, :count] - fitted) * across).sum(1, keepdim=True) * across
    points = torch.cat([fitted + off, observed.points[:, :, count:]], dim=-1)
    weight = torch.cat([_OUTLINE_WEIGHT * observed.weight[:, :count], observed.weight[:, count:]], dim=-1)
    return replace(observed, points=points, weight=weight)
