"""The textbook fit: the most probable identity, expressions and cameras of a track, all optimised together.

    1/2 sum_f sum_l w_fl |r_fl|^2 + 1/2 |i|^2 + 1/2 sum_f |e_f|^2

What differs from the two-stage fit: the expressions are optimised, not integrated out, all frames count in full, and
nothing is smooth over time. The head then shrinks with every frame (see `fitting.identity_stage`), which is why this
is here: to show by how much.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float64

from fitting.baselines.problem import CAMERA, Array, Parameters, Problem, frame_energies, robust_weights
from fitting.baselines.result import BaselineFit, frame_sigma
from fitting.identity_stage import CONVERGED_STEP, DAMPING_LEAST, DAMPING_START
from fitting.robust_weights import ROBUST_SCALES, robust_scale

FRAMES_AT_ONCE = 256
_CAMERA_RIDGE = 1e-6


def fit_joint_map(problem: Problem, first: Parameters, *, iterations: int, robust: bool) -> BaselineFit:
    """Gauss-Newton with the frames eliminated (Schur complement), damped; accepts only steps downhill.

    Args:
        problem: The track.
        first: Where to start, with one identity for all frames.
        iterations: Largest number of steps.
        robust: Whether to use Geman-McClure weights, annealed as in the two-stage fit; the textbook has none.
    """
    at, damping, converged, taken = first, DAMPING_START, False, 0
    while taken < iterations and not converged:
        scale = robust_scale(taken, robust=robust)
        identity, frames = joint_step(problem, at, scale=scale, damping=damping)
        trial = at.moved(identity, frames)
        before, after = joint_energy(problem, at, scale), joint_energy(problem, trial, scale)
        taken += 1
        if after <= before + 1e-9 * abs(before):
            at, damping = trial, max(0.3 * damping, DAMPING_LEAST)
            settled = taken >= len(ROBUST_SCALES) or not robust
            converged = settled and float(np.abs(identity).max()) < CONVERGED_STEP
        else:
            damping *= 10.0
    scale = robust_scale(taken, robust=robust)
    sigma = np.concatenate([frame_sigma(_frame_blocks(piece, part, scale)[0]) for piece, part in _pieces(problem, at)])
    return BaselineFit(parameters=at, expression_sigma=sigma, converged=converged, iterations=taken)


def joint_energy(problem: Problem, at: Parameters, scale: float) -> float:
    """The energy above."""
    return float(frame_energies(problem, at, scale).sum() + 0.5 * (at.identity**2).sum())


def joint_step(
    problem: Problem, at: Parameters, *, scale: float, damping: float
) -> tuple[Array, Float64[np.ndarray, "frames columns"]]:
    """One Gauss-Newton step: of the identity, and per frame of camera and expression."""
    n_identity = at.identity.shape[1]
    hessian, gradient = np.eye(n_identity), -at.identity[0]
    for piece, part in _pieces(problem, at):
        block, right, weighted = _frame_blocks(piece, part, scale)
        block = _damped(block, damping)
        by_identity = _rows(piece.moved_by(part, piece.identity_basis))
        coupling = weighted.mT @ by_identity
        root = np.sqrt(robust_weights(piece, part, scale)).repeat(2, axis=-1)
        flat = (by_identity * root[..., None]).reshape(-1, n_identity)
        solved = np.linalg.solve(block, np.concatenate([coupling, right[..., None]], axis=-1))
        eliminated = coupling.reshape(-1, n_identity).T @ solved.reshape(-1, n_identity + 1)
        residual = (piece.residual(part).reshape(len(root), -1) * root).reshape(-1)
        hessian = hessian + flat.T @ flat - eliminated[:, :-1]
        gradient = gradient + flat.T @ residual - eliminated[:, -1]
    identity = np.linalg.solve(hessian + damping * np.diag(1.0 + np.diag(hessian)), gradient)
    steps = []
    for piece, part in _pieces(problem, at):
        block, right, weighted = _frame_blocks(piece, part, scale)
        shift = _rows(piece.moved_by(part, piece.identity_basis @ identity[:, None]))
        remaining = right[..., None] - weighted.mT @ shift
        steps.append(np.linalg.solve(_damped(block, damping), remaining)[..., 0])
    return identity[None], np.concatenate(steps)


def _frame_blocks(
    problem: Problem, at: Parameters, scale: float
) -> tuple[
    Float64[np.ndarray, "frames columns columns"],
    Float64[np.ndarray, "frames columns"],
    Float64[np.ndarray, "frames rows columns"],
]:
    """Hessian and downhill gradient of each frame, and the weighted derivative that they came from."""
    derivative = _rows(problem.derivative(at))
    weight = robust_weights(problem, at, scale).repeat(2, axis=-1)[..., None]
    weighted = weight * derivative
    block = weighted.mT @ derivative
    ridge = np.ones(block.shape[-1])
    ridge[CAMERA] = _CAMERA_RIDGE
    block += np.diag(ridge)
    right = (weighted.mT @ problem.residual(at).reshape(len(block), -1, 1))[..., 0]
    right[:, CAMERA.stop :] -= at.expression
    return block, right, weighted


def _damped(
    block: Float64[np.ndarray, "frames columns columns"], damping: float
) -> Float64[np.ndarray, "frames columns columns"]:
    return np.asarray(block * (1.0 + damping * np.eye(block.shape[-1])))


def _rows(derivative: Float64[np.ndarray, "frames points 2 n"]) -> Float64[np.ndarray, "frames rows n"]:
    return derivative.reshape(len(derivative), -1, derivative.shape[-1])


def _pieces(problem: Problem, at: Parameters) -> Iterator[tuple[Problem, Parameters]]:
    for first in range(0, len(problem.picture), FRAMES_AT_ONCE):
        frames = slice(first, first + FRAMES_AT_ONCE)
        yield problem.part(frames), at.part(frames)
