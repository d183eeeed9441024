"""Generic tools as judges of ours: scipy's least squares of the same energy, autograd of the same landmark term.

Energies are evaluated in float64 by `fitting.baselines.problem`, which shares no algebra with the solver, and scipy
differentiates by differences. Ten frames, no robust weights, all else as in the fit.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float64
from scipy.optimize import brentq, least_squares

from benchmarks.fit.settings import SCHEME, Setting
from fitting.baselines.fit import first_guess
from fitting.baselines.joint_map import fit_joint_map, joint_energy
from fitting.baselines.problem import CAMERA, Parameters, Problem
from fitting.camera import ScaledOrthographic
from fitting.energy import Observations, frame_blocks, landmark_energy
from fitting.face_model import FaceModel
from fitting.landmark_basis import landmark_basis
from fitting.options import FitOptions
from fitting.preparation import prepare
from fitting.rotation import matrix_from_quaternion
from fitting.solver import fit_tracks
from fitting.synthetic import SyntheticTrack, synthetic_track

FRAMES = 10
_EXACT = 1e-14


def frame_stage_gap(model: FaceModel, setting: Setting, *, seed: int) -> float:
    """How far the second stage's energy lies above scipy's, relative: expressions and cameras, the identity ours."""
    truth = _short(model, setting, seed)
    options = replace(setting.options(), robust=False, frame_iterations=50)
    (fit,) = fit_tracks([truth.sequence], model, options)
    problem, first, sigma_px, centre_px = _problem(model, truth, options)
    identity = fit.identity.astype(np.float64)[None]
    ours = Parameters(
        identity=identity,
        expression=fit.expression.astype(np.float64),
        scale=fit.scale_px_per_mm.astype(np.float64) / sigma_px,
        rotation=matrix_from_quaternion(torch.from_numpy(fit.rotation_wxyz).double()).numpy(),
        translation=(fit.translation_px - centre_px) / sigma_px,
    )
    covariance = _matern_covariance(truth.sequence.pts_s, 1.0 - 0.5 / options.expression_smoothness)
    whitened = np.linalg.inv(np.linalg.cholesky(covariance))

    def prior(at: Parameters) -> Float64[np.ndarray, " n"]:
        return np.asarray(whitened @ at.expression).ravel()

    best = _scipy(problem, replace(first, identity=identity), prior, box_sd=options.box_sd, with_identity=False)
    return (_cost(problem, ours, prior) - best) / best


def _matern_covariance(pts_s: Float64[np.ndarray, " n"], keep: float) -> Float64[np.ndarray, "n n"]:
    """Of a Matern process of order 3/2 and unit variance, whose correlation over 1/30 s is `keep`."""
    rate = 30.0 * brentq(lambda step: (1.0 + step) * np.exp(-step) - keep, 0.0, 50.0, xtol=1e-14)
    distance = rate * np.abs(pts_s[:, None] - pts_s)
    return np.asarray((1.0 + distance) * np.exp(-distance))


def joint_gap(model: FaceModel, setting: Setting, *, seed: int) -> float:
    """The same for the joint MAP fit: identity, expressions and cameras at once, Schur complement and all."""
    truth = _short(model, setting, seed)
    problem, first, _, _ = _problem(model, truth, setting.options())
    fit = fit_joint_map(problem, first, iterations=300, robust=False)

    def prior(at: Parameters) -> Float64[np.ndarray, " n"]:
        return np.concatenate([at.identity.ravel(), at.expression.ravel()])

    best = _scipy(problem, first, prior, box_sd=None, with_identity=True)
    return (joint_energy(problem, fit.parameters, float("inf")) - best) / best


def jacobian_gap(model: FaceModel, setting: Setting) -> float:
    """Largest relative difference of the solver's gradient and Gauss-Newton blocks from autograd's, float64."""
    truth = _short(model, setting, 0)
    problem, first, _, _ = _problem(model, truth, setting.options())
    basis = landmark_basis(model, SCHEME, device="cpu")
    wide = replace(
        basis,
        **{name: getattr(basis, name).double() for name in ("mean", "identity", "expression", "noise_ratio")},
    )  # fmt: skip
    observed = Observations(
        points=torch.from_numpy(np.ascontiguousarray(problem.picture.transpose(0, 2, 1))),
        weight=torch.from_numpy(problem.weight),
        precision=torch.from_numpy(problem.precision),
    )
    camera = ScaledOrthographic(
        scale=torch.from_numpy(first.scale),
        quaternion=torch.from_numpy(truth.rotation_wxyz),
        translation=torch.from_numpy(first.translation),
    )
    frames = len(first.scale)
    expression = torch.from_numpy(truth.expression)
    identity = wide.identities(torch.from_numpy(truth.identity)[None])

    def head(step: torch.Tensor) -> torch.Tensor:
        return identity + wide.expressions(expression + step[:, CAMERA.stop :])

    def energies(step: torch.Tensor) -> torch.Tensor:
        return landmark_energy(observed, camera.updated(step[:, CAMERA]), head(step), float("inf"))

    def residual_rows(step: torch.Tensor) -> torch.Tensor:
        moved = camera.updated(step[:, CAMERA])
        turned = torch.bmm(moved.scale[:, None, None] * moved.rotation()[:, :2], head(step))
        rows = (turned + moved.translation[:, :, None]) * (observed.weight * observed.precision).sqrt()[:, None]
        return rows.flatten(1).sum(0)

    still = torch.zeros(frames, CAMERA.stop + expression.shape[1], dtype=torch.float64)
    blocks = frame_blocks(observed, camera, head(still), wide, float("inf"))
    gradient = -_jacobian(lambda step: energies(step).sum(), still)
    ours = torch.cat([blocks.camera_gradient, blocks.expression_gradient], dim=-1)
    # Rows are summed over frames, each of which depends on its own step alone.
    jacobian = _jacobian(residual_rows, still).transpose(0, 1)
    product = jacobian.mT @ jacobian
    upper = torch.cat([blocks.camera_camera, blocks.camera_expression], dim=-1)
    lower = torch.cat([blocks.camera_expression.mT, blocks.expression_expression], dim=-1)
    gaps = ((ours, gradient), (torch.cat([upper, lower], dim=1), product))
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in gaps)


def _jacobian(function: Callable[[torch.Tensor], torch.Tensor], at: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = torch.autograd.functional.jacobian(function, at)  # type: ignore[no-untyped-call]
    return found


def _short(model: FaceModel, setting: Setting, seed: int) -> SyntheticTrack:
    return synthetic_track(model, SCHEME, replace(setting.video, frames=FRAMES), seed=seed)


def _problem(
    model: FaceModel, truth: SyntheticTrack, options: FitOptions
) -> tuple[Problem, Parameters, float, Float64[np.ndarray, "frames 2"]]:
    basis = landmark_basis(model, SCHEME, device="cpu")
    (prepared,) = prepare([truth.sequence], basis, options)
    assert prepared is not None, "a synthetic video can be prepared"
    problem, first = first_guess(prepared, basis, np.arange(truth.sequence.weight.shape[1]))
    return problem, first, prepared.sigma_px, prepared.centre_px


Prior = Callable[[Parameters], Float64[np.ndarray, " n"]]


def _rows(problem: Problem, at: Parameters, prior: Prior) -> Float64[np.ndarray, " rows"]:
    root = np.sqrt(problem.weight * problem.precision)[..., None]
    return np.concatenate([(root * problem.residual(at)).ravel(), prior(at)])


def _cost(problem: Problem, at: Parameters, prior: Prior) -> float:
    return 0.5 * float((_rows(problem, at, prior) ** 2).sum())


def _scipy(problem: Problem, first: Parameters, prior: Prior, *, box_sd: float | None, with_identity: bool) -> float:
    """The lowest energy that scipy finds from the same start."""
    frames, n_expression = first.expression.shape
    columns = CAMERA.stop + n_expression
    n_identity = first.identity.shape[1] if with_identity else 0

    def at(x: Float64[np.ndarray, " n"]) -> Parameters:
        return first.moved(x[:n_identity] if n_identity else np.zeros(1), x[n_identity:].reshape(frames, columns))

    reach = np.full((frames, columns), np.inf)
    if box_sd is not None:
        reach[:, CAMERA.stop :] = box_sd
    bounds = np.concatenate([np.full(n_identity, np.inf), reach.ravel()])

    def rows(x: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " rows"]:
        return _rows(problem, at(x), prior)

    found = least_squares(
        rows, np.zeros(n_identity + frames * columns), method="trf", bounds=(-bounds, bounds), x_scale="jac",
        ftol=_EXACT, xtol=_EXACT, gtol=_EXACT,
    )  # fmt: skip
    return float(found.cost)


def cost_gap(model: FaceModel, setting: Setting, seeds: Sequence[int]) -> float:
    """The larger of both gaps over some videos; a fit that lies below scipy's counts as level."""
    gaps = [gap(model, setting, seed=seed) for seed in seeds for gap in (frame_stage_gap, joint_gap)]
    return max(0.0, *gaps)
