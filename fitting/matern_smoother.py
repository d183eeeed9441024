"""Paths of the Matern process seen through noise, component by component, each by itself.

Forward a Kalman filter, back the smoother of Bryson and Frazier (1963), which inverts nothing. The variances do not
depend on what was seen, so the recursions of any number of paths are two multiplications per step in time.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from fitting.matern_prior import MaternPrior
from fitting.ragged import TimeMajor


@dataclass(frozen=True, slots=True, kw_only=True)
class MaternSmoother:
    """What there is to know about paths before anything is seen.

    Attributes:
        layout: Order of the frame axis.
        known: One over the variance of the noise of each frame and component, 0 where nothing is seen.
        share: `1 / (1 + known times variance)`: how much of a surprise is left once it is explained.
        variance: Covariance (00, 01, 11) of position and velocity, once all frames before are seen.
        hear: How much position and velocity of a prediction move by what was said one frame before.
        carry: `[[a, b], [c, d]]` from one frame's prediction to the next one's; 0 at a track's first frame.
    """

    layout: TimeMajor
    known: Float64[Tensor, "frames n"]
    share: Float64[Tensor, "frames n"]
    variance: Float64[Tensor, "3 frames n"]
    hear: Float64[Tensor, "2 frames n"]
    carry: Float64[Tensor, "2 2 frames n"]

    @classmethod
    def of(cls, prior: MaternPrior, known: Float64[Tensor, "frames n"]) -> "MaternSmoother":
        """The smoother of paths of this prior seen with this information."""
        layout = prior.layout
        squares = prior.transition.of_covariance().permute(2, 1, 0)[..., None].contiguous()
        variance = known.new_zeros(3, *known.shape)
        share = torch.empty_like(known)
        before: slice | None = None
        for step in layout.steps:
            now = variance[:, step]
            if before is not None:
                last = slice(before.start, before.start + step.stop - step.start)
                gone = known[last] * share[last]
                p00, p01, p11 = variance[:, last]
                square = squares[:, :, step]
                torch.mul(square[0], p00 * share[last] - 1.0, out=now)
                now.addcmul_(square[1], p01 * share[last])
                now.addcmul_(square[2], p11 - gone * p01 * p01 - 1.0)
            now[::2] += 1.0
            share[step] = 1.0 / (1.0 + known[step] * now[0])
            before = step
        of_last = layout.previous_or_self
        a, b, c, d = (number[:, None] for number in prior.transition)
        by_position, by_velocity = (share * variance[:2])[:, of_last]
        hear = torch.stack([a * by_position + b * by_velocity, c * by_position + d * by_velocity])
        seen = known[of_last]
        carry = torch.stack([a - seen * hear[0], b.expand_as(known), c - seen * hear[1], d.expand_as(known)])
        return cls(
            layout=layout, known=known, share=share, variance=variance, hear=hear,
            carry=carry.reshape(2, 2, *known.shape),
        )  # fmt: skip

    def mean(self, said: Float64[Tensor, "frames n"]) -> Float64[Tensor, "frames n"]:
        """The paths of least energy, given what is said of them: `known` times what is seen."""
        layout = self.layout
        ahead = self.hear * said[layout.previous_or_self]
        before: slice | None = None
        for step in layout.steps:
            if before is not None:
                old = ahead[:, before.start : before.start + step.stop - step.start]
                ahead[:, step].addcmul_(self.carry[:, 0, step], old[0]).addcmul_(self.carry[:, 1, step], old[1])
            before = step
        # The first frames of tracks have the mean 0 and their transition is 0.
        back = torch.zeros_like(ahead)
        back[0] = self.share * (said - self.known * ahead[0])
        after: slice | None = None
        for step in reversed(layout.steps):
            if after is not None:
                these = slice(step.start, step.start + after.stop - after.start)
                new = back[:, after]
                back[:, these].addcmul_(self.carry[0, :, after], new[0]).addcmul_(self.carry[1, :, after], new[1])
            after = step
        return ahead[0] + self.variance[0] * back[0] + self.variance[1] * back[1]

    def variances(self) -> Float64[Tensor, "frames n"]:
        """Posterior variance of each position."""
        back = torch.zeros_like(self.variance)
        back[0] = self.known * self.share
        after: slice | None = None
        for step in reversed(self.layout.steps):
            if after is not None:
                # What the entries (00, 01, 11) of a matrix M become in `carry^T M carry`.
                new, carry = back[:, after], self.carry[:, :, after]
                half = torch.addcmul(new[:2, None] * carry[0], new[1:, None], carry[1])
                these = back[:, step.start : step.start + after.stop - after.start]
                these[:2].addcmul_(carry[0, 0], half[0]).addcmul_(carry[1, 0], half[1])
                these[2].addcmul_(carry[0, 1], half[0, 1]).addcmul_(carry[1, 1], half[1, 1])
            after = step
        p, q = self.variance[:2]
        left: Tensor = p - p * p * back[0] - 2 * p * q * back[1] - q * q * back[2]
        return left
