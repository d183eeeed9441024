"""The prior of expressions over time that keeps their velocity too: a Matern process of order 3/2.

The chain of `smooth_prior` has the right amplitude, and moves like a random walk from one frame to the next: what it
leaves of the landmarks' noise is rough. Faces go on as they move. This process has the same unit variance in every
frame and the same mean squared change over 1/30 s, and a velocity; its covariance at a distance t is
`(1 + r t) exp(-r t)`. Position and velocity (over r) together are a Markov process, so that all is linear in the number
of frames, and irregular times come for free (Hartikainen and Sarkka 2010).

All components follow the same process, and what it says of paths that are known exactly needs one recursion of the
velocity, whose coefficients are numbers per frame.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from fitting.ragged import TimeMajor
from fitting.smooth_prior import REFERENCE_STEP_S, SHORTEST_STEP_S, keep_over

_LARGEST_RATE = 50.0
"""Per 1/30 s: frames are then as good as independent."""
_BISECTIONS = 60


class Transition(NamedTuple):
    """From one frame's position and velocity to the next one's: `[[a, b], [c, d]]`, 0 at a track's first frame."""

    a: Float64[Tensor, " frames"]
    b: Float64[Tensor, " frames"]
    c: Float64[Tensor, " frames"]
    d: Float64[Tensor, " frames"]

    def of_covariance(self) -> Float64[Tensor, "frames 3 3"]:
        """What it makes of the entries (00, 01, 11) of a covariance."""
        a, b, c, d = self
        rows = (a * a, 2 * a * b, b * b, a * c, a * d + b * c, b * d, c * c, 2 * c * d, d * d)
        return torch.stack(rows, dim=-1).reshape(-1, 3, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaternPrior:
    """The process at a layout's frames.

    Attributes:
        turn: Time since the frame before, times the rate; 0 at a track's first frame.
        transition: Between each frame and the one before it.
        gain: How much of a surprise in position counts for the velocity.
        precision: One over the variance of a position, once all before it are known.
        layout: Order of the frame axis.
    """

    turn: Float64[Tensor, " frames"]
    transition: Transition
    gain: Float64[Tensor, " frames"]
    precision: Float64[Tensor, " frames"]
    layout: TimeMajor

    def energy(self, expression: Float[Tensor, "frames n"]) -> Float64[Tensor, " frames"]:
        """What each frame's expression costs, given those before."""
        surprise = self._surprise(expression.double())
        return 0.5 * self.precision * (surprise * surprise).sum(-1)

    def pull(self, expression: Float[Tensor, "frames n"]) -> Float64[Tensor, "frames n"]:
        """Downhill gradient of the sum of the energies."""
        cost = self.precision[:, None] * self._surprise(expression.double())
        later, before = self._pairs()
        a, b, c, d = (number[:, None] for number in self.transition)
        k = self.gain[:, None]
        # Of each frame's velocity: by the next frame's surprise, then by its velocity.
        of_velocity = torch.zeros_like(cost)
        of_velocity[before] = -(b * cost)[later]
        fade = (d - b * k).expand(-1, 1)
        after: slice | None = None
        for step in reversed(self.layout.steps):
            if after is not None:
                these = slice(step.start, step.start + after.stop - after.start)
                of_velocity[these].addcmul_(fade[after], of_velocity[after])
            after = step
        uphill = cost + k * of_velocity
        uphill[before] += ((c - a * k) * of_velocity - a * cost)[later]
        return -uphill

    def _surprise(self, wide: Float64[Tensor, "frames n"]) -> Float64[Tensor, "frames n"]:
        a, b, c, d = (number[:, None] for number in self.transition)
        k = self.gain[:, None]
        last = wide[self.layout.previous_or_self]
        velocity = k * wide + (c - a * k) * last
        fade = d - b * k
        before: slice | None = None
        for step in self.layout.steps:
            if before is not None:
                velocity[step].addcmul_(fade[step], velocity[before.start : before.start + step.stop - step.start])
            before = step
        return wide - a * last - b * velocity[self.layout.previous_or_self]

    def _pairs(self) -> tuple[Tensor, Tensor]:
        """Frames that have one before them, and that one. No two have the same, so that no two additions meet."""
        later = torch.nonzero(self.layout.previous >= 0)[:, 0]
        return later, self.layout.previous[later]


def matern_prior(
    spacing_s: Float64[Tensor, " frames"], layout: TimeMajor, expression_smoothness: Float64[Tensor, " tracks"]
) -> MaternPrior:
    """The prior for frames that come `spacing_s` after the one before them (first frames: any number).

    `1 / expression_smoothness` is the mean squared change over 1/30 s, as in `smooth_prior`.
    """
    first = layout.previous < 0
    turn = matern_rate(expression_smoothness)[layout.track] * spacing_s.clamp_min(SHORTEST_STEP_S) / REFERENCE_STEP_S
    left = torch.where(first, torch.zeros_like(turn), torch.exp(-turn))
    transition = Transition(a=left * (1 + turn), b=left * turn, c=-left * turn, d=left * (1 - turn))
    squares = transition.of_covariance()
    gain, variance = torch.empty_like(turn), torch.empty_like(turn)
    # Variance of the velocity, less the unit, once all positions up to a frame are known; that of the position is -1.
    velocity = turn.new_zeros(0, 1)
    for step in layout.steps:
        known = torch.zeros_like(squares[step, :, 0])
        if len(velocity):
            known = squares[step, :, 2] * velocity[: len(known)] - squares[step, :, 0]
        variance[step] = 1.0 + known[:, 0]
        gain[step] = known[:, 1] / variance[step]
        velocity = (known[:, 2] - gain[step] * known[:, 1])[:, None]
    turn = torch.where(first, torch.zeros_like(turn), turn)
    return MaternPrior(turn=turn, transition=transition, gain=gain, precision=1.0 / variance, layout=layout)


def matern_rate(expression_smoothness: Float64[Tensor, " tracks"]) -> Float64[Tensor, " tracks"]:
    """The rate r, per 1/30 s, at which `(1 + r) exp(-r)` is what the smoothness keeps over 1/30 s."""
    step = torch.full_like(expression_smoothness, REFERENCE_STEP_S)
    keep = keep_over(step, expression_smoothness)
    low, high = torch.zeros_like(keep), torch.full_like(keep, _LARGEST_RATE)
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        too_slow = (1 + middle) * torch.exp(-middle) > keep
        low, high = torch.where(too_slow, middle, low), torch.where(too_slow, high, middle)
    return 0.5 * (low + high)
