"""The expression's normal matrix and scatter from constants, against their definitions."""

import pytest
import torch

from fitting.camera import model_jacobian
from fitting.expression_squares import WIDEST_TABLE, expression_squares

FRAMES, POINTS = 4, 15


@pytest.mark.parametrize("size", [1, 8, WIDEST_TABLE, WIDEST_TABLE + 1])
def test_constants_give_what_jacobians_give(size: int) -> None:
    generator = torch.Generator().manual_seed(size)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    basis, turn, weight = normal(3, POINTS, size), normal(FRAMES, 2, 3), normal(FRAMES, POINTS).abs()
    root = normal(FRAMES, size, size)
    covariance = root @ root.mT
    squares = expression_squares(basis)
    assert (squares.table is None) == (size > WIDEST_TABLE)
    jacobian = model_jacobian(turn, basis)
    wanted = torch.einsum("fclk,fl,fclm->fkm", jacobian, weight, jacobian)
    torch.testing.assert_close(squares.normal_matrix(weight, turn), wanted)
    scatter = torch.einsum("fl,ilk,fkm,jlm->fij", weight, basis, covariance, basis)
    torch.testing.assert_close(squares.spread(weight, covariance), scatter)
