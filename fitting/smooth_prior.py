"""The prior of expressions over time: an Ornstein-Uhlenbeck process.

Its marginal in every frame is the model's own unit Gaussian: `e_t = rho_t e_(t-1) + sqrt(1 - rho_t^2) n_t` with
`rho_t = exp(-dt / tau)`. Adding a squared first difference to a unit prior per frame, as is common, instead shrinks
the amplitude with the strength of the smoothing. Irregular times come for free.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from fitting.ragged import TimeMajor

REFERENCE_STEP_S = 1 / 30
SHORTEST_STEP_S = 1 / 240
"""Frames said to be nearer than this have wrong times: a prior with a velocity would hold them still."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SmoothPrior:
    """The Markov prior as a tridiagonal matrix: `precision` on the diagonal, `-coupling` beside it.

    Attributes:
        keep: rho_t, the share of the last frame's expression that remains; 0 at a track's first frame.
        stiffness: 1 / (1 - rho_t^2).
        precision: Diagonal.
        coupling: Between each frame and the one before it.
        layout: Order of the frame axis.
    """

    keep: Float64[Tensor, " frames"]
    stiffness: Float64[Tensor, " frames"]
    precision: Float64[Tensor, " frames"]
    coupling: Float64[Tensor, " frames"]
    layout: TimeMajor

    def energy(self, expression: Float[Tensor, "frames n"]) -> Float64[Tensor, " frames"]:
        """What each frame's expression costs, given the one before."""
        change = self._change(expression)
        return 0.5 * self.stiffness * (change * change).sum(-1)

    def pull(self, expression: Float[Tensor, "frames n"]) -> Float64[Tensor, "frames n"]:
        """Downhill gradient of the sum of the energies."""
        change = self.stiffness[:, None] * self._change(expression)
        pull = -change
        later = torch.nonzero(self.layout.previous >= 0)[:, 0]
        # Each frame has at most one successor, so no two of these additions meet.
        pull[self.layout.previous[later]] += (self.keep[:, None] * change)[later]
        return pull

    def _change(self, expression: Float[Tensor, "frames n"]) -> Float64[Tensor, "frames n"]:
        wide = expression.double()
        return wide - self.keep[:, None] * wide[self.layout.previous_or_self]


def smooth_prior(
    spacing_s: Float64[Tensor, " frames"], layout: TimeMajor, expression_smoothness: Float64[Tensor, " tracks"]
) -> SmoothPrior:
    """The prior for frames that come `spacing_s` after the one before them (first frames: any number).

    `1 / expression_smoothness` is the mean squared change over 1/30 s, which for unit variance is `2 (1 - rho)`.
    """
    first = layout.previous < 0
    keep = keep_over(spacing_s, expression_smoothness[layout.track])
    keep = torch.where(first, torch.zeros_like(keep), keep)
    stiffness = 1.0 / (1.0 - keep * keep)
    precision = stiffness.clone()
    later = torch.nonzero(~first)[:, 0]
    # Each frame has at most one successor, so no two of these additions meet.
    precision[layout.previous[later]] += (stiffness * keep * keep)[later]
    return SmoothPrior(keep=keep, stiffness=stiffness, precision=precision, coupling=stiffness * keep, layout=layout)


def keep_over(
    spacing_s: Float64[Tensor, "*#batch"], expression_smoothness: Float64[Tensor, "*#batch"]
) -> Float64[Tensor, "*batch"]:
    """What is kept of an expression over a spacing in time: rho, and 0 where the smoothness is 1/2 at most."""
    keep_30 = (1.0 - 0.5 / expression_smoothness).clamp_min(0.0)
    return torch.exp(keep_30.log() / REFERENCE_STEP_S * spacing_s.clamp_min(SHORTEST_STEP_S))
