"""Paths of the Matern process seen through noise, component by component, each by itself.

Forward a Kalman filter, back the smoother of Bryson and Frazier (1963), which inverts nothing. The variances do not
depend on what was seen, so the recursions of any number of paths are two multiplications per step in time.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from fitting.matern_prior import MaternPrior


@dataclass(frozen=True, slots=True, kw_only=True)
class MaternSmoother:
    """What there is to know about paths before anything is seen.

    Attributes:
        prior: The process.
        known: One over the variance of the noise of each frame and component, 0 where nothing is seen.
        share: `1 / (1 + known times variance)`: how much of a surprise is left once it is explained.
        variance: Covariance (00, 01, 11) of position and velocity, once all frames before are seen.
        carry: `[[a, b], [c, d]]` from one frame's prediction to the next one's; 0 at a track's first frame.
    """

    prior: MaternPrior
    known: Float64[Tensor, "frames n"]
    share: Float64[Tensor, "frames n"]
    variance: Float64[Tensor, "3 frames n"]
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
        gain = known * share * variance[:2]
        of_last = layout.previous_or_self
        a, b, c, d = (number[:, None] for number in prior.transition)
        kept, lost = 1.0 - gain[0][of_last], gain[1][of_last]
        carry = torch.stack([a * kept - b * lost, b.expand_as(known), c * kept - d * lost, d.expand_as(known)])
        return cls(prior=prior, known=known, share=share, variance=variance, carry=carry.reshape(2, 2, *known.shape))

    def mean(self, said: Float64[Tensor, "frames n"]) -> Float64[Tensor, "frames n"]:
        """The paths of least energy, given what is said of them: `known` times what is seen."""
        layout = self.prior.layout
        last = layout.previous_or_self
        a, b, c, d = (number[:, None] for number in self.prior.transition)
        # What was said a frame ago moves position and velocity by this much.
        heard = (self.share * said)[last]
        by_position, by_velocity = heard * self.variance[0][last], heard * self.variance[1][last]
        ahead = torch.stack([a * by_position + b * by_velocity, c * by_position + d * by_velocity])
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
        a, b, c, d = self.carry.flatten(0, 1)
        # What the entries (00, 01, 11) of a matrix M become in `carry^T M carry`.
        rows = [[a * a, 2 * a * c, c * c], [a * b, a * d + b * c, c * d], [b * b, 2 * b * d, d * d]]
        squares = torch.stack([torch.stack(row) for row in rows])
        back = torch.zeros_like(self.variance)
        back[0] = self.known * self.share
        after: slice | None = None
        for step in reversed(self.prior.layout.steps):
            if after is not None:
                these = slice(step.start, step.start + after.stop - after.start)
                new, square = back[:, after], squares[:, :, after]
                for entry in range(3):
                    back[:, these].addcmul_(square[:, entry], new[entry])
            after = step
        p, q = self.variance[:2]
        left: Tensor = p - p * p * back[0] - 2 * p * q * back[1] - q * q * back[2]
        return left
