"""Block-tridiagonal systems over time, for all tracks at once, and the diagonal of their inverse.

The system has one block per frame, and neighbours in time are coupled by a multiple of the identity matrix, as a
first-order Markov prior does. Eliminating forward in time gives the pivots

    A_t = S_t - k_t^2 A_(t-1)^(-1),    b_t = g_t + k_t A_(t-1)^(-1) b_(t-1)

and going back `x_t = A_t^(-1) (b_t + k_(t+1) x_(t+1))`; the block diagonal of the inverse follows from
`V_t = A_t^(-1) + k_(t+1)^2 A_t^(-1) V_(t+1) A_t^(-1)` (selected inversion; the same numbers as a Kalman smoother,
Rauch, Tung and Striebel 1965). Float64 throughout.
"""

import torch
from jaxtyping import Float64
from torch import Tensor

from fitting.ragged import TimeMajor


def solve_over_time(
    blocks: Float64[Tensor, "frames n n"],
    right: Float64[Tensor, "frames n"],
    coupling: Float64[Tensor, " frames"],
    layout: TimeMajor,
) -> Float64[Tensor, "frames n"]:
    """Solve the system; `blocks` is overwritten with the inverse pivots, which `variances_over_time` wants.

    Args:
        blocks: Diagonal blocks S_t, symmetric.
        right: Right-hand sides.
        coupling: k_t >= 0 between each frame and the one before it (the matrix holds -k_t on that diagonal); whatever
            stands at a track's first frame is not used.
        layout: Order of the frame axis.
    """
    # Two columns, the second empty: a batched product with one takes another path, and other bits, in a batch of 1.
    forward = torch.stack([right, torch.zeros_like(right)], dim=-1)
    before: slice | None = None
    for step in layout.steps:
        pivot = blocks[step]
        if before is not None:
            last = slice(before.start, before.start + len(pivot))
            k = coupling[step][:, None, None]
            pivot = pivot - (k * k) * blocks[last]
            forward[step] += k * torch.bmm(blocks[last], forward[last])
        blocks[step] = torch.cholesky_inverse(torch.linalg.cholesky_ex(pivot).L)
        before = step
    after: slice | None = None
    for step in reversed(layout.steps):
        if after is not None:
            before = slice(step.start, step.start + after.stop - after.start)
            forward[before] += coupling[after][:, None, None] * forward[after]
        forward[step] = torch.bmm(blocks[step], forward[step])
        after = step
    return forward[..., 0].contiguous()


def variances_over_time(
    inverse_pivots: Float64[Tensor, "frames n n"], coupling: Float64[Tensor, " frames"], layout: TimeMajor
) -> Float64[Tensor, "frames n"]:
    """The diagonal of the inverse of the whole system, from what `solve_over_time` left in `blocks`."""
    variances = torch.empty(inverse_pivots.shape[:2], dtype=inverse_pivots.dtype, device=inverse_pivots.device)
    full: Tensor | None = None
    after: slice | None = None
    for step in reversed(layout.steps):
        covariance = inverse_pivots[step].clone()
        if after is not None and full is not None:
            pivots = inverse_pivots[step.start : step.start + len(full)]
            k = coupling[after]
            covariance[: len(full)] += (k * k)[:, None, None] * torch.bmm(torch.bmm(pivots, full), pivots)
        variances[step] = covariance.diagonal(dim1=-2, dim2=-1)
        full, after = covariance, step
    return variances
