"""The identity stage: its step against one dense system, its gradient against autograd."""

from dataclasses import replace

import torch

from fitting import identity_stage as stage
from fitting.camera import ScaledOrthographic
from fitting.energy import Observations, frame_blocks, model_jacobian
from fitting.face_model import FaceModel
from fitting.landmark_basis import LandmarkBasis, landmark_basis
from fitting.rotation import canonical

TRACKS, FRAMES = 2, 4


def scene(model: FaceModel) -> tuple[LandmarkBasis, Observations, stage._State]:
    narrow = landmark_basis(model, "toy68", device="cpu")
    basis = replace(
        narrow, mean=narrow.mean.double(), identity=narrow.identity.double(), expression=narrow.expression.double()
    )
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    count = TRACKS * FRAMES
    state = stage._State(
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
        blocks = frame_blocks(observed, state.camera, stage._head(state, basis), basis, scale)
        spread = stage.expression_spread(blocks, basis)
        _, gradient = stage._frame_system(state, blocks, spread)
        step = torch.zeros_like(gradient, requires_grad=True)
        moved = stage._State(
            identity=state.identity,
            expression=state.expression + step[:, 6:],
            camera=state.camera.updated(step[:, :6]),
        )
        energy = stage._energy(observed, moved, spread, basis, scale).sum()
        (slope,) = torch.autograd.grad(energy, step)
        torch.testing.assert_close(gradient, -slope, rtol=1e-8, atol=1e-6)


def test_the_covariance_term_is_the_trace_of_the_covariance_through_the_jacobian(toy_model: FaceModel) -> None:
    basis, observed, state = scene(toy_model)
    blocks = frame_blocks(observed, state.camera, stage._head(state, basis), basis, float("inf"))
    turned = stage._turned_spread(state.camera, stage.expression_spread(blocks, basis))
    frame = 3
    unit = torch.eye(toy_model.n_expression, dtype=torch.float64)
    covariance = torch.linalg.inv(blocks.expression_expression[frame] + unit)
    expected = torch.trace(covariance @ blocks.expression_expression[frame])
    torch.testing.assert_close(turned[frame, 0, 0] + turned[frame, 1, 1], expected)


def test_the_schur_step_solves_the_dense_system(toy_model: FaceModel) -> None:
    basis, observed, state = scene(toy_model)
    blocks = frame_blocks(observed, state.camera, stage._head(state, basis), basis, float("inf"))
    spread = stage.expression_spread(blocks, basis)
    trial, step = stage._trial(state, blocks, spread, basis, torch.zeros(TRACKS, dtype=torch.float64))
    hessian, gradient = stage._frame_system(state, blocks, spread)
    root = blocks.weight.sqrt()[:, None, :, None]
    jacobian = (model_jacobian(blocks.scaled_rotation, basis.identity) * root).flatten(1, 2)
    narrow = torch.cat([blocks.weighted_camera, blocks.weighted_expression], dim=-1)
    for track in range(TRACKS):
        frames = range(track * FRAMES, (track + 1) * FRAMES)
        size, n = hessian.shape[-1], toy_model.n_identity
        dense = torch.eye(n + FRAMES * size, dtype=torch.float64)
        right = torch.zeros(n + FRAMES * size, dtype=torch.float64)
        right[:n] = -state.identity[track]
        for slot, frame in enumerate(frames):
            at = slice(n + slot * size, n + (slot + 1) * size)
            dense[:n, :n] += jacobian[frame].T @ jacobian[frame]
            dense[at, at] = hessian[frame]
            dense[at, :n] = narrow[frame].T @ jacobian[frame]
            dense[:n, at] = dense[at, :n].T
            right[:n] += (jacobian[frame].T @ blocks.weighted_residual[frame])[:, 0]
            right[at] = gradient[frame]
        solution = torch.linalg.solve(dense, right)
        torch.testing.assert_close(step[track], solution[:n], rtol=1e-8, atol=1e-9)
        expression_steps = torch.stack([trial.expression[f] - state.expression[f] for f in frames])
        torch.testing.assert_close(expression_steps, solution[n:].reshape(FRAMES, size)[:, 6:], rtol=1e-8, atol=1e-9)
