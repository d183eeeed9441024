"""The second pass: its system against a dense one, and what it does to identities."""

import dataclasses

import numpy as np
import pytest
import torch

from fitting import refine_identities, second_pass
from fitting.camera import ScaledOrthographic
from fitting.energy import Observations
from fitting.face_model import FaceModel
from fitting.frame_ending import left_over
from fitting.frame_state import FrameState
from fitting.frame_system import FrameProblem
from fitting.identity_blocks import CAMERA_RIDGE
from fitting.landmark_basis import landmark_basis
from fitting.metrics import accuracy, mean_accuracy
from fitting.options import FitOptions
from fitting.ragged import TimeMajor
from fitting.rotation import canonical
from fitting.second_pass import identity_system
from fitting.smooth_prior import smooth_prior
from fitting.solver import fit_tracks
from fitting.synthetic import SyntheticOptions, synthetic_track

FRAMES = 3
PLAIN = float("inf")


def scene(model: FaceModel) -> tuple[FrameProblem, FrameState]:
    """Two tracks, the first longer, in float64."""
    narrow = landmark_basis(model, "toy68", device="cpu")
    basis = dataclasses.replace(
        narrow, mean=narrow.mean.double(), identity=narrow.identity.double(), expression=narrow.expression.double()
    )
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    layout = TimeMajor([FRAMES, FRAMES - 1], device="cpu")
    count = 2 * FRAMES - 1
    spacing = 0.02 + 0.03 * torch.rand(count, generator=generator, dtype=torch.float64)
    problem = FrameProblem(
        observed=Observations(
            points=40 * normal(count, 2, 68),
            weight=torch.rand(count, 68, generator=generator, dtype=torch.float64),
            precision=0.01 + torch.rand(68, generator=generator, dtype=torch.float64),
        ),
        identity_points=basis.identities(normal(2, model.n_identity)),
        basis=basis,
        prior=smooth_prior(spacing, layout, torch.tensor([4.0, 2.0], dtype=torch.float64)),
        layout=layout,
    )
    camera = ScaledOrthographic(
        scale=1 + 0.1 * normal(count).abs(), quaternion=canonical(normal(count, 4)), translation=normal(count, 2)
    )
    return problem, FrameState(expression=normal(count, model.n_expression), camera=camera)


def whitened(problem: FrameProblem, state: FrameState, track: int, x: torch.Tensor) -> torch.Tensor:
    """Weighted residuals of one track after a step: identity, then cameras, then expressions."""
    basis, rows = problem.basis, torch.from_numpy(problem.layout.positions(track))
    n, m, count = basis.identity.shape[-1], basis.expression.shape[-1], len(rows)
    identity, camera_step = x[:n], x[n : n + 6 * count].reshape(count, 6)
    expression = state.expression[rows] + x[n + 6 * count :].reshape(count, m)
    camera = state.camera.at(rows).updated(camera_step)
    head = problem.identity_points[track] + torch.einsum("cln,n->cl", basis.identity, identity)
    head = head + torch.einsum("clm,fm->fcl", basis.expression, expression)
    picture = camera.scale[:, None, None] * torch.bmm(camera.rotation()[:, :2], head) + camera.translation[..., None]
    weight = problem.observed.weight[rows] * problem.observed.precision
    return ((problem.observed.points[rows] - picture) * weight.sqrt()[:, None]).flatten()


def dense_prior(problem: FrameProblem, rows: torch.Tensor) -> torch.Tensor:
    coupling = problem.prior.coupling[rows][1:]
    return torch.diag(problem.prior.precision[rows]) - torch.diag(coupling, 1) - torch.diag(coupling, -1)


