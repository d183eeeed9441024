"""Each frame alone: its own identity, expression and camera; then the mean of the identities.

What a fitter for photos does with a video (Head2Head averages the identity over the frames in the same way), with the
same robust weights and priors as the two-stage fit. The result holds one identity, the mean, beside expressions and
cameras found with other ones: its landmarks lie where somebody who draws the result would find them.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float64

from fitting.baselines.joint_map import FRAMES_AT_ONCE
from fitting.baselines.problem import CAMERA, Array, Parameters, Problem, frame_energies, robust_weights
from fitting.baselines.result import BaselineFit, frame_sigma
from fitting.identity_stage import CONVERGED_STEP, DAMPING_LEAST, DAMPING_START
from fitting.robust_weights import ROBUST_SCALES, robust_scale

_CAMERA_RIDGE = 1e-6


def fit_single_frames(problem: Problem, first: Parameters, *, iterations: int, robust: bool) -> BaselineFit:
    """Damped Gauss-Newton in every frame; each accepts only steps downhill.

    Args:
        problem: The track.
        first: Where to start.
        iterations: Largest number of steps.
        robust: Whether to use Geman-McClure weights.
    """
    pieces = [
        _fit_piece(problem.part(frames), first.part(frames), iterations=iterations, robust=robust)
        for frames in (slice(k, k + FRAMES_AT_ONCE) for k in range(0, len(problem.picture), FRAMES_AT_ONCE))
    ]
    found = [piece.parameters for piece in pieces]
    identity = np.concatenate([at.identity for at in found])
    seen = (problem.weight > 0).any(axis=1)
    return BaselineFit(
        parameters=Parameters(
            identity=identity[seen if seen.any() else slice(None)].mean(axis=0, keepdims=True),
            expression=np.concatenate([at.expression for at in found]),
            scale=np.concatenate([at.scale for at in found]),
            rotation=np.concatenate([at.rotation for at in found]),
            translation=np.concatenate([at.translation for at in found]),
        ),
        expression_sigma=np.concatenate([piece.expression_sigma for piece in pieces]),
        converged=all(piece.converged for piece in pieces),
        iterations=max(piece.iterations for piece in pieces),
    )


def _fit_piece(problem: Problem, first: Parameters, *, iterations: int, robust: bool) -> BaselineFit:
    frames = len(problem.picture)
    at = replace(first, identity=first.identity.repeat(frames // len(first.identity), axis=0))
    damping, running, taken = np.full(frames, DAMPING_START), np.ones(frames, dtype=bool), 0
    while taken < iterations and running.any():
        scale = robust_scale(taken, robust=robust)
        hessian, gradient = _systems(problem, at, scale)
        diagonal = np.arange(hessian.shape[-1])
        damped = hessian.copy()
        damped[:, diagonal, diagonal] *= 1.0 + damping[:, None]
        step = np.linalg.solve(damped, gradient[..., None])[..., 0]
        cut = CAMERA.stop + at.expression.shape[1]
        trial = at.moved(step[:, cut:], step[:, :cut])
        before, after = _energies(problem, at, scale), _energies(problem, trial, scale)
        accepted = running & (after <= before + 1e-9 * np.abs(before))
        at = _chosen(accepted, trial, at)
        damping = np.where(accepted, np.maximum(0.3 * damping, DAMPING_LEAST), 10.0 * damping)
        taken += 1
        if taken >= len(ROBUST_SCALES) or not robust:
            running &= ~(accepted & (np.abs(step[:, CAMERA.stop :]).max(axis=1) < CONVERGED_STEP))
    hessian, _ = _systems(problem, at, robust_scale(taken, robust=robust))
    return BaselineFit(
        parameters=at,
        expression_sigma=frame_sigma(hessian, known=at.identity.shape[1]),
        converged=not running.any(),
        iterations=taken,
    )


def _systems(
    problem: Problem, at: Parameters, scale: float
) -> tuple[Float64[np.ndarray, "frames columns columns"], Float64[np.ndarray, "frames columns"]]:
    """Hessian and downhill gradient of each frame in (camera, expression, identity)."""
    derivative = np.concatenate([problem.derivative(at), problem.moved_by(at, problem.identity_basis)], axis=-1)
    derivative = derivative.reshape(len(derivative), -1, derivative.shape[-1])
    weighted = robust_weights(problem, at, scale).repeat(2, axis=-1)[..., None] * derivative
    ridge = np.ones(derivative.shape[-1])
    ridge[CAMERA] = _CAMERA_RIDGE
    gradient = (weighted.mT @ problem.residual(at).reshape(len(weighted), -1, 1))[..., 0]
    gradient[:, CAMERA.stop :] -= np.concatenate([at.expression, at.identity], axis=1)
    return weighted.mT @ derivative + np.diag(ridge), gradient


def _energies(problem: Problem, at: Parameters, scale: float) -> Float64[np.ndarray, " frames"]:
    return np.asarray(frame_energies(problem, at, scale) + 0.5 * (at.identity**2).sum(-1))


def _chosen(accepted: Bool[np.ndarray, " frames"], trial: Parameters, at: Parameters) -> Parameters:
    def pick(new: Array, old: Array) -> Array:
        return np.where(accepted.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    return Parameters(
        identity=pick(trial.identity, at.identity),
        expression=pick(trial.expression, at.expression),
        scale=pick(trial.scale, at.scale),
        rotation=pick(trial.rotation, at.rotation),
        translation=pick(trial.translation, at.translation),
    )
