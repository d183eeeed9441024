"""Products whose bits do not depend on which rows or frames, and how many, come along.

A plain product picks its kernel, and so its order of summation, by the number of rows. Here rows go in blocks of one
fixed size, the last one filled up with zeros: every block is the same product, and within it all rows are summed alike.
"""

import torch
from jaxtyping import Float
from torch import Tensor

BLOCK_ROWS = 64
"""A multiple of what vector instructions take at once, so that no row falls into a remainder of another kernel."""


def times_shared(rows: Float[Tensor, "batch n"], matrix: Float[Tensor, "n m"]) -> Float[Tensor, "batch m"]:
    """Each row times one matrix, with bits that do not depend on the other rows."""
    count = len(rows)
    blocks = -(-count // BLOCK_ROWS)
    if count % BLOCK_ROWS:
        filled = rows.new_zeros(blocks * BLOCK_ROWS, rows.shape[1])
        filled[:count] = rows
        rows = filled
    product = torch.bmm(rows.reshape(blocks, BLOCK_ROWS, -1), matrix.expand(blocks, -1, -1))
    return product.reshape(blocks * BLOCK_ROWS, -1)[:count]


def two_columns(column: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n 2"]:
    """A column, and one of zeros: a batched product with one column takes another path where the batch is 1."""
    return torch.stack([column, torch.zeros_like(column)], dim=-1)


def times_column(matrix: Float[Tensor, "batch a b"], column: Float[Tensor, "batch b"]) -> Float[Tensor, "batch a"]:
    """Each matrix times its own column."""
    return torch.bmm(matrix, two_columns(column))[..., 0]