def test_the_system_is_the_dense_ones_with_cameras_and_expressions_eliminated(toy_model: FaceModel) -> None:
    problem, state = scene(toy_model)
    basis, n, m = problem.basis, toy_model.n_identity, toy_model.n_expression
    system = identity_system(problem, state, PLAIN)
    for track in range(2):
        rows = torch.from_numpy(problem.layout.positions(track))
        count = len(rows)
        own, cameras = slice(0, n), slice(n, n + 6 * count)

        def residual(x: torch.Tensor, track: int = track) -> torch.Tensor:
            return whitened(problem, state, track, x)

        x = torch.zeros(n + (6 + m) * count, dtype=torch.float64)
        jacobian = torch.autograd.functional.jacobian(residual, x)
        dense = jacobian.T @ jacobian
        over_time = dense_prior(problem, rows)
        expressions = slice(n + 6 * count, len(x))
        dense[expressions, expressions] += torch.kron(over_time, torch.eye(m, dtype=torch.float64))
        dense[cameras, cameras] += CAMERA_RIDGE * torch.eye(6 * count, dtype=torch.float64)
        downhill = -jacobian.T @ residual(x)
        downhill[expressions] -= (over_time @ state.expression[rows]).flatten()
        # The covariance's part: half the trace of the joint covariance with the normal matrix, of which the camera
        # moves the expression's Jacobian alone.
        covariance = torch.linalg.inv(dense[n:, n:])
        held = jacobian[:, n : n + 6 * count]

        def trace(
            step: torch.Tensor,
            rows: torch.Tensor = rows,
            held: torch.Tensor = held,
            covariance: torch.Tensor = covariance,
        ) -> torch.Tensor:
            camera = state.camera.at(rows).updated(step.reshape(-1, 6))
            plane = camera.scale[:, None, None] * camera.rotation()[:, :2]
            turned = torch.einsum("fij,jlm->film", plane, basis.expression)
            weight = (problem.observed.weight[rows] * problem.observed.precision).sqrt()
            moved = torch.block_diag(*(turned * weight[:, None, :, None]).flatten(1, 2))
            both = torch.cat([held, -moved], dim=-1)
            return 0.5 * torch.trace(covariance @ both.T @ both)

        start = torch.zeros(6 * count, dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(trace(start), start)
        downhill[cameras] -= slope
        reaction = torch.linalg.solve(dense[n:, n:], torch.cat([dense[n:, own], downhill[n:, None]], dim=-1))
        expected = dense[own, own] - dense[own, n:] @ reaction[:, :-1]
        torch.testing.assert_close(system.information[track], expected, rtol=1e-8, atol=1e-6)
        torch.testing.assert_close(
            system.downhill[track], downhill[:n] - dense[own, n:] @ reaction[:, -1], rtol=1e-7, atol=1e-5
        )


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_the_system_is_the_same_however_many_frames_are_there_at_once(
    toy_model: FaceModel, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    problem, state = scene(toy_model)
    whole = identity_system(problem, state, 5.0)
    monkeypatch.setattr(second_pass, "_FRAMES_AT_ONCE", at_once)
    runs = list(problem.layout.runs(at_once))
    assert len(runs) > 1
    assert [step for steps in runs for step in steps] == list(problem.layout.steps)
    piecewise = identity_system(problem, state, 5.0)
    torch.testing.assert_close(piecewise.information, whole.information, rtol=1e-12, atol=1e-10)
    torch.testing.assert_close(piecewise.downhill, whole.downhill, rtol=1e-12, atol=1e-10)


def means(model: FaceModel, frames: int, options: FitOptions) -> dict[str, float]:
    truths = [synthetic_track(model, "toy68", SyntheticOptions(frames=frames), seed=seed) for seed in range(6)]
    fits = fit_tracks([truth.sequence for truth in truths], model, options)
    return mean_accuracy([accuracy(model, truth, fit) for truth, fit in zip(truths, fits, strict=True)])


def test_the_second_pass_betters_identities_and_leaves_their_size(toy_model: FaceModel) -> None:
    once = FitOptions(landmark_noise=1 / 89, landmark_bias=0.0, keyframe_spacing_s=0.12, second_pass=False)
    twice = dataclasses.replace(once, second_pass=True)
    before, few, many = means(toy_model, 90, once), means(toy_model, 30, twice), means(toy_model, 90, twice)
    assert many["identity_similarity_mm"] < 0.95 * before["identity_similarity_mm"]
    assert abs(many["size_ratio"] - before["size_ratio"]) < 0.003
    assert many["identity_similarity_mm"] < few["identity_similarity_mm"]


def test_a_wrong_smoothness_of_the_users_leaves_the_identity_as_it_is(toy_model: FaceModel) -> None:
    sequences = [synthetic_track(toy_model, "toy68", SyntheticOptions(frames=40), seed=0).sequence]
    right = FitOptions(expression_smoothness=8.0, frame_iterations=2)
    wrong = dataclasses.replace(right, expression_smoothness=1e4, learn_smoothness=False)
    first, second = (fit_tracks(sequences, toy_model, options)[0].identity for options in (right, wrong))
    np.testing.assert_array_equal(first, second)


def test_the_second_pass_begins_where_the_first_step_ended_in_whatever_unit(
    toy_model: FaceModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    sequences = [synthetic_track(toy_model, "toy68", SyntheticOptions(frames=40), seed=0).sequence]
    begun: list[tuple[FrameProblem, FrameState]] = []

    def seen(problem: FrameProblem, state: FrameState, scale: float) -> second_pass.IdentitySystem:
        begun.append((problem, state))
        return identity_system(problem, state, scale)

    monkeypatch.setattr(refine_identities, "identity_system", seen)
    # Errors that last make the unit larger than the noise of one frame: here three times.
    fit_tracks(sequences, toy_model, FitOptions(landmark_noise=1 / 89, landmark_bias=2.83 / 89))
    problem, state = begun[0]
    left = left_over(problem, state, float("inf")).residual
    assert float(problem.observed.points.abs().median()) > 5, "landmarks lie far apart in their unit"
    assert float(left.abs().median()) < 0.5, "and near to where they are seen"
