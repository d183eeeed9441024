"""What one fit of tracks is about: the face model, which landmarks are seen, and the choices."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64

from fitting.contour_slide import SlidingContour
from fitting.landmark_basis import LandmarkBasis
from fitting.options import FitOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class FitSetup:
    """The same for all tracks of a fit.

    Attributes:
        options: Choices of the fit.
        points: Numbers, in the scheme, of the landmarks that are fitted.
        seen: The face model at those.
        full: The face model at all landmarks of the scheme.
        contour: Candidates of the sliding contour among those that are fitted, or None.
        on_steps: Called by the second stage with so many frames times so many of their iterations as were just done.
    """

    options: FitOptions
    points: Int64[np.ndarray, " seen"]
    seen: LandmarkBasis
    full: LandmarkBasis
    contour: SlidingContour | None
    on_steps: Callable[[int], None]

    @classmethod
    def whole(
        cls,
        full: LandmarkBasis,
        options: FitOptions,
        contour: SlidingContour | None,
        on_steps: Callable[[int], None] | None = None,
    ) -> "FitSetup":
        """A fit of all landmarks of a scheme."""
        points = np.arange(full.mean.shape[1], dtype=np.int64)
        return cls(
            options=options, points=points, seen=full, full=full, contour=contour, on_steps=on_steps or _tell_nobody
        )

    @property
    def lasting(self) -> Float[torch.Tensor, " seen"]:
        """Standard deviation of the error that each landmark keeps through a track, in units of `landmark_noise`."""
        return self.options.landmark_bias / self.options.landmark_noise * self.seen.bias_ratio

    def at(self, points: Int64[np.ndarray, " some"]) -> "FitSetup":
        """The same fit from some of the scheme's landmarks alone."""
        return FitSetup(
            options=self.options,
            points=points,
            seen=self.full.points(points),
            full=self.full,
            contour=self.contour and self.contour.points(points),
            on_steps=self.on_steps,
        )


def _tell_nobody(_steps: int) -> None:
    pass
