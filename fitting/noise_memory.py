"""How long the noise of a track's landmarks lasts, and how much less is known because it does.

The fit takes the noise of one frame to be independent of the last frame's. Errors of detectors are not, least of all
where landmarks were smoothed: the neighbours of a frame then say less about it than they seem to. How the noise
remembers is seen in what the fit leaves over. For the rest a scalar stands for every coefficient: a process of
`matern_prior` seen through noise of variance 1 / h in every frame, forwards and backwards in time. For white noise its
filter is Wiener's, and its error has a variance v(h); the same filter on noise with memory has another one (both are
integrals over frequencies), and the ratio is what the posterior variance lacks.
"""

import math

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from fitting.matern_prior import MaternPrior
from fitting.ragged import TimeMajor

LONGEST_MEMORY = 0.98
"""Correlation from one frame to the next; more than this is an error that lasts (`FitOptions.landmark_bias`)."""
_LEAST_VARIANCE = 1e-5
_LOWEST = math.log(_LEAST_VARIANCE)
_ENTRIES = 160
_TRACKS = 32
"""Tracks whose tables are made at once."""


def noise_memory(
    residual: Float[Tensor, "frames 2 points"], weight: Float[Tensor, "frames points"], layout: TimeMajor
) -> Float64[Tensor, " tracks"]:
    """Correlation of each track's residuals from one frame to the next, between 0 and `LONGEST_MEMORY`.

    What a landmark keeps through the whole track does not count.

    Args:
        residual: What the fit leaves over.
        weight: Of each landmark, robust weight and all; 0 where missing.
        layout: Order of the frame axis.
    """
    total = layout.sum_over_time(weight)
    lasting = layout.sum_over_time(residual * weight[:, None]) / total.clamp_min(1e-12)[:, None]
    left = residual - lasting.to(residual.dtype)[layout.track]
    before = layout.previous_or_self
    both = (weight * weight[before]).sqrt() * (layout.previous >= 0)[:, None]
    power = (left * left).sum(1)
    shared = layout.sum_over_time((both * (left * left[before]).sum(1)).sum(-1))
    whole = layout.sum_over_time((both * 0.5 * (power + power[before])).sum(-1))
    memory = (shared / whole.clamp_min(1e-12)).clamp(0.0, LONGEST_MEMORY)
    return torch.where(torch.isfinite(memory), memory, torch.zeros_like(memory))


def smoothed_variances(
    variance: Float[Tensor, "frames n"], memory: Float64[Tensor, " tracks"], prior: MaternPrior
) -> Float[Tensor, "frames n"]:
    """Variances of smoothed coefficients under noise with memory, from those under white noise.

    Args:
        variance: As the fit has them, for a prior variance of 1.
        memory: `noise_memory` of each track.
        prior: The process with a velocity; also for tracks that kept the chain's solution, whose filter is nearly it.
    """
    layout = prior.layout
    later = layout.sum_over_time((layout.previous >= 0).double())
    turn = layout.sum_over_time(prior.turn) / later.clamp_min(1.0)
    chunks = (slice(start, start + _TRACKS) for start in range(0, len(turn), _TRACKS))
    table = torch.cat([_log_ratios(turn[chunk], memory[chunk]) for chunk in chunks])
    # What is not a number stays so in the product.
    known = variance.double().nan_to_num(1.0).clamp(_LEAST_VARIANCE, 1.0)
    place = (1.0 - known.log() / _LOWEST) * (_ENTRIES - 1)
    entry = place.floor().clamp_max(_ENTRIES - 2).long()
    first = layout.track[:, None] * _ENTRIES + entry
    low, high = table.flatten()[first], table.flatten()[first + 1]
    ratio = (low + (place - entry) * (high - low)).exp()
    return variance * ratio.to(variance.dtype)


def averaged_ratio(
    memory: Float64[Tensor, " tracks"], gap: Float64[Tensor, " tracks"]
) -> Float64[Tensor, " tracks"]:
    """How much larger the variance of a mean over frames is, `gap` frames apart, than under white noise."""
    shared = memory**gap
    return (1.0 + shared) / (1.0 - shared)


def _log_ratios(
    turn: Float64[Tensor, " tracks"], memory: Float64[Tensor, " tracks"]
) -> Float64[Tensor, "tracks entries"]:
    """Log of the ratio at log variances evenly spaced from `_LEAST_VARIANCE` to 1."""
    # With tan(w / 2) = exp(u) the frequencies near 0, where all happens, are as dense as they need to be.
    u = torch.linspace(-12.0, 12.0, 121, dtype=torch.float64, device=turn.device)
    square = torch.sigmoid(2.0 * u)
    share = (u[1] - u[0]) / torch.cosh(u) / torch.pi
    signal, noise = _matern_spectrum(turn, square)[:, None], _spectrum(memory, square)[:, None]
    known = torch.logspace(-3.0, 8.0, 177, dtype=torch.float64, device=turn.device)[:, None]
    gain = known * signal / (1.0 + known * signal)
    missed = (1.0 - gain) ** 2 * signal
    white = ((missed + gain**2 / known) * share).sum(-1).log()
    real = ((missed + gain**2 * noise / known) * share).sum(-1).log()
    # Least variance first: it falls as `known` grows.
    white, ratio = white.flip(-1).contiguous(), (real - white).flip(-1).contiguous()
    wanted = torch.linspace(_LOWEST, 0.0, _ENTRIES, dtype=torch.float64, device=turn.device)
    wanted = wanted.expand(len(turn), -1).contiguous()
    right = torch.searchsorted(white, wanted).clamp(1, white.shape[-1] - 1)
    start, stop = white.gather(-1, right - 1), white.gather(-1, right)
    along = ((wanted - start) / (stop - start).clamp_min(1e-12)).clamp(0.0, 1.0)
    return ratio.gather(-1, right - 1) * (1.0 - along) + ratio.gather(-1, right) * along


def _matern_spectrum(
    turn: Float64[Tensor, " tracks"], square: Float64[Tensor, " some"]
) -> Float64[Tensor, "tracks some"]:
    """Of the Matern process, by its rate per frame, at `square = sin^2(w / 2)`: its covariances' Fourier series."""
    r = turn.clamp_min(1e-3)[:, None]
    keep = torch.exp(-r)
    wide = (1.0 - keep) ** 2 + 4.0 * keep * square
    slope = 2.0 * keep * ((1.0 - keep) ** 2 - 2.0 * (1.0 + keep * keep) * square) / (wide * wide)
    return _spectrum(keep[:, 0], square) + r * slope


def _spectrum(
    correlation: Float64[Tensor, " tracks"], square: Float64[Tensor, " some"]
) -> Float64[Tensor, "tracks some"]:
    """Of a first-order autoregressive process of unit variance, at `square = sin^2(w / 2)`."""
    c = correlation.clamp(0.0, 1.0 - 1e-9)[:, None]
    return (1.0 - c * c) / ((1.0 - c) ** 2 + 4.0 * c * square)
