"""The paper's own fit (Koujan et al., FG 2020): cameras first, then one bounded linear least squares for all shapes.

With the cameras held, landmarks are linear in the identity i and the expressions e_1 .. e_F of the video, so

    c_l sum_f |landmarks_f - projected_f(i, e_f)|^2 + c_id |i|^2 + c_exp sum_f |e_f|^2
      + c_sm sum_f |e_(f-1) - 2 e_f + e_(f+1)|^2        within boxes

is one convex problem with one solution. The paper names these terms, not their weights: these here are the published
defaults of the same authors' earlier video fit (Booth et al., PAMI 2018: c_l = 1, c_id = the number of frames,
c_exp = 3, c_sm = 6, second differences), with landmarks in standard deviations, where theirs are in pixels. Their
boxes are not known for coefficients in standard deviations either; BOX_SD is ours. None of this decides much: on
synthetic videos, boxes of 0.8 to 3, a third to three times c_exp, ten times c_sm, and other smoothing of the cameras
change the errors of identity and expression by less than a tenth. What decides is that cameras come first. MATLAB's
reflective trust region, which they name, and the active set used here end in the same solution.

What differs from the two-stage fit: the cameras never learn of the person's shape or expression, nothing is robust,
expressions are optimised rather than integrated out, and smoothness shrinks their amplitude.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float64
from scipy.linalg import solveh_banded
from scipy.ndimage import gaussian_filter1d

from fitting.baselines.problem import Parameters, Problem
from fitting.baselines.result import BaselineFit

EXPRESSION_WEIGHT = 3.0
SMOOTHNESS_WEIGHT = 6.0
BOX_SD = 3.0
"""No coefficient lies farther from 0 than this."""
CAMERA_FRAMES = 2.0
"""Width of the Gaussian by which the rotations are smoothed over time, frames."""
ACTIVE_SET_ROUNDS = 40


def fit_koujan2020(problem: Problem, first: Parameters) -> BaselineFit:
    """Fit one track as the paper does; takes about 70 kB of memory a frame.

    Args:
        problem: The track.
        first: Cameras of the mean face; coefficients are not looked at.
    """
    at = smooth_cameras(problem, first)
    quadratic = shape_problem(problem, at)
    identity, expression, rounds = quadratic.solve(BOX_SD)
    variance = np.linalg.inv(quadratic.blocks + quadratic.stencil[:, 0, None, None] * np.eye(expression.shape[1]))
    return BaselineFit(
        parameters=replace(at, identity=identity[None], expression=expression),
        expression_sigma=np.sqrt(np.diagonal(variance, axis1=1, axis2=2)),
        converged=rounds < ACTIVE_SET_ROUNDS,
        iterations=rounds,
    )


def smooth_cameras(problem: Problem, first: Parameters) -> Parameters:
    """Rotations smoothed over time; then, given these, the scale and translation that fit the mean face best."""
    mean = first.rotation if len(first.rotation) < 2 else gaussian_filter1d(first.rotation, CAMERA_FRAMES, axis=0)
    u, _, vt = np.linalg.svd(mean)
    # The nearest rotation to the mean matrix.
    u[:, :, 2] *= np.linalg.det(u @ vt)[:, None]
    rotation = u @ vt
    turned = problem.mean @ rotation[:, :2].mT
    weight = (problem.weight * problem.precision)[..., None]
    total = np.maximum(weight.sum(axis=1), 1e-12)
    seen, there = (weight * problem.picture).sum(1) / total, (weight * turned).sum(1) / total
    picture, model = problem.picture - seen[:, None], turned - there[:, None]
    product, square = (weight * picture * model).sum((1, 2)), (weight * model * model).sum((1, 2))
    scale = np.where(product > 0, product / np.maximum(square, 1e-12), first.scale)
    return replace(first, rotation=rotation, scale=scale, translation=seen - scale[:, None] * there)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeProblem:
    """`1/2 x^T H x - g^T x` over x = (i, e_1, .., e_F), as blocks.

    Attributes:
        identity: Hessian of the identity, prior included.
        coupling: Between each frame's expression and the identity.
        blocks: Hessian of each frame's expression, without priors.
        stencil: The priors of the expressions, a multiple of the identity matrix in each block: with the frame itself,
            the next, and the one after that.
        identity_gradient: Of g.
        expression_gradient: Of g.
    """

    identity: Float64[np.ndarray, "n_identity n_identity"]
    coupling: Float64[np.ndarray, "frames n_expression n_identity"]
    blocks: Float64[np.ndarray, "frames n_expression n_expression"]
    stencil: Float64[np.ndarray, "frames 3"]
    identity_gradient: Float64[np.ndarray, " n_identity"]
    expression_gradient: Float64[np.ndarray, "frames n_expression"]

    def solve(
        self, box_sd: float
    ) -> tuple[Float64[np.ndarray, " n_identity"], Float64[np.ndarray, "frames n_expression"], int]:
        """The minimum over -box_sd <= x <= box_sd, and the rounds that it took.

        Primal-dual active set (Hintermueller, Ito and Kunisch 2002): solve with the active coefficients at their
        bounds, then let go those whose gradient points inwards and add those that lie outside, until none changes.
        """
        n_identity = len(self.identity)
        gradient = np.concatenate([self.identity_gradient, self.expression_gradient.ravel()])
        diagonal = np.concatenate([np.diag(self.identity), (self._diagonal()).ravel()])
        side, rounds, settled = np.zeros(len(gradient)), 0, False
        while not settled and rounds < ACTIVE_SET_ROUNDS:
            x = self._solve_fixed(side != 0, side * box_sd)
            # Beyond its bound, or held there by a gradient that points outwards.
            push = (gradient - self.times(x)) / diagonal
            reach = x + np.where(side != 0, push, 0.0)
            changed = np.where(reach > box_sd, 1.0, np.where(reach < -box_sd, -1.0, 0.0))
            settled = bool((changed == side).all())
            side, rounds = changed, rounds + 1
        x = np.clip(x, -box_sd, box_sd)
        return x[:n_identity], x[n_identity:].reshape(self.expression_gradient.shape), rounds

    def times(self, x: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
        """H x."""
        i, e = x[: len(self.identity)], x[len(self.identity) :].reshape(self.expression_gradient.shape)
        product = (self.blocks @ e[..., None])[..., 0] + self.stencil[:, :1] * e + self.coupling @ i
        for gap in (1, 2):
            weight = self.stencil[:-gap, gap : gap + 1]
            product[:-gap] += weight * e[gap:]
            product[gap:] += weight * e[:-gap]
        return np.concatenate([self.identity @ i + np.einsum("fen,fe->n", self.coupling, e), product.ravel()])

    def _diagonal(self) -> Float64[np.ndarray, "frames n_expression"]:
        return np.asarray(np.diagonal(self.blocks, axis1=1, axis2=2) + self.stencil[:, :1])

    def _solve_fixed(
        self, fixed: Bool[np.ndarray, " n"], values: Float64[np.ndarray, " n"]
    ) -> Float64[np.ndarray, " n"]:
        """H x = g in the free coefficients, with the others at their values."""
        n_identity, n_expression = len(self.identity), self.blocks.shape[-1]
        right = np.concatenate([self.identity_gradient, self.expression_gradient.ravel()]) - self.times(values * fixed)
        right = np.where(fixed, 0.0, right)
        free_i, free_e = ~fixed[:n_identity], ~fixed[n_identity:].reshape(-1, n_expression)
        band = self._band(free_e)
        sides = (self.coupling * free_e[..., None]).reshape(-1, n_identity)[:, free_i]
        sides_and_right = np.column_stack([sides, right[n_identity:]])
        solved = solveh_banded(band, sides_and_right, overwrite_ab=True, check_finite=False)
        schur = self.identity[np.ix_(free_i, free_i)] - sides.T @ solved[:, :-1]
        step = np.zeros_like(values)
        step[np.flatnonzero(free_i)] = np.linalg.solve(schur, right[:n_identity][free_i] - sides.T @ solved[:, -1])
        step[n_identity:] = solved[:, -1] - solved[:, :-1] @ step[np.flatnonzero(free_i)]
        return np.asarray(np.where(fixed, values, step))

    def _band(self, free: Bool[np.ndarray, "frames n_expression"]) -> Float64[np.ndarray, "band n"]:
        """Upper band of the expressions' Hessian; rows and columns that are not free are those of the unit matrix."""
        frames, size = free.shape
        band = np.zeros((2 * size + 1, frames * size))
        both = free[:, :, None] & free[:, None, :]
        block = np.where(both, self.blocks, 0.0)
        for gap in range(size):
            # Element (a, a + gap) of every block lies in row `2 size - gap`, at column a + gap of the block.
            band[2 * size - gap].reshape(frames, size)[:, gap:] = np.diagonal(block, offset=gap, axis1=1, axis2=2)
        band[2 * size].reshape(frames, size)[...] += np.where(free, self.stencil[:, :1], 1.0)
        for gap in (1, 2):
            joined = free[:-gap] & free[gap:]
            band[2 * size - gap * size].reshape(frames, size)[gap:] += self.stencil[:-gap, gap : gap + 1] * joined
        return band


