"""The identity stage: its step against one dense system, its gradient against autograd."""

from dataclasses import fields, replace

import pytest
import torch

from fitting import identity_precision, identity_state
from fitting import identity_stage as stage
from fitting import identity_system as system
from fitting.camera import ScaledOrthographic, camera_jacobian, model_jacobian, turned_points
from fitting.energy import Observations, frame_blocks, landmark_energy, residuals
from fitting.face_model import FaceModel
from fitting.identity_uncertainty import (
    LASTING_PRIOR,
    UNCERTAIN_DIRECTIONS,
    IdentityUncertainty,
    identity_uncertainty,
)
from fitting.landmark_basis import LandmarkBasis, landmark_basis
from fitting.rotation import canonical

TRACKS, FRAMES = 2, 4


def scene(model: FaceModel) -> tuple[LandmarkBasis, Observations, identity_state.IdentityState]:
    narrow = landmark_basis(model, "toy68", device="cpu")
    basis = replace(
        narrow, mean=narrow.mean.double(), identity=narrow.identity.double(), expression=narrow.expression.double()
    )
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    count = TRACKS * FRAMES
    state = identity_state.IdentityState(
        identity=normal(TRACKS, model.n_identity),
        expression=normal(count, model.n_expression),
        camera=ScaledOrthographic(
            scale=1 + 0.1 * normal(count).abs(), quaternion=canonical(normal(count, 4)), translation=normal(count, 2)
        ),
    )
    weight = torch.rand(count, 68, generator=generator, dtype=torch.float64)
    precision = 0.2 + torch.rand(68, generator=generator, dtype=torch.float64)
    return basis, Observations(points=40 * normal(count, 2, 68), weight=weight, precision=precision), state


def test_the_frames_gradient_with_the_expressions_covariance_is_autograds(toy_model: FaceModel) -> None:
    basis, observed, state = scene(toy_model)
    for scale in (30.0, float("inf")):
        seen = identity_state.linearise(observed, state, basis, scale)
        _, camera_gradient = system.camera_system(state.camera, seen)
        gradient = torch.cat([camera_gradient, seen.blocks.expression_gradient - state.expression], dim=-1)
        step = torch.zeros_like(gradient, requires_grad=True)
        moved = identity_state.IdentityState(
            identity=state.identity,
            expression=state.expression + step[:, 6:],
            camera=state.camera.updated(step[:, :6]),
        )
        landmarks = landmark_energy(observed, moved.camera, moved.head(basis), scale)
        energy = stage._energy(landmarks, moved, seen.spread).sum()
        (slope,) = torch.autograd.grad(energy, step)
        torch.testing.assert_close(gradient, -slope, rtol=1e-8, atol=1e-6)


def test_the_covariance_term_is_the_trace_of_the_covariance_through_the_jacobian(toy_model: FaceModel) -> None:
    basis, observed, state = scene(toy_model)
    seen = identity_state.linearise(observed, state, basis, float("inf"))
    turned = identity_state.turned_spread(state.camera, seen.spread)
    frame = 3
    hessian = seen.blocks.expression_expression[frame]
    covariance = torch.linalg.inv(hessian + torch.eye(toy_model.n_expression, dtype=torch.float64))
    expected = torch.trace(covariance @ hessian)
    torch.testing.assert_close(turned[frame, 0, 0] + turned[frame, 1, 1], expected)


