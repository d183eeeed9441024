"""Block-tridiagonal systems over time, for all tracks at once, and the diagonal of their inverse.

The system has one block per frame, and neighbours in time are coupled by a diagonal matrix K_t, as a first-order
Markov prior does. Eliminating forward in time gives the pivots

    A_t = S_t - K_t A_(t-1)^(-1) K_t,    y_t = A_t^(-1) (g_t + K_t y_(t-1))

and going back `x_t = y_t + A_t^(-1) K_(t+1) x_(t+1)`; the block diagonal of the inverse follows from
`V_t = A_t^(-1) + A_t^(-1) K_(t+1) V_(t+1) K_(t+1) A_t^(-1)` (selected inversion; the same numbers as a Kalman
smoother, Rauch, Tung and Striebel 1965).
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from fitting.inverse_root import inverse_root
from fitting.ragged import TimeMajor


def solve_over_time(
    blocks: Float[Tensor, "frames n n"],
    right: Float[Tensor, "frames n columns"],
    coupling: Float[Tensor, "frames n_or_1"],
    layout: TimeMajor,
) -> Float[Tensor, "frames n columns"]:
    """Solve the system in place.

    `right` is overwritten with the solution, `blocks` with the inverse pivots, which `variances_over_time` wants.

    Args:
        blocks: Diagonal blocks S_t, symmetric.
        right: Right-hand sides, two columns at least: a batched product with one takes another path, and other bits,
            in a batch of one.
        coupling: Diagonal of K_t >= 0 between each frame and the one before it, or one number where it is the same
            for all components (the matrix holds -K_t beside the diagonal); whatever stands at a track's first frame
            is not used.
        layout: Order of the frame axis.

    Raises:
        ValueError: There is only one right-hand side.
    """
    if right.shape[-1] < 2:
        raise ValueError(f"right has {right.shape[-1]} columns, and needs two at least")
    before: slice | None = None
    for step in layout.steps:
        invert_pivot(blocks, coupling, step, before)
        before = step
    return solve_with_pivots(blocks, right, coupling, layout)


def solve_with_pivots(
    inverse_pivots: Float[Tensor, "frames n n"],
    right: Float[Tensor, "frames n columns"],
    coupling: Float[Tensor, "frames n_or_1"],
    layout: TimeMajor,
) -> Float[Tensor, "frames n columns"]:
    """Solve in place for other right-hand sides, with the inverse pivots that `solve_over_time` left in `blocks`."""
    k = coupling[..., None]
    before: slice | None = None
    for step in layout.steps:
        y = right[step]
        if before is not None:
            y.addcmul_(k[step], right[before.start : before.start + len(y)])
        y.copy_(torch.bmm(inverse_pivots[step], y))
        before = step
    after: slice | None = None
    for step in reversed(layout.steps):
        if after is not None:
            these = slice(step.start, step.start + after.stop - after.start)
            right[these] += torch.bmm(inverse_pivots[these], k[after] * right[after])
        after = step
    return right


def invert_pivot(
    blocks: Float[Tensor, "frames n n"], coupling: Float[Tensor, "frames n_or_1"], step: slice, before: slice | None
) -> Float[Tensor, "tracks n n"]:
    """Go one time step forward: the step's blocks become their inverse pivots, and are returned.

    Args:
        blocks: Diagonal blocks from this step on, inverse pivots before it.
        coupling: As in `solve_over_time`.
        step: The step.
        before: The step before it, None at the first.
    """
    pivot = blocks[step]
    if before is not None:
        k = coupling[step, :, None]
        pivot.sub_((k * k.mT) * blocks[before.start : before.start + len(pivot)])
    root = inverse_root(pivot)
    torch.bmm(root.mT, root, out=pivot)
    return pivot


def variances_over_time(
    inverse_pivots: Float[Tensor, "frames n n"], coupling: Float[Tensor, "frames n_or_1"], layout: TimeMajor
) -> Float[Tensor, "frames n"]:
    """The diagonal of the inverse of the whole system, from what `solve_over_time` left in `blocks`."""
    variances = torch.empty_like(inverse_pivots[..., 0])
    for step, covariance in _covariances(inverse_pivots, coupling, layout):
        variances[step] = covariance.diagonal(dim1=-2, dim2=-1)
    return variances


def covariances_over_time(
    inverse_pivots: Float[Tensor, "frames n n"], coupling: Float[Tensor, "frames n_or_1"], layout: TimeMajor
) -> Float[Tensor, "frames n n"]:
    """The diagonal blocks of the inverse of the whole system, from what `solve_over_time` left in `blocks`."""
    covariances = torch.empty_like(inverse_pivots)
    for step, covariance in _covariances(inverse_pivots, coupling, layout):
        covariances[step] = covariance
    return covariances


def _covariances(
    inverse_pivots: Float[Tensor, "frames n n"], coupling: Float[Tensor, "frames n_or_1"], layout: TimeMajor
) -> Iterator[tuple[slice, Float[Tensor, "tracks n n"]]]:
    k = coupling[..., None]
    full: Tensor | None = None
    after: slice | None = None
    for step in reversed(layout.steps):
        covariance = inverse_pivots[step].clone()
        if after is not None and full is not None:
            pivots = inverse_pivots[step.start : step.start + len(full)]
            reached = torch.bmm(pivots, (k[after] * k[after].mT) * full)
            covariance[: len(full)] += torch.bmm(reached, pivots)
        yield step, covariance
        full, after = covariance, step