def shape_problem(problem: Problem, at: Parameters) -> ShapeProblem:
    """The energy above for known cameras; half of it, which has the same minimum."""
    frames = len(problem.picture)
    root = np.sqrt(problem.weight * problem.precision)[..., None]
    mean = at.scale[:, None, None] * (problem.mean @ at.rotation[:, :2].mT) + at.translation[:, None]
    residual = (root * (problem.picture - mean)).reshape(frames, -1)
    by_identity = (root[..., None] * problem.moved_by(at, problem.identity_basis)).reshape(*residual.shape, -1)
    by_expression = (root[..., None] * problem.moved_by(at, problem.expression_basis)).reshape(*residual.shape, -1)
    flat = by_identity.reshape(-1, by_identity.shape[-1])
    return ShapeProblem(
        identity=flat.T @ flat + frames * np.eye(flat.shape[1]),
        coupling=by_expression.mT @ by_identity,
        blocks=by_expression.mT @ by_expression,
        stencil=_stencil(frames),
        identity_gradient=flat.T @ residual.ravel(),
        expression_gradient=(by_expression.mT @ residual[..., None])[..., 0],
    )


def _stencil(frames: int) -> Float64[np.ndarray, "frames 3"]:
    """Diagonals 0, 1 and 2 of `c_exp I + c_sm D^T D`, with D the second differences."""
    stencil = np.zeros((frames, 3))
    stencil[:, 0] = EXPRESSION_WEIGHT
    for first in range(frames - 2):
        stencil[first : first + 3, 0] += SMOOTHNESS_WEIGHT * np.array([1.0, 4.0, 1.0])
        stencil[first : first + 2, 1] += SMOOTHNESS_WEIGHT * -2.0
        stencil[first, 2] += SMOOTHNESS_WEIGHT
    return stencil
