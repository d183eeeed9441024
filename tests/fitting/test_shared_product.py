"""Products of many rows with one matrix: right, and the same bits in any company."""

import pytest
import torch

from fitting.shared_product import BLOCK_ROWS, times_column, times_shared


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("n", "m"), [(6, 126), (68, 84), (408, 406), (28, 204), (17, 5)])
def test_a_row_has_the_same_bits_wherever_it_stands_and_whoever_comes_along(n: int, m: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(3 * BLOCK_ROWS + 5, n, generator=generator, dtype=dtype)
    matrix = torch.randn(n, m, generator=generator, dtype=dtype)
    together = times_shared(rows, matrix)
    torch.testing.assert_close(together, rows @ matrix)
    for count in (1, 2, BLOCK_ROWS - 1, BLOCK_ROWS, BLOCK_ROWS + 1):
        some = torch.randperm(len(rows), generator=generator)[:count]
        assert torch.equal(times_shared(rows[some], matrix), together[some])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_matrix_times_its_column_has_the_same_bits_alone(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(9, 28, 28, generator=generator, dtype=dtype)
    column = torch.randn(9, 28, generator=generator, dtype=dtype)
    together = times_column(matrix, column)
    torch.testing.assert_close(together, torch.einsum("fij,fj->fi", matrix, column))
    for frame in range(9):
        assert torch.equal(times_column(matrix[frame, None], column[frame, None])[0], together[frame])
