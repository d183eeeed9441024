"""The focal length of a video: tried out, as it is one number and hardly depends on anything else that is cheap.

How much nearer the nose is than the ears shows in the picture only by a few percent, and shape can explain most of
it: the energy as a function of the focal length is flat and wide. A step of Gauss-Newton on it would go astray; a few
trials on a logarithmic scale and a parabola through the best three do not.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

TRIALS = (0.6, 0.9, 1.35, 2.0, 3.0, 4.5)
"""Focal lengths that are tried, over the picture's longer side: from the wide front camera of a phone (80 degrees
across) to a telephoto lens (13 degrees)."""
USUAL = 1.3
USUAL_LOG_SD = 0.7
"""What to expect before having seen the video: most cameras lie within a factor of two."""


def best_focal(
    longer_side: Float[Tensor, " tracks"],
    energy_of: Callable[[Float[Tensor, " tracks"]], Float[Tensor, " tracks"]],
) -> Float[Tensor, " tracks"]:
    """The focal length of each track with the least energy, its prior included.

    Args:
        longer_side: The longer side of each track's picture; focal lengths come in its unit.
        energy_of: Energy (minus log probability) of each track at a focal length each.

    Returns:
        Focal lengths between the first and the last of `TRIALS` times the longer side.
    """
    grid = [math.log(trial) for trial in TRIALS]
    energies = []
    for place in grid:
        prior = 0.5 * ((place - math.log(USUAL)) / USUAL_LOG_SD) ** 2
        # A trial that failed is no candidate.
        energies.append((energy_of(longer_side * math.exp(place)).double() + prior).nan_to_num(nan=math.inf))
    values = torch.stack(energies, dim=-1)
    best = values.argmin(dim=-1).clamp(1, len(grid) - 2)
    places = torch.tensor(grid, dtype=torch.float64, device=longer_side.device)
    x = torch.stack([places[best - 1], places[best], places[best + 1]], dim=-1)
    y = torch.stack([values.gather(-1, (best + shift)[:, None])[:, 0] for shift in (-1, 0, 1)], dim=-1)
    # The parabola through three points, by divided differences.
    first = (y[:, 1] - y[:, 0]) / (x[:, 1] - x[:, 0])
    second = ((y[:, 2] - y[:, 1]) / (x[:, 2] - x[:, 1]) - first) / (x[:, 2] - x[:, 0])
    lowest = 0.5 * (x[:, 0] + x[:, 1] - first / second.clamp_min(1e-12))
    plain = places[values.argmin(dim=-1)]
    usable = torch.isfinite(y).all(dim=-1) & (second > 0)
    found = torch.where(usable, lowest, plain).clamp(grid[0], grid[-1])
    focal: Tensor = longer_side * found.exp().to(longer_side.dtype)
    return focal