def dense_systems(
    basis: LandmarkBasis, observed: Observations, state: identity_state.IdentityState, seen: identity_state.KeyFrames
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Each track's Gauss-Newton system in full: identity, then camera and expression of each frame."""
    camera_hessian, camera_gradient = system.camera_system(state.camera, seen)
    blocks = seen.blocks
    scaled = turned_points(state.camera, state.head(basis))
    jacobian = model_jacobian(blocks.scaled_rotation, basis.identity).flatten(1, 2)
    by_expression = model_jacobian(blocks.scaled_rotation, basis.expression).flatten(1, 2)
    by_camera = camera_jacobian(scaled).flatten(1, 2)
    residual = residuals(observed, scaled, state.camera).flatten(1)
    weighted = blocks.weight.repeat(1, 2)[..., None] * jacobian
    n, n_expression = state.identity.shape[-1], state.expression.shape[-1]
    size = 6 + n_expression
    systems = []
    for track in range(TRACKS):
        dense = torch.eye(n + FRAMES * size, dtype=torch.float64)
        right = torch.zeros(n + FRAMES * size, dtype=torch.float64)
        right[:n] = -state.identity[track]
        for slot, frame in enumerate(range(track * FRAMES, (track + 1) * FRAMES)):
            camera = slice(n + slot * size, n + slot * size + 6)
            expression = slice(n + slot * size + 6, n + (slot + 1) * size)
            dense[:n, :n] += jacobian[frame].T @ weighted[frame]
            dense[camera, camera] = camera_hessian[frame]
            dense[camera, expression] = blocks.camera_expression[frame]
            dense[expression, camera] = blocks.camera_expression[frame].T
            dense[expression, expression] += blocks.expression_expression[frame]
            dense[camera, :n] = by_camera[frame].T @ weighted[frame]
            dense[expression, :n] = by_expression[frame].T @ weighted[frame]
            dense[:n, camera], dense[:n, expression] = dense[camera, :n].T, dense[expression, :n].T
            right[:n] += residual[frame] @ weighted[frame]
            right[camera] = camera_gradient[frame]
            right[expression] = blocks.expression_gradient[frame] - state.expression[frame]
        systems.append((dense, right))
    return systems


def test_the_schur_step_solves_the_dense_system(toy_model: FaceModel) -> None:
    basis, observed, state = scene(toy_model)
    seen = identity_state.linearise(observed, state, basis, float("inf"))
    trial, elimination = system.gauss_newton(state, seen, basis, torch.zeros(TRACKS, dtype=torch.float64))
    n = toy_model.n_identity
    for track, (dense, right) in enumerate(dense_systems(basis, observed, state, seen)):
        solution = torch.linalg.solve(dense, right)
        frames = slice(track * FRAMES, (track + 1) * FRAMES)
        torch.testing.assert_close(trial.identity[track] - state.identity[track], solution[:n], rtol=1e-6, atol=1e-8)
        steps = solution[n:].reshape(FRAMES, -1)
        torch.testing.assert_close(
            trial.expression[frames] - state.expression[frames], steps[:, 6:], rtol=1e-6, atol=1e-8
        )
        moved = state.camera.at(slice(frames.start, frames.stop)).updated(steps[:, :6])
        torch.testing.assert_close(trial.camera.translation[frames], moved.translation, rtol=1e-6, atol=1e-8)
        # What is left of the identity's block is the inverse of its part of the inverse: its posterior precision.
        torch.testing.assert_close(elimination.identity[track], torch.linalg.inv(torch.linalg.inv(dense)[:n, :n]))


def test_a_step_has_the_same_bits_however_many_tracks_are_eliminated_at_once(
    toy_model: FaceModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    basis, observed, state = scene(toy_model)
    seen = identity_state.linearise(observed, state, basis, 5.0)
    steps = []
    for frames in (1, TRACKS * FRAMES):
        monkeypatch.setattr(system, "AT_ONCE", frames)
        trial, _ = system.gauss_newton(state, seen, basis, torch.zeros(TRACKS, dtype=torch.float64))
        steps.append(trial)
    assert torch.equal(steps[0].identity, steps[1].identity)
    assert torch.equal(steps[0].expression, steps[1].expression)


def test_an_error_that_lasts_moves_the_identity_as_the_dense_system_says(
    toy_model: FaceModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity_precision, "LASTING_EVERY", 1)
    basis, observed, state = scene(toy_model)
    seen = identity_state.linearise(observed, state, basis, float("inf"))
    _, elimination = system.gauss_newton(state, seen, basis, torch.zeros(TRACKS, dtype=torch.float64))
    precision = elimination.precision(basis)
    n = toy_model.n_identity
    error = torch.randn(2, 68, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    moved = replace(observed, points=observed.points + error)
    shifted = replace(seen, blocks=frame_blocks(moved, state.camera, state.head(basis), basis, float("inf")))
    pairs = zip(dense_systems(basis, observed, state, seen), dense_systems(basis, moved, state, shifted), strict=True)
    for track, ((dense, right), (_, with_error)) in enumerate(pairs):
        expected = torch.linalg.solve(dense, with_error - right)[:n]
        found = torch.linalg.solve(precision.identity[track], precision.identity_lasting[track] @ error.flatten())
        torch.testing.assert_close(found, expected)


def test_of_frames_that_are_all_there_several_times_one_of_each_speaks_for_all(
    toy_model: FaceModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    basis, observed, state = scene(toy_model)
    # The last frame of each track only fills up.
    weight = observed.weight * torch.tensor([1.0, 1.0, 1.0, 0.0], dtype=torch.float64).repeat(TRACKS)[:, None]
    times = torch.arange(TRACKS * FRAMES).repeat_interleave(identity_precision.LASTING_EVERY)
    many = replace(observed, points=observed.points[times], weight=weight[times])
    state = replace(state, expression=state.expression[times], camera=state.camera.at(times))
    seen = identity_state.linearise(many, state, basis, float("inf"))
    _, elimination = system.gauss_newton(state, seen, basis, torch.zeros(TRACKS, dtype=torch.float64))
    few = elimination.precision(basis)
    monkeypatch.setattr(identity_precision, "LASTING_EVERY", 1)
    every = elimination.precision(basis)
    torch.testing.assert_close(few.identity_lasting, every.identity_lasting)
    torch.testing.assert_close(few.expression_lasting, every.expression_lasting)


@pytest.mark.parametrize("first", [0.0, 1e-9])
def test_the_heaviest_key_frame_is_among_those_that_speak_for_all(toy_model: FaceModel, first: float) -> None:
    basis, observed, state = scene(toy_model)
    weights = torch.tensor([first, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    lasting = torch.ones(68, dtype=torch.float64)

    def found(order: slice | torch.Tensor) -> IdentityUncertainty:
        # The second track's frames weigh nothing at all.
        weighed = replace(observed.at(order), weight=(observed.weight * weights[:, None])[order])
        there = replace(state, expression=state.expression[order], camera=state.camera.at(order))
        seen = identity_state.linearise(weighed, there, basis, float("inf"))
        _, elimination = system.gauss_newton(there, seen, basis, torch.zeros(TRACKS, dtype=torch.float64))
        return identity_uncertainty(elimination.precision(basis), lasting)

    light_first, light_last = found(slice(None)), found(torch.tensor([1, 2, 3, 0, 4, 5, 6, 7]))
    for item in fields(light_first):
        values = getattr(light_first, item.name)
        assert torch.isfinite(values).all(), item.name
        torch.testing.assert_close(values.abs()[0], getattr(light_last, item.name).abs()[0], rtol=1e-5, atol=1e-7)
    assert light_first.directions[0].norm() > 0
    assert not light_first.landmarks[1].any(), "where nothing is seen, no error of landmarks is felt"


def test_the_uncertainty_holds_all_that_expressions_feel_of_identity_and_lasting_errors(toy_model: FaceModel) -> None:
    basis, observed, state = scene(toy_model)
    seen = identity_state.linearise(observed, state, basis, float("inf"))
    _, elimination = system.gauss_newton(state, seen, basis, torch.zeros(TRACKS, dtype=torch.float64))
    precision = elimination.precision(basis)
    lasting = 3.0 * torch.rand(68, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = identity_uncertainty(precision, lasting)
    unit = torch.eye(toy_model.n_expression, dtype=torch.float64)
    mean = precision.expression + LASTING_PRIOR * unit
    reaction = torch.linalg.solve(mean, precision.coupling)
    direct = torch.linalg.solve(mean, precision.expression_lasting)
    # The joint covariance of the identity's error and of the landmarks'.
    sd = torch.diag(lasting.repeat(2)).expand(TRACKS, -1, -1)
    pulled = torch.linalg.solve(precision.identity, precision.identity_lasting) @ sd
    noise = torch.linalg.cholesky(torch.linalg.inv(precision.identity))
    root = torch.cat([torch.cat([noise, pulled], -1), torch.cat([torch.zeros_like(pulled).mT, sd], -1)], 1)
    joint = torch.cat([reaction, -direct], dim=-1)
    whole = (joint @ root @ root.mT @ joint.mT).diagonal(dim1=-2, dim2=-1)
    landmarks = (found.landmarks * lasting[:, None]).flatten(1, 2)
    directions = torch.cat([found.directions, landmarks], dim=1)
    leading = ((joint @ directions) ** 2).sum(-1)
    torch.testing.assert_close(leading + found.remainder, whole)
    assert found.directions.shape[-1] == UNCERTAIN_DIRECTIONS < toy_model.n_expression
    assert (leading.sum(-1) > 0.5 * whole.sum(-1)).all(), "few directions, but those that count"
    by_noise = ((reaction @ noise) ** 2).sum((1, 2))
    torch.testing.assert_close(found.noise_share, by_noise / whole.sum(-1))
    assert (found.noise_share > 0.1).all(), "both must matter for this test to mean much"
    assert (found.noise_share < 0.9).all(), "both must matter for this test to mean much"
    # And the directions never hold more than the covariance itself.
    left = root @ root.mT - directions @ directions.mT
    assert torch.linalg.eigvalsh(left).min() > -1e-9


def test_a_mean_frame_is_the_mean_of_the_frames_with_its_camera_eliminated(toy_model: FaceModel) -> None:
    basis, observed, state = scene(toy_model)
    seen = identity_state.linearise(observed, state, basis, float("inf"))
    _, elimination = system.gauss_newton(state, seen, basis, torch.zeros(TRACKS, dtype=torch.float64))
    precision = elimination.precision(basis)
    n = toy_model.n_identity
    for track, (dense, _) in enumerate(dense_systems(basis, observed, state, seen)):
        frames = dense[n:, n:].reshape(FRAMES, 6 + toy_model.n_expression, FRAMES, -1)
        mean = sum(frames[f, :, f] for f in range(FRAMES)) / FRAMES
        mean[6:, 6:] -= torch.eye(toy_model.n_expression, dtype=torch.float64)
        coupling = dense[n:, :n].reshape(FRAMES, 6 + toy_model.n_expression, n).mean(0)
        gain = mean[6:, :6] @ torch.linalg.inv(mean[:6, :6])
        torch.testing.assert_close(precision.expression[track], mean[6:, 6:] - gain @ mean[:6, 6:])
        torch.testing.assert_close(precision.coupling[track], coupling[6:] - gain @ coupling[:6])
