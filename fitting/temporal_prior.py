"""How slowly the expressions of one track move, from its landmarks: the smoothness of greatest evidence.

At one linearisation, with the camera eliminated, frame t says of its expression what a Gaussian of information H_t and
information vector y_t says. Along the eigenvectors of the mean H the components are nearly independent, and as the
Ornstein-Uhlenbeck prior of `smooth_prior` is the same in every direction, each is a scalar process of unit variance
seen through white noise. A scalar Kalman filter per component gives the evidence of every smoothness on a grid
(Schweppe 1965); the best one, by a parabola through its neighbours, is taken.

A few frames say little: the smoothness that real faces have on average counts as one more witness.
"""

import math

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from fitting.ragged import TimeMajor
from fitting.shared_product import times_column
from fitting.smooth_prior import keep_over

USUAL_SMOOTHNESS = 4.0
"""Of real faces, on seven videos, when all components were listened to; see `FitOptions.expression_smoothness`."""
SMOOTHNESSES = tuple(2.0**power for power in range(-1, 7))
"""What is tried: an octave apart, from next to nothing to 64."""
_USUAL_SPREAD = 2.0
"""Octaves by which tracks differ from the usual smoothness, standard deviation."""
_COMPONENTS = 8
"""How many are listened to, the best known ones, which are nearest to independent. Random paths of smoothness 16 on
ICT-FaceKit, 300 frames: at 1 px of noise the best 8 of 28 say 17 and all of them 12, at 2 px 13 and 9."""
_CHUNK = 512
"""Frames at once."""


def learnt_smoothness(
    information: Float[Tensor, "frames n n"],
    vector: Float[Tensor, "frames n"],
    spacing_s: Float64[Tensor, " frames"],
    layout: TimeMajor,
) -> Float64[Tensor, " tracks"]:
    """The smoothness of greatest evidence of each track.

    Args:
        information: What each frame's landmarks say of its expression, inverse covariance; 0 where there are none.
        vector: That, times the expression that they say.
        spacing_s: Time since the frame before; any number at a track's first frame.
        layout: Order of the frame axis.
    """
    known, said = _along_eigenvectors(information, vector, layout)
    evidence = _evidence(known, said, spacing_s, layout)
    octaves = torch.tensor([math.log2(s) for s in SMOOTHNESSES], dtype=torch.float64, device=evidence.device)
    evidence = evidence - 0.5 * ((octaves - math.log2(USUAL_SMOOTHNESS)) / _USUAL_SPREAD) ** 2
    # A track whose numbers broke down has the usual smoothness, as one has that says nothing.
    broken = ~torch.isfinite(evidence).all(dim=-1)
    best = evidence.argmax(dim=-1).clamp(1, len(SMOOTHNESSES) - 2)[:, None]
    low, mid, high = (evidence.gather(1, best + offset)[:, 0] for offset in (-1, 0, 1))
    bend = low - 2.0 * mid + high
    shift = torch.where(bend < 0, 0.5 * (low - high) / bend.clamp_max(-1e-9), torch.zeros_like(bend)).clamp(-1.0, 1.0)
    found = torch.exp2(octaves[best[:, 0]] + shift * float(octaves[1] - octaves[0]))
    return torch.where(broken, torch.full_like(found, USUAL_SMOOTHNESS), found)


def _along_eigenvectors(
    information: Float[Tensor, "frames n n"], vector: Float[Tensor, "frames n"], layout: TimeMajor
) -> tuple[Float[Tensor, "frames best"], Float[Tensor, "frames best"]]:
    total = layout.sum_over_time(information)
    # Eigenvectors of what is not a number are never looked at: `learnt_smoothness` sees that it is not.
    _, vectors = torch.linalg.eigh(torch.where(torch.isfinite(total), total, torch.zeros_like(total)))
    best = vectors[..., -_COMPONENTS:].to(information.dtype)
    known = vector.new_empty(len(vector), best.shape[-1])
    said = torch.empty_like(known)
    for start in range(0, len(vector), _CHUNK):
        part = slice(start, start + _CHUNK)
        turn = best[layout.track[part]]
        known[part] = (torch.bmm(information[part], turn) * turn).sum(1)
        said[part] = times_column(turn.mT, vector[part])
    return known, said


def _evidence(
    known: Float[Tensor, "frames n"],
    said: Float[Tensor, "frames n"],
    spacing_s: Float64[Tensor, " frames"],
    layout: TimeMajor,
) -> Float64[Tensor, "tracks smoothness"]:
    """Log evidence of each smoothness, up to a constant of the track."""
    grid = torch.tensor(SMOOTHNESSES, dtype=torch.float64, device=known.device)
    keep = keep_over(spacing_s[:, None], grid)[..., None].to(known.dtype)
    out = known.new_zeros(len(known), len(SMOOTHNESSES))
    mean = variance = known.new_zeros(0)
    for number, step in enumerate(layout.steps):
        count = step.stop - step.start
        if number == 0:
            mean = known.new_zeros(count, len(SMOOTHNESSES), known.shape[-1])
            variance = torch.ones_like(mean)
        else:
            k = keep[step]
            mean = k * mean[:count]
            variance = 1.0 + k * k * (variance[:count] - 1.0)
        # With z = y / h of variance 1 / h: log N(z; m, v + 1 / h), written so that h may be 0.
        h, y = known[step][:, None], said[step][:, None]
        gain = 1.0 + h * variance
        surprise = y - h * mean
        explained = variance * surprise * surprise / gain + 2.0 * y * mean - h * mean * mean
        out[step] = -0.5 * (gain.log() - explained).sum(-1)
        variance = variance / gain
        mean = mean + variance * surprise
    return layout.sum_over_time(out)
