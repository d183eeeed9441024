"""The methods that the two-stage fit is held against: each solves its own problem, and fails where it must."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.optimize import lsq_linear

from fitting.baselines.fit import first_guess
from fitting.baselines.joint_map import fit_joint_map, joint_energy
from fitting.baselines.koujan2020 import BOX_SD, shape_problem
from fitting.baselines.problem import Parameters, Problem
from fitting.baselines.single_frame import fit_single_frames
from fitting.face_model import FaceModel
from fitting.landmark_basis import landmark_basis
from fitting.metrics import accuracy
from fitting.options import FitMethod, FitOptions
from fitting.preparation import prepare
from fitting.rotation import matrix_from_quaternion
from fitting.solver import fit_tracks
from fitting.synthetic import SyntheticOptions, SyntheticTrack, synthetic_track
from fitting.tracks import LandmarkSequence

BASELINES: tuple[FitMethod, ...] = ("koujan2020", "joint_map", "single_frame")
EXACT = FitOptions(landmark_noise=1 / 89, landmark_bias=0.0)


def track(model: FaceModel, frames: int = 40, noise_px: float = 1.0, seed: int = 0, **more: float) -> SyntheticTrack:
    options = SyntheticOptions(frames=frames, noise_px=noise_px, **more)  # type: ignore[arg-type]
    return synthetic_track(model, "toy68", options, seed=seed)


def problem_of(model: FaceModel, truth: SyntheticTrack) -> tuple[Problem, Parameters]:
    """The track as baselines see it, and the truth in their units."""
    basis = landmark_basis(model, "toy68", device="cpu")
    (prepared,) = prepare([truth.sequence], basis, EXACT)
    assert prepared is not None
    problem, _ = first_guess(prepared, basis, np.arange(68))
    return problem, Parameters(
        identity=truth.identity[None],
        expression=truth.expression,
        scale=truth.scale_px_per_mm / prepared.sigma_px,
        rotation=matrix_from_quaternion(torch.from_numpy(truth.rotation_wxyz)).numpy(),
        translation=(truth.translation_px - prepared.centre_px) / prepared.sigma_px,
    )


def numeric(problem: Problem, at: Parameters, column: int, size: float = 1e-6) -> np.ndarray:
    step = np.zeros((len(at.expression), 6 + at.expression.shape[1]))
    step[:, column] = size
    still = np.zeros_like(at.identity)
    return (problem.residual(at.moved(still, -step)) - problem.residual(at.moved(still, step))) / (2 * size)


def test_the_truth_leaves_no_residual_and_the_derivative_is_the_residuals(toy_model: FaceModel) -> None:
    problem, truth = problem_of(toy_model, track(toy_model, frames=3, noise_px=0.0))
    assert np.abs(problem.residual(truth)).max() < 1e-3
    derivative = problem.derivative(truth)
    for column in range(derivative.shape[-1]):
        np.testing.assert_allclose(derivative[..., column], numeric(problem, truth, column), atol=1e-4)


def test_the_papers_shapes_are_the_truth_where_cameras_are_known_and_there_is_no_noise(toy_model: FaceModel) -> None:
    problem, truth = problem_of(toy_model, track(toy_model, frames=30, noise_px=0.0))
    small = dataclasses.replace(truth, identity=0.5 * truth.identity, expression=0.5 * truth.expression)
    exact = dataclasses.replace(problem, picture=problem.picture - problem.residual(small))
    # Landmarks a thousand times surer than the priors.
    sure = dataclasses.replace(exact, weight=1e6 * exact.weight)
    identity, expression, _ = shape_problem(sure, small).solve(BOX_SD)
    np.testing.assert_allclose(identity, small.identity[0], atol=1e-3)
    np.testing.assert_allclose(expression, small.expression, atol=1e-2)


@pytest.mark.parametrize("box_sd", [0.4, 1.0, 3.0])
def test_the_papers_bounded_least_squares_has_the_solution_that_scipy_finds(
    toy_model: FaceModel, box_sd: float
) -> None:
    problem, truth = problem_of(toy_model, track(toy_model, frames=6, noise_px=2.0))
    quadratic = shape_problem(problem, truth)
    identity, expression, _ = quadratic.solve(box_sd)
    seen = np.concatenate([identity, expression.ravel()])
    hessian = np.stack([quadratic.times(row) for row in np.eye(len(seen))])
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-8)
    gradient = np.concatenate([quadratic.identity_gradient, quadratic.expression_gradient.ravel()])
    root = np.linalg.cholesky(hessian)
    wanted = lsq_linear(root.T, np.linalg.solve(root, gradient), (-box_sd, box_sd), tol=1e-13).x
    np.testing.assert_allclose(seen, wanted, atol=1e-4)
    assert np.abs(seen).max() <= box_sd
    assert (np.abs(seen) == box_sd).any() == (box_sd < 3), "the narrow boxes are felt"


def test_the_papers_smoothness_is_that_of_second_differences(toy_model: FaceModel) -> None:
    problem, truth = problem_of(toy_model, track(toy_model, frames=7))
    blind = shape_problem(dataclasses.replace(problem, weight=0 * problem.weight), truth)
    still = np.zeros(toy_model.n_identity)
    straight = np.concatenate([still, np.repeat(np.arange(7.0)[:, None], toy_model.n_expression, axis=1).ravel()])
    bent = np.concatenate([still, np.repeat(np.arange(7.0)[:, None] ** 2, toy_model.n_expression, axis=1).ravel()])
    energies = [float(x @ blind.times(x)) / toy_model.n_expression for x in (straight, bent)]
    assert energies == pytest.approx([3 * 91, 3 * 2275 + 6 * 5 * 4]), "c_exp sum of squares, c_sm 2^2 in 5 places"


def test_the_joint_fit_ends_where_its_energy_is_lowest(toy_model: FaceModel) -> None:
    problem, truth = problem_of(toy_model, track(toy_model, frames=5))
    fit = fit_joint_map(problem, truth, iterations=200, robust=False)
    assert fit.converged
    low = joint_energy(problem, fit.parameters, float("inf"))
    assert low < joint_energy(problem, truth, float("inf"))
    rng = np.random.default_rng(0)
    for _ in range(20):
        near = fit.parameters.moved(1e-2 * rng.normal(size=(1, 12)), 1e-2 * rng.normal(size=(5, 14)))
        assert joint_energy(problem, near, float("inf")) > low


def test_frames_alone_are_the_joint_fit_of_one_frame(toy_model: FaceModel) -> None:
    problem, truth = problem_of(toy_model, track(toy_model, frames=1))
    joint = fit_joint_map(problem, truth, iterations=100, robust=False)
    alone = fit_single_frames(problem, truth, iterations=100, robust=False)
    low = joint_energy(problem, joint.parameters, float("inf"))
    assert joint_energy(problem, alone.parameters, float("inf")) == pytest.approx(low, rel=1e-4)


def test_the_textbook_shrinks_the_head_and_two_stages_do_not(toy_model: FaceModel) -> None:
    truth = track(toy_model, frames=100, noise_px=2.0)
    noisy = FitOptions(landmark_noise=2 / 89, landmark_bias=0.0)
    textbook = dataclasses.replace(noisy, method="joint_map", identity_iterations=30)
    sizes = {}
    for options in (noisy, textbook):
        (fit,) = fit_tracks([truth.sequence], toy_model, options)
        sizes[options.method] = accuracy(toy_model, truth, fit).size_ratio
    assert sizes["joint_map"] < 0.95
    assert abs(sizes["two_stage"] - 1) < 0.04


@pytest.mark.parametrize("method", BASELINES)
def test_baselines_give_whole_tracks_with_the_faces_that_they_say(toy_model: FaceModel, method: FitMethod) -> None:
    truth = track(toy_model, frames=30, missing_share=0.1)
    gone = dataclasses.replace(
        truth.sequence, weight=truth.sequence.weight * (np.arange(30) != 7)[:, None].astype(np.float32)
    )
    options = dataclasses.replace(EXACT, method=method, expression_smoothness=16.0)
    together = fit_tracks([gone, truth.sequence], toy_model, options)
    (alone,) = fit_tracks([truth.sequence], toy_model, options)
    np.testing.assert_array_equal(together[1].expression, alone.expression)
    for fit in together:
        assert fit.status in {"converged", "iteration_limit"}
        assert np.isfinite(fit.expression).all()
        assert (fit.expression_sigma > 0).all()
        assert np.isfinite(fit.holdout_error)
        identities = np.tile(fit.identity, (30, 1))
        head = toy_model.vertices_mm(identities, fit.expression)[:, toy_model.embedding("toy68").vertex_ids[:, 0]]
        rows = matrix_from_quaternion(torch.from_numpy(fit.rotation_wxyz)).numpy()[:, :2]
        drawn = fit.scale_px_per_mm[:, None, None] * (head @ rows.transpose(0, 2, 1)) + fit.translation_px[:, None]
        np.testing.assert_allclose(fit.fitted_px, drawn, atol=0.01)
        assert np.median(fit.reprojection_error) < 0.04


def test_the_papers_coefficients_stay_in_their_box(toy_model: FaceModel) -> None:
    truth = track(toy_model, frames=20)
    points = truth.sequence.observed_px * np.float32([1.3, 1.0])
    wide = dataclasses.replace(truth.sequence, observed_px=points, smoothed_px=points)
    (fit,) = fit_tracks([wide], toy_model, dataclasses.replace(EXACT, method="koujan2020"))
    assert np.abs(fit.identity).max() == pytest.approx(BOX_SD)
    assert np.abs(fit.expression).max() <= BOX_SD * (1 + 1e-6)


def test_baselines_do_not_run_on_a_gpu() -> None:
    with pytest.raises(ValueError, match="method='joint_map' is a baseline and runs on the CPU; device='cuda'"):
        FitOptions(method="joint_map", device="cuda")


SPOILED = {
    "all missing": lambda s: dataclasses.replace(s, weight=0 * s.weight),
    "not a number": lambda s: with_points(s, s.observed_px * np.float32(np.nan)),
    "constant": lambda s: with_points(s, 0 * s.observed_px + 50),
    "huge": lambda s: with_points(s, s.observed_px * np.float32(1e12)),
    "far off": lambda s: with_points(s, s.observed_px + np.float32(1e6)),
    "one frame": lambda s: cut(s, 1),
    "two frames": lambda s: cut(s, 2),
    "on a line": lambda s: with_points(s, np.repeat(s.observed_px[..., :1], 2, axis=-1)),
    "mirrored": lambda s: with_points(s, s.observed_px * np.float32([-1, 1])),
    "one frame of garbage": lambda s: with_points(
        s, np.where((np.arange(len(s.weight)) == 9)[:, None, None], np.float32(1e4), s.observed_px)
    ),
    "noise": lambda s: with_points(s, np.random.default_rng(0).normal(size=s.observed_px.shape) * 100),
}


def with_points(sequence: LandmarkSequence, points: np.ndarray) -> LandmarkSequence:
    values = points.astype(np.float32)
    return dataclasses.replace(sequence, observed_px=values, smoothed_px=values)


def cut(sequence: LandmarkSequence, frames: int) -> LandmarkSequence:
    return LandmarkSequence(
        scheme=sequence.scheme,
        observed_px=sequence.observed_px[:frames],
        smoothed_px=sequence.smoothed_px[:frames],
        weight=sequence.weight[:frames],
        pts_s=sequence.pts_s[:frames],
    )


@pytest.mark.parametrize("method", BASELINES)
@pytest.mark.parametrize("name", SPOILED)
def test_bad_landmarks_give_a_status_in_baselines_too(toy_model: FaceModel, name: str, method: FitMethod) -> None:
    sequence = SPOILED[name](track(toy_model, frames=12).sequence)
    (fit,) = fit_tracks([sequence], toy_model, dataclasses.replace(EXACT, method=method, identity_iterations=4))
    for field in dataclasses.fields(fit):
        value = getattr(fit, field.name)
        assert not isinstance(value, np.ndarray) or not np.isnan(value).any(), field.name
    if name in {"all missing", "not a number", "constant"}:
        assert fit.status == "diverged"
    if name in {"far off", "one frame", "two frames"}:
        assert fit.status != "diverged"
        assert np.median(fit.reprojection_error) < 0.05
