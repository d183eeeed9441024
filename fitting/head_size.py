"""The size of the head within a step of the identity: EM finds it slowly, and the second pass leaves it alone."""

import torch
from jaxtyping import Float64
from torch import Tensor

from fitting.landmark_basis import LandmarkBasis

_SHARES = (0.0, 1.0, 1.4)


def share_of_size(iteration: int, *, of: int) -> float:
    """How much of a step's change in size an iteration of the identity stage takes.

    From the mean face without expressions, the first step is wrong by a tenth of the head's size. Later ones leave
    about .3 of the error: EM's covariances stay as they were during a step (Dempster, Laird and Rubin 1977: the share
    of what is missing). Going on by `1 / (1 - .3)` of each, three iterations are as near as five.

    Args:
        iteration: Which, from 0.
        of: How many there may be at most: a single one takes the whole step.
    """
    return _SHARES[min(iteration, len(_SHARES) - 1)] if of > 1 else 1.0


def growth(basis: LandmarkBasis) -> Float64[Tensor, " n_identity"]:
    """How much larger, as a share of its size, the head is per standard deviation of each identity component."""
    about = (basis.mean - basis.mean.mean(dim=-1, keepdim=True)).double()
    return (about[..., None] * basis.identity).sum(dim=(0, 1)) / (about * about).sum()


def step_with_share_of_size(
    information: Float64[Tensor, "tracks n n"],
    downhill: Float64[Tensor, "tracks n"],
    grows: Float64[Tensor, " n"],
    share: float,
) -> Float64[Tensor, "tracks n"]:
    """The Gauss-Newton step of each track, of whose change in size only a share is taken, see `with_share_of_size`.

    Args:
        information: The step's system, positive definite.
        downhill: Its right-hand side.
        grows: See `growth`.
        share: 0 leaves the size as it is, 1 is the whole step.
    """
    factor = torch.linalg.cholesky_ex(information).L
    sides = torch.stack([downhill, grows.expand_as(downhill)], dim=-1)
    half = torch.linalg.solve_triangular(factor, sides, upper=False)
    step, along = torch.linalg.solve_triangular(factor.mT, half, upper=True).unbind(-1)
    return with_share_of_size(step, along, grows, share)


def with_share_of_size(
    step: Float64[Tensor, "tracks n"],
    along: Float64[Tensor, "tracks n"],
    grows: Float64[Tensor, " n"],
    share: float,
) -> Float64[Tensor, "tracks n"]:
    """A Gauss-Newton step, of whose change in size only a share is taken, in the way that costs least energy.

    Args:
        step: The whole step.
        along: The solution of the step's system with `grows` on the right.
        grows: See `growth`.
        share: 0 leaves the size as it is, 1 is the whole step.
    """
    # Without a component that changes the size there is nothing to share.
    per_along = (along * grows).sum(-1).clamp_min(torch.finfo(torch.float64).tiny)
    return step + (share - 1.0) * ((step * grows).sum(-1) / per_along)[:, None] * along
