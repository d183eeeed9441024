"""The last step of the frame stage: from a prior whose paths are rough to one whose paths have a velocity.

What one linearisation says of the expressions of all frames, cameras eliminated, is solved under the chain of
`smooth_prior` by one recursion. Under `matern_prior` the same recursion would have blocks twice as wide. Conjugate
gradients go from one solution to the other, with two preconditioners in turn, each strong where the other is weak: one
has the right prior, and in the track's mean information's eigenvectors takes the components for independent; one has
all that the landmarks say, and the chain's prior. As they differ, each direction is made conjugate to all before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from fitting.matern_prior import MaternPrior
from fitting.matern_smoother import MaternSmoother
from fitting.ragged import TimeMajor
from fitting.shared_product import times_column, two_columns
from fitting.smooth_prior import SmoothPrior
from fitting.time_recursion import solve_with_pivots

DIRECTIONS = 4
"""What is left then of the way between the two solutions: 1% on real videos, 12% where the head turns a lot, 4% of it
in what jumps from frame to frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainSolved:
    """The system of all frames, solved under the chain.

    Attributes:
        information: What the landmarks say, an inverse covariance per frame, without the prior.
        inverse_pivots: What `solve_over_time` leaves behind.
        expression: The solution.
        prior: The chain.
    """

    information: Float[Tensor, "frames n n"]
    inverse_pivots: Float[Tensor, "frames n n"]
    expression: Float[Tensor, "frames n"]
    prior: SmoothPrior

    def solved(self, right: Float[Tensor, "frames n"]) -> Float[Tensor, "frames n"]:
        """The solution for another right-hand side."""
        coupling = self.prior.coupling[:, None].to(right.dtype)
        columns = solve_with_pivots(self.inverse_pivots, two_columns(right), coupling, self.prior.layout)
        return columns[..., 0].contiguous()


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """The solution under the process with a velocity.

    Attributes:
        prior: The process.
        expression: The solution.
        variance_ratio: Posterior variances over those under the chain.
    """

    prior: MaternPrior
    expression: Float[Tensor, "frames n"]
    variance_ratio: Float[Tensor, "frames n"]

    def where(self, chosen: Bool[Tensor, " frames"]) -> "Closing":
        """This solution, where it is `chosen`; in the rest the variances under the chain hold."""
        ratio = torch.where(chosen[:, None], self.variance_ratio, torch.ones_like(self.variance_ratio))
        return replace(self, variance_ratio=ratio)


