"""Laws of rotations, over batch shapes, including turns near zero and of half a turn."""

import pytest
import torch

from fitting.rotation import (
    canonical,
    compose,
    matrix_from_quaternion,
    quaternion_from_matrix,
    quaternion_from_rotation_vector,
    turned,
)

BATCHES = [(), (1,), (3, 1, 2)]


def random_quaternions(batch: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return canonical(torch.randn(*batch, 4, generator=generator, dtype=torch.float64))


@pytest.mark.parametrize("batch", BATCHES)
def test_a_quaternion_survives_the_way_through_a_matrix(batch: tuple[int, ...]) -> None:
    quaternion = random_quaternions(batch)
    back = quaternion_from_matrix(matrix_from_quaternion(quaternion))
    torch.testing.assert_close(back, quaternion, atol=1e-12, rtol=0)


@pytest.mark.parametrize("axis", [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.6, 0.0, 0.8)])
def test_half_a_turn_survives_the_way_through_a_quaternion(axis: tuple[float, ...]) -> None:
    half_turn = matrix_from_quaternion(torch.tensor([0.0, *axis], dtype=torch.float64))
    torch.testing.assert_close(matrix_from_quaternion(quaternion_from_matrix(half_turn)), half_turn)


@pytest.mark.parametrize("batch", BATCHES)
def test_composition_of_quaternions_is_the_product_of_matrices(batch: tuple[int, ...]) -> None:
    left, right = random_quaternions(batch, 1), random_quaternions(batch, 2)
    product = matrix_from_quaternion(left) @ matrix_from_quaternion(right)
    torch.testing.assert_close(matrix_from_quaternion(compose(left, right)), product)


def test_the_exponential_map_agrees_with_the_matrix_exponential() -> None:
    vectors = torch.tensor([[0.3, -0.2, 1.1], [1e-9, 0.0, 0.0], [0.0, 0.0, 3.0]], dtype=torch.float64)
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).reshape(-1, 3, 3)
    expected = torch.linalg.matrix_exp(skew)
    torch.testing.assert_close(matrix_from_quaternion(quaternion_from_rotation_vector(vectors)), expected)


def test_value_and_gradient_are_finite_at_zero_rotation() -> None:
    vector = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    quaternion = quaternion_from_rotation_vector(vector)
    (gradient,) = torch.autograd.grad(quaternion.sum(), vector)
    torch.testing.assert_close(quaternion.detach(), torch.tensor([[1.0, 0, 0, 0]] * 2, dtype=torch.float64))
    torch.testing.assert_close(gradient, torch.full_like(gradient, 0.5))


def test_a_small_turn_equals_the_exponential_map_to_second_order() -> None:
    quaternion = random_quaternions((5,))
    turn = 1e-3 * torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    exact = compose(quaternion_from_rotation_vector(turn), quaternion)
    torch.testing.assert_close(turned(quaternion, turn), exact, atol=1e-8, rtol=0)
