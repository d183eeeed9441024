"""Gauss-Newton steps that keep every coefficient inside a box, by active sets.

Coefficients that a step would take out of the box are put on its boundary, and the system is solved again for the rest;
those that would rather go back inside are let go (block principal pivoting, Judice and Pires 1994, for the convex
quadratic problem of one step). Shapes stay the same: a fixed coefficient's row and column become the unit's.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fitting.ragged import TimeMajor
from fitting.shared_product import times_column, two_columns
from fitting.time_recursion import solve_over_time

ROUNDS = 10
"""Rounds in one step, at most. What would still leave the box then is cut off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSystem:
    """The system of one step over time; see `fitting.time_recursion`.

    Attributes:
        blocks: Diagonal blocks.
        right: Right-hand side.
        coupling: Between each frame and the one before it.
        layout: Order of the frame axis.
    """

    blocks: Float[Tensor, "frames n n"]
    right: Float[Tensor, "frames n"]
    coupling: Float[Tensor, "frames 1"]
    layout: TimeMajor

    def remaining(self, step: Float[Tensor, "frames n"]) -> Float[Tensor, "frames n"]:
        """Downhill gradient after a step."""
        previous = self.layout.previous
        reached = times_column(self.blocks, step)
        k = torch.where((previous < 0)[:, None], torch.zeros_like(self.coupling), self.coupling)
        reached -= k * step[self.layout.previous_or_self]
        later = torch.nonzero(previous >= 0)[:, 0]
        # Each frame has at most one successor, so no two of these subtractions meet.
        reached[previous[later]] -= (k * step)[later]
        return self.right - reached

    def solved_for(
        self, free: Bool[Tensor, "frames n"], right: Float[Tensor, "frames n"]
    ) -> Float[Tensor, "frames n"]:
        """Solution in the free coefficients for another right-hand side; 0 in the others."""
        mask = free.to(right.dtype)
        blocks = self.blocks * (mask[:, :, None] * mask[:, None, :])
        blocks.diagonal(dim1=-2, dim2=-1).add_(1.0 - mask)
        between = self.coupling * mask * mask[self.layout.previous_or_self]
        return solve_over_time(blocks, two_columns(right * mask), between, self.layout)[..., 0]


def outside(expression: Float[Tensor, "frames n"], box: float) -> Bool[Tensor, "frames n"]:
    """Which coefficients lie out of the box."""
    return expression.abs() > box


def boxed_step(
    system: StepSystem, expression: Float[Tensor, "frames n"], step: Float[Tensor, "frames n"], box: float
) -> Float[Tensor, "frames n"]:
    """The step that solves the system inside the box.

    Args:
        system: Without the box.
        expression: Where the step begins, inside the box.
        step: Its solution without the box.
        box: Largest absolute value of a coefficient.
    """
    fixed, held = torch.zeros_like(expression, dtype=torch.bool), torch.zeros_like(expression)
    for _ in range(ROUNDS):
        leaving = outside(expression + step, box) & ~fixed
        returning = fixed & (system.remaining(step) * (expression + held) < 0)
        if not bool((leaving | returning).any()):
            break
        # A track for which the set stays the same gets the same bits again in rounds that others need.
        held = torch.where(leaving, (expression + step).sign() * box - expression, held)
        fixed = (fixed | leaving) & ~returning
        held = torch.where(fixed, held, torch.zeros_like(held))
        step = held + system.solved_for(~fixed, system.remaining(held))
    return (expression + step).clamp(-box, box) - expression