def closing_step(chain: ChainSolved, prior: MaternPrior) -> Closing:
    """Solve the same system under another prior."""
    layout, dtype = prior.layout, chain.information.dtype
    components = _Components.of(chain.information, prior)
    # The chain's solution leaves over of the new system what the priors disagree about.
    left = (prior.pull(chain.expression) - chain.prior.pull(chain.expression)).to(dtype)
    step = torch.zeros_like(left)
    directions: list[Tensor] = []
    images: list[Tensor] = []
    norms: list[Tensor] = []
    for number in range(DIRECTIONS):
        if number % 2 == 0:
            along, image = components.solved(left)
        else:
            along = chain.solved(left)
            image = -prior.pull(along).to(dtype)
        image += times_column(chain.information, along)
        for other, part in enumerate(_dots(along, images, layout)):
            back = _share(part, norms[other], along)
            along.addcmul_(back, directions[other], value=-1)
            image.addcmul_(back, images[other], value=-1)
        norm, part = _dots(along, [image, left], layout)
        far = _share(part, norm, along)
        step.addcmul_(far, along)
        left.addcmul_(far, image, value=-1)
        directions.append(along)
        images.append(image)
        norms.append(norm)
    return Closing(
        prior=prior,
        expression=chain.expression + step,
        variance_ratio=components.variance_ratio(chain.prior).to(dtype),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Components:
    """Each track along the eigenvectors of its mean information, the components taken for independent.

    Attributes:
        turn: The eigenvectors.
        rows: Where each track's frames lie.
        smoother: Of the components.
    """

    turn: Float64[Tensor, "tracks n n"]
    rows: list[Tensor]
    smoother: MaternSmoother

    @classmethod
    def of(cls, information: Float[Tensor, "frames n n"], prior: MaternPrior) -> "_Components":
        tracks = prior.layout.tracks
        rows = [torch.as_tensor(prior.layout.positions(track), device=information.device) for track in range(tracks)]
        known = torch.empty_like(information[..., 0], dtype=torch.float64)
        turns = []
        # One product per track, here and below, whose shape depends on this track alone.
        for these in rows:
            own = information[these]
            total = own.sum(0, dtype=torch.float64)
            # A track whose numbers broke down is seen by its energy.
            vectors = torch.linalg.eigh(torch.where(torch.isfinite(total), total, torch.zeros_like(total))).eigenvectors
            # `v^T H v` of all eigenvectors and frames.
            squares = (vectors[:, None] * vectors).flatten(0, 1).to(own.dtype)
            known[these] = (own.flatten(1) @ squares).double().clamp_min(0)
            turns.append(vectors)
        return cls(turn=torch.stack(turns), rows=rows, smoother=MaternSmoother.of(prior, known))

    def solved(self, right: Float[Tensor, "frames n"]) -> tuple[Float[Tensor, "frames n"], Float[Tensor, "frames n"]]:
        """The solution of the system that is nearly the right one, and the prior's precision times that."""
        turn = self.turn.to(right.dtype)
        turned = self._turned(right, turn).double()
        found = self.smoother.mean(turned)
        image = turned - self.smoother.known * found
        return self._turned(found.to(right.dtype), turn.mT), self._turned(image.to(right.dtype), turn.mT)

    def variance_ratio(self, chain: SmoothPrior) -> Float64[Tensor, "frames n"]:
        """Posterior variances under the smoother's prior over those under the chain, of the coefficients."""
        squares = (self.turn**2).mT
        under_chain = _chain_variances(chain, self.smoother.known)
        return self._turned(self.smoother.variances(), squares) / self._turned(under_chain, squares)

    def _turned(self, values: Float[Tensor, "frames n"], turn: Float[Tensor, "tracks n n"]) -> Tensor:
        out = torch.empty_like(values)
        for track, these in enumerate(self.rows):
            out[these] = values[these] @ turn[track]
        return out


def _chain_variances(chain: SmoothPrior, known: Float64[Tensor, "frames n"]) -> Float64[Tensor, "frames n"]:
    """Posterior variances of single components: `time_recursion` for numbers."""
    inverse, k = chain.precision[:, None] + known, chain.coupling[:, None]
    before: slice | None = None
    for step in chain.layout.steps:
        if before is not None:
            last = slice(before.start, before.start + step.stop - step.start)
            inverse[step] -= (k[step] * k[step]) * inverse[last]
        inverse[step].reciprocal_()
        before = step
    squares = inverse * inverse
    after: slice | None = None
    for step in reversed(chain.layout.steps):
        if after is not None:
            these = slice(step.start, step.start + after.stop - after.start)
            inverse[these] += squares[these] * (k[after] * k[after]) * inverse[after]
        after = step
    return inverse


def _dots(
    one: Float[Tensor, "frames n"], others: list[Tensor], layout: TimeMajor
) -> Sequence[Float64[Tensor, " frames"]]:
    """Products of each frame's whole track."""
    if not others:
        return ()
    by_frame = torch.stack([(one * other).sum(-1) for other in others], dim=-1)
    return layout.sum_over_time(by_frame)[layout.track].unbind(-1)


def _share(
    part: Float64[Tensor, " frames"], whole: Float64[Tensor, " frames"], like: Float[Tensor, "frames n"]
) -> Float[Tensor, "frames 1"]:
    # Where there is nothing left to go, all is 0.
    return torch.where(whole > 0, part / whole, torch.zeros_like(part)).to(like.dtype)[:, None]
