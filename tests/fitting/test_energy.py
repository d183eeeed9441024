"""The landmark term: analytic derivatives against autograd, robust weights against the energy's slope."""

from dataclasses import replace

import torch

from fitting.camera import ScaledOrthographic, model_jacobian
from fitting.energy import Observations, frame_blocks, landmark_energy
from fitting.face_model import FaceModel
from fitting.landmark_basis import LandmarkBasis, landmark_basis
from fitting.robust_weights import honest_share, robust_weight
from fitting.rotation import canonical


def wide_basis(model: FaceModel) -> LandmarkBasis:
    basis = landmark_basis(model, "toy68", device="cpu")
    return replace(
        basis, mean=basis.mean.double(), identity=basis.identity.double(), expression=basis.expression.double()
    )


def scene(basis: LandmarkBasis, frames: int = 3) -> tuple[Observations, ScaledOrthographic, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    expression = 0.5 * normal(frames, basis.expression.shape[-1])
    camera = ScaledOrthographic(
        scale=1.0 + 0.1 * normal(frames), quaternion=canonical(normal(frames, 4)), translation=normal(frames, 2)
    )
    observed = Observations(
        points=50 * normal(frames, 2, 68),
        weight=torch.rand(frames, 68, generator=generator, dtype=torch.float64),
        precision=0.2 + torch.rand(68, generator=generator, dtype=torch.float64),
    )
    identity_points = basis.identities(normal(1, basis.identity.shape[-1]))
    return observed, camera, expression, identity_points


def test_the_downhill_gradient_is_autograds(toy_model: FaceModel) -> None:
    basis = wide_basis(toy_model)
    observed, camera, expression, identity_points = scene(basis)
    for scale in (40.0, float("inf")):
        blocks = frame_blocks(observed, camera, identity_points + basis.expressions(expression), basis, scale)
        step = torch.zeros(3, 6 + expression.shape[1], dtype=torch.float64, requires_grad=True)
        head = identity_points + basis.expressions(expression + step[:, 6:])
        energy = landmark_energy(observed, camera.updated(step[:, :6]), head, scale).sum()
        (gradient,) = torch.autograd.grad(energy, step)
        analytic = torch.cat([blocks.camera_gradient, blocks.expression_gradient], dim=-1)
        torch.testing.assert_close(analytic, -gradient, rtol=1e-9, atol=1e-7)


def test_the_gauss_newton_blocks_are_products_of_autograds_jacobian(toy_model: FaceModel) -> None:
    basis = wide_basis(toy_model)
    observed, camera, expression, identity_points = scene(basis, frames=1)
    blocks = frame_blocks(observed, camera, identity_points + basis.expressions(expression), basis, float("inf"))

    def projected(step: torch.Tensor) -> torch.Tensor:
        moved = camera.updated(step[:, :6])
        head = identity_points + basis.expressions(expression + step[:, 6:])
        return torch.bmm(moved.scale[:, None, None] * moved.rotation(), head)[:, :2] + moved.translation[:, :, None]

    step = torch.zeros(1, 6 + expression.shape[1], dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(projected, step)[0, :, :, 0]
    hessian = torch.einsum("cld,l,cle->de", jacobian, observed.weight[0] * observed.precision, jacobian)
    torch.testing.assert_close(blocks.camera_camera[0], hessian[:6, :6], rtol=1e-9, atol=1e-7)
    torch.testing.assert_close(blocks.camera_expression[0], hessian[:6, 6:], rtol=1e-9, atol=1e-7)
    torch.testing.assert_close(blocks.expression_expression[0], hessian[6:, 6:], rtol=1e-9, atol=1e-7)
    by_model = model_jacobian(blocks.scaled_rotation, basis.expression)[0]
    torch.testing.assert_close(by_model, jacobian[..., 6:], rtol=1e-9, atol=1e-9)


def test_a_residual_is_robust_in_units_of_its_own_noise(toy_model: FaceModel) -> None:
    basis = wide_basis(toy_model)
    observed, camera, expression, identity_points = scene(basis)
    head = identity_points + basis.expressions(expression)
    # Noise three times larger all over is the same as everything measured in a unit three times larger.
    third = ScaledOrthographic(
        scale=camera.scale / 3, quaternion=camera.quaternion, translation=camera.translation / 3
    )
    noisy = replace(observed, precision=torch.full((68,), 1 / 9, dtype=torch.float64))
    smaller = replace(observed, points=observed.points / 3, precision=torch.ones(68, dtype=torch.float64))
    torch.testing.assert_close(
        landmark_energy(noisy, camera, head, 5.0), landmark_energy(smaller, third, head, 5.0), rtol=1e-12, atol=0
    )
    weight = frame_blocks(noisy, camera, head, basis, 5.0).weight
    torch.testing.assert_close(weight, frame_blocks(smaller, third, head, basis, 5.0).weight / 9, rtol=1e-12, atol=0)


def test_robust_weights_fall_to_nothing_and_are_one_without_a_width() -> None:
    weight = robust_weight(torch.tensor([0.0, 9.0, 1e12]), 3.0)
    torch.testing.assert_close(weight / weight[0], torch.tensor([1.0, 0.25, 0.0]), atol=1e-12, rtol=0)
    assert robust_weight(torch.tensor([1e12]), float("inf")).item() == 1.0


def test_robust_weights_leave_the_variance_of_honest_noise_as_it_is() -> None:
    noise = torch.randn(200_000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    squared = (noise * noise).sum(-1)
    for scale in (3.0, 5.0, 10.0, 40.0):
        seen = (robust_weight(squared, scale) * squared).mean() / squared.mean()
        torch.testing.assert_close(seen, torch.ones_like(seen), atol=0.01, rtol=0)
    assert honest_share(float("inf")) == 1.0
