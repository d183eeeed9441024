"""The floor of the fit's benchmark: the posterior that a dense computation gives, and the laws of floors."""

import numpy as np
import pytest

from benchmarks.fit.floor import at_truth, floor, information, linearised, time_modes
from benchmarks.fit.goals import Goal, falls, goals, print_goals
from fitting.face_model import FaceModel
from fitting.metrics import mean_accuracy
from fitting.synthetic import SyntheticOptions, synthetic_track


def seen(model: FaceModel, *, free_cameras: bool = False, **options: float) -> dict[str, float]:
    chosen = SyntheticOptions(**{"frames": 30} | options)  # type: ignore[arg-type]
    truth = synthetic_track(model, "toy68", chosen, seed=0)
    return mean_accuracy(floor(model, truth, chosen, free_cameras=free_cameras, draws=20))


@pytest.mark.parametrize("free_cameras", [True, False])
def test_the_floor_is_the_posterior_of_the_dense_linear_problem(toy_model: FaceModel, *, free_cameras: bool) -> None:
    options = SyntheticOptions(frames=6, missing_share=0.1, yaw_deg=0.01)
    problem, at = at_truth(toy_model, synthetic_track(toy_model, "toy68", options, seed=0))
    matrix = information(*linearised(problem, at, options, free_cameras=free_cameras))
    # Dense, with covariances instead of precisions: P - P J^T (J P J^T + R)^-1 J P, frame by frame in J.
    time = np.arange(6)

    def over_time(width: float) -> np.ndarray:
        return np.exp(-((time[:, None] - time) ** 2) / (4 * width**2))

    widths = [20.0, 12.0, 12.0, 12.0, 10.0, 10.0] + [4.0] * 8
    spread = [0.1, *np.deg2rad([12.0, 0.01, 8.0]), 0.17 * 89, 0.17 * 89] + [1.0] * 8
    prior = np.zeros((12 + 6 * 14, 12 + 6 * 14))
    prior[:12, :12] = np.eye(12)
    for column, (width, sd) in enumerate(zip(widths, spread, strict=True)):
        at_column = 12 + column + 14 * time
        covariance = np.diag([1e6] * 6) if free_cameras and column < 6 else sd**2 * over_time(width)
        prior[np.ix_(at_column, at_column)] = covariance
    jacobian = np.zeros((6, 68 * 2, len(prior)))
    jacobian[:, :, :12] = problem.moved_by(at, problem.identity_basis).reshape(6, 136, 12)
    for frame, rows in enumerate(problem.derivative(at).reshape(6, 136, 14)):
        jacobian[frame, :, 12 + 14 * frame : 26 + 14 * frame] = rows
    weight = problem.weight.repeat(2, axis=1).ravel()
    jacobian = (jacobian.reshape(-1, len(prior)) * np.sqrt(weight)[:, None])[weight > 0]
    gain = np.linalg.solve(jacobian @ prior @ jacobian.T + np.eye(len(jacobian)), jacobian @ prior)
    posterior = prior - prior @ jacobian.T @ gain
    wanted = posterior[:12, :12]
    # The dense one leaves out that a turned head turns about other axes.
    np.testing.assert_allclose(np.linalg.inv(matrix)[:12, :12], wanted, atol=3e-3 * wanted.max())


def test_less_noise_more_frames_and_known_cameras_lower_the_floor(toy_model: FaceModel) -> None:
    usual = seen(toy_model)
    quiet, long, free = seen(toy_model, noise_px=0.5), seen(toy_model, frames=120), seen(toy_model, free_cameras=True)
    for metric in ("identity_similarity_mm", "expression_mm", "nme_percent", "rotation_deg"):
        assert 0.4 * usual[metric] < quiet[metric] < 0.9 * usual[metric], metric
    assert long["identity_similarity_mm"] < 0.9 * usual["identity_similarity_mm"]
    assert usual["rotation_deg"] < 0.8 * free["rotation_deg"]
    assert usual["nme_percent"] < 0.9 * free["nme_percent"]


def test_without_any_landmark_the_floor_is_the_prior(toy_model: FaceModel) -> None:
    blind = seen(toy_model, missing_frame_share=1.0)
    known = np.sqrt((toy_model.expression_basis_mm**2).sum((0, 2)))
    # The mean length of a Gaussian displacement is a little below its root mean square.
    assert 0.8 * known.mean() < blind["expression_mm"] < known.mean()


def test_modes_make_up_the_covariance_over_time() -> None:
    modes = time_modes(50, 4.0)
    gap = np.arange(50)[:, None] - np.arange(50)
    np.testing.assert_allclose(modes @ modes.T, np.exp(-(gap**2) / 64), atol=1e-4)
    assert modes.shape[1] < 30


def test_there_is_no_floor_where_noise_is_not_independent(toy_model: FaceModel) -> None:
    with pytest.raises(ValueError, match="no floor for correlated noise, lasting bias or a pinhole camera"):
        seen(toy_model, noise_memory=0.5)


def test_goals_are_judged_as_stated(capsys: pytest.CaptureFixture[str]) -> None:
    assert Goal(most=1.0).reached(1.0)
    assert not Goal(most=1.0).reached(1.01)
    assert not Goal(least=0.8, most=1.2).reached(0.7)
    assert not Goal(most=1.0).reached(None)
    assert falls([1.0, 1.02, 0.5])
    assert not falls([1.0, 0.5, 0.6])
    wanted = goals(2.52, 2.98)
    half = goals(1.26, 2.98)
    assert half["identity_rigid_mm"] == Goal(most=0.5)
    values: dict[str, float | list[float] | None] = dict.fromkeys(wanted)
    assert print_goals(values | {"nme_percent": 0.4, "identity_by_frames": [2.0, 1.0]}, wanted)
    assert not print_goals(values | {"nme_percent": 0.5}, wanted)
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "NOT REACHED" in line)
    assert line.split() == ["nme_percent", "0.5", "at", "most", "0.49:", "NOT", "REACHED"]
