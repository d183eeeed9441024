"""The E-step of learning a detector's errors and what faces do: expected moments of one track.

Per frame f of track k, landmarks in millimetres of the head obey, linearised about a fit,

    z_kf = A_f c_kf + E_f e_kf + B_f i_k + R_f (o + b_k) + n_kf

with the camera's step c ~ N(0, `CAMERA_SD`^2), the expression e ~ N(mu, C), the identity i ~ N(0, 1), the detector's
mean offset o and what it errs by on this face, b_k ~ N(0, beta_l^2), both fixed to the head, and n ~ N(0, nu_l^2) per
coordinate.
Camera, expression and identity are integrated out, as in EM for shapes in motion (Torresani, Hertzmann and Bregler,
PAMI 2008): residuals of a fit alone take for precise whatever point the model can reach. Frames are eliminated first;
what is left per track is one dense system in identity and displacements.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from fitting.linear_track import LinearTrack

CAMERA_SD = np.array([0.02, 0.035, 0.035, 0.035, 2.0, 2.0])
"""How far cameras may be from the fit: log scale, turns in rad, shift in mm. The fit has found out how large the head
is; in the linear model, where scale multiplies the expressions that it was linearised at, it would shrink."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """What EM estimates.

    Attributes:
        offset_mm: o, head frame.
        bias_mm: beta.
        noise_mm: nu, as it counts in the fit.
        expression_mean: mu, standard deviations of the model.
        expression_covariance: C.
    """

    offset_mm: Float64[np.ndarray, "points 3"]
    bias_mm: Float64[np.ndarray, " points"]
    noise_mm: Float64[np.ndarray, " points"]
    expression_mean: Float64[np.ndarray, " n_expression"]
    expression_covariance: Float64[np.ndarray, "n_expression n_expression"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Expected moments of one track, given the corpus.

    Attributes:
        displaced_mm: o + b, posterior mean.
        displaced_variance: Its variance, mean over the axes, mm^2.
        squared_residual: Expected n^2 in picture x and y, weighted mean over frames, mm^2.
        expression: Mean of e over frames.
        expression_square: Mean of e e^T over frames.
    """

    displaced_mm: Float64[np.ndarray, "points 3"]
    displaced_variance: Float64[np.ndarray, " points"]
    squared_residual: Float64[np.ndarray, "points 2"]
    expression: Float64[np.ndarray, " n_expression"]
    expression_square: Float64[np.ndarray, "n_expression n_expression"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Frame:
    """One frame, eliminated: its own coefficients are `base - slope @ shared`, up to `covariance`."""

    own: Float64[np.ndarray, "points 2 own"]
    covariance: Float64[np.ndarray, "own own"]
    base: Float64[np.ndarray, " own"]
    slope: Float64[np.ndarray, "own shared"]


def moments(track: LinearTrack, corpus: Corpus) -> Moments:
    """The E-step for one track.

    Args:
        track: The track.
        corpus: What is believed so far.
    """
    frames, points = track.weight.shape
    n_identity, n_expression = track.identity.shape[-1], track.expression.shape[-1]
    hessian, right = _prior(corpus, n_identity)
    eliminated = [_eliminated(track, f, corpus, hessian, right) for f in range(frames)]
    covariance = np.linalg.inv(hessian)
    mean = covariance @ right
    blocks = _blocks(covariance, n_identity)
    squares, total = np.zeros((points, 2)), np.zeros(points)
    expression, expression_square = np.zeros(n_expression), np.zeros((n_expression, n_expression))
    for f, frame in enumerate(eliminated):
        own = frame.base - frame.slope @ mean
        shared = _shared(track, f)
        # Seen from the picture: own coefficients given the shared ones, and the shared ones with what they entail.
        drawn = frame.slope @ covariance
        own_covariance = frame.covariance + drawn @ frame.slope.T
        cross = _at_points(drawn, n_identity)
        spread = (
            np.einsum("pao,oq,paq->pa", frame.own, own_covariance, frame.own, optimize=True)
            + np.einsum("pas,pst,pat->pa", shared, blocks, shared, optimize=True)
            - 2 * np.einsum("pao,pos,pas->pa", frame.own, cross, shared, optimize=True)
        )
        moved = np.einsum("pas,ps->pa", shared, _at_points(mean, n_identity))
        residual = track.observed_mm[f] - frame.own @ own - moved
        squares += track.weight[f][:, None] * (residual**2 + spread)
        total += track.weight[f]
        expression += own[6:]
        expression_square += np.outer(own[6:], own[6:]) + own_covariance[6:, 6:]
    return Moments(
        displaced_mm=mean[n_identity:].reshape(points, 3),
        displaced_variance=covariance.diagonal()[n_identity:].reshape(points, 3).mean(axis=1),
        squared_residual=squares / np.maximum(total, 1e-12)[:, None],
        expression=expression / frames,
        expression_square=expression_square / frames,
    )


def _prior(
    corpus: Corpus, n_identity: int
) -> tuple[Float64[np.ndarray, "shared shared"], Float64[np.ndarray, " shared"]]:
    precision = np.repeat(corpus.bias_mm**-2, 3)
    hessian = np.diag(np.concatenate([np.ones(n_identity), precision]))
    return hessian, np.concatenate([np.zeros(n_identity), precision * corpus.offset_mm.ravel()])


def _eliminated(
    track: LinearTrack,
    f: int,
    corpus: Corpus,
    hessian: Float64[np.ndarray, "shared shared"],
    right: Float64[np.ndarray, " shared"],
) -> _Frame:
    """Adds what frame f says of the shared unknowns to `hessian` and `right`, and returns the rest."""
    points, n_identity = track.weight.shape[1], track.identity.shape[-1]
    weight = track.weight[f] / corpus.noise_mm**2
    prior = np.linalg.inv(corpus.expression_covariance)
    own = np.concatenate([track.camera[f], track.expression[f]], axis=-1)
    rows = own.reshape(2 * points, -1)
    weighted = (weight[:, None, None] * own).reshape(2 * points, -1)
    z = track.observed_mm[f]
    block = weighted.T @ rows
    block[6:, 6:] += prior
    block[np.arange(6), np.arange(6)] += CAMERA_SD**-2
    pull = weighted.T @ z.ravel()
    pull[6:] += prior @ corpus.expression_mean
    covariance = np.linalg.inv(block)
    by_person, by_point = track.identity[f].reshape(2 * points, -1), track.rotation[f]
    # A displacement moves one landmark only, so its rows are never written out.
    moved = np.einsum("pao,ac->opc", weighted.reshape(points, 2, -1), by_point).reshape(len(pull), -1)
    coupling = np.concatenate([weighted.T @ by_person, moved], axis=1)
    person = (weight[:, None, None] * track.identity[f]).reshape(2 * points, -1)
    hessian[:n_identity, :n_identity] += person.T @ by_person
    across = np.einsum("pai,ac->ipc", person.reshape(points, 2, -1), by_point).reshape(n_identity, -1)
    hessian[:n_identity, n_identity:] += across
    hessian[n_identity:, :n_identity] += across.T
    square = by_point.T @ by_point
    for a in range(3):
        for b in range(3):
            at = n_identity + 3 * np.arange(points)
            hessian[at + a, at + b] += weight * square[a, b]
    right[:n_identity] += person.T @ z.ravel()
    right[n_identity:] += (weight[:, None] * (z @ by_point)).ravel()
    base, slope = covariance @ pull, covariance @ coupling
    hessian -= coupling.T @ slope
    right -= coupling.T @ base
    return _Frame(own=own, covariance=covariance, base=base, slope=slope)


def _shared(track: LinearTrack, f: int) -> Float64[np.ndarray, "points 2 n"]:
    """Derivative of each landmark by the identity and by its own displacement."""
    points = track.weight.shape[1]
    return np.concatenate([track.identity[f], np.broadcast_to(track.rotation[f], (points, 2, 3))], axis=-1)


def _at_points(array: Float64[np.ndarray, "*rows shared"], n_identity: int) -> Float64[np.ndarray, "points *rows n"]:
    """The columns that concern each landmark: the identity's, and those of its own displacement."""
    points = (array.shape[-1] - n_identity) // 3
    identity = np.broadcast_to(array[..., :n_identity], (points, *array.shape[:-1], n_identity))
    own = np.moveaxis(array[..., n_identity:].reshape(*array.shape[:-1], points, 3), -2, 0)
    return np.concatenate([identity, own], axis=-1)


def _blocks(covariance: Float64[np.ndarray, "shared shared"], n_identity: int) -> Float64[np.ndarray, "points n n"]:
    """Joint covariance of the identity and each landmark's displacement."""
    rows = _at_points(covariance, n_identity)
    points = len(rows)
    own = np.arange(n_identity, n_identity + 3 * points).reshape(points, 3)
    wanted = np.concatenate([np.broadcast_to(np.arange(n_identity), (points, n_identity)), own], axis=1)
    return np.take_along_axis(rows, wanted[:, :, None], axis=1)
