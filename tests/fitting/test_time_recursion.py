"""The recursion over time against one dense system per track."""

import numpy as np
import pytest
import torch

from fitting.ragged import TimeMajor
from fitting.smooth_prior import smooth_prior
from fitting.time_recursion import solve_over_time, solve_with_pivots, variances_over_time

LENGTHS = [5, 1, 9, 5]


def random_system(layout: TimeMajor, size: int, widths: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    frames = len(layout.track)
    root = torch.randn(frames, size, size, generator=generator, dtype=torch.float64)
    blocks = root @ root.mT + 4 * torch.eye(size, dtype=torch.float64)
    right = torch.randn(frames, size, 3, generator=generator, dtype=torch.float64)
    return blocks, right, torch.rand(frames, widths, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("widths", [1, 4])
def test_the_recursion_solves_each_tracks_dense_system_and_knows_the_diagonal_of_its_inverse(widths: int) -> None:
    layout, size = TimeMajor(LENGTHS, device="cpu"), 4
    blocks, right, coupling = random_system(layout, size, widths)
    pivots = blocks.clone()
    solution = solve_over_time(pivots, right.clone(), coupling, layout)
    variances = variances_over_time(pivots, coupling, layout)
    again = solve_with_pivots(pivots, right.clone(), coupling, layout)
    torch.testing.assert_close(again, solution, rtol=1e-12, atol=1e-12)
    for track, frames in enumerate(LENGTHS):
        rows = layout.positions(track)
        dense = torch.block_diag(*blocks[rows])
        for t in range(1, frames):
            beside = -torch.diag(coupling[rows[t]].expand(size))
            dense[t * size : (t + 1) * size, (t - 1) * size : t * size] = beside
            dense[(t - 1) * size : t * size, t * size : (t + 1) * size] = beside
        expected = torch.linalg.solve(dense, right[rows].flatten(0, 1))
        torch.testing.assert_close(solution[rows].flatten(0, 1), expected)
        torch.testing.assert_close(
            variances[rows].flatten().double(), torch.linalg.inv(dense).diagonal(), rtol=1e-5, atol=0
        )


def test_one_right_hand_side_alone_is_refused() -> None:
    layout = TimeMajor([2], device="cpu")
    blocks, right, coupling = random_system(layout, 4, 1)
    with pytest.raises(ValueError, match="right has 1 columns, and needs two at least"):
        solve_over_time(blocks, right[..., :1], coupling, layout)


def test_the_smoothness_prior_has_unit_variance_in_every_frame_and_the_promised_change_between_frames() -> None:
    frames, smoothness = 40, 16.0
    layout = TimeMajor([frames], device="cpu")
    spacing = torch.full((frames,), 1 / 30, dtype=torch.float64)
    prior = smooth_prior(spacing, layout, torch.tensor([smoothness], dtype=torch.float64))
    dense = torch.diag(prior.precision) - torch.diag(prior.coupling[1:], 1) - torch.diag(prior.coupling[1:], -1)
    covariance = torch.linalg.inv(dense)
    torch.testing.assert_close(covariance.diagonal(), torch.ones(frames, dtype=torch.float64))
    change = covariance[10, 10] + covariance[11, 11] - 2 * covariance[10, 11]
    torch.testing.assert_close(change, torch.tensor(1 / smoothness, dtype=torch.float64))


def test_twice_the_frames_per_second_is_the_same_prior_in_between() -> None:
    def correlation(spacing_s: float, steps: int) -> float:
        layout = TimeMajor([steps + 1], device="cpu")
        spacing = torch.full((steps + 1,), spacing_s, dtype=torch.float64)
        prior = smooth_prior(spacing, layout, torch.tensor([16.0], dtype=torch.float64))
        dense = torch.diag(prior.precision) - torch.diag(prior.coupling[1:], 1) - torch.diag(prior.coupling[1:], -1)
        return float(torch.linalg.inv(dense)[0, -1])

    np.testing.assert_allclose(correlation(1 / 60, 8), correlation(1 / 30, 4), rtol=1e-9)


def test_no_smoothness_leaves_frames_alone() -> None:
    layout = TimeMajor([3], device="cpu")
    prior = smooth_prior(torch.zeros(3, dtype=torch.float64), layout, torch.tensor([0.0], dtype=torch.float64))
    assert prior.coupling.tolist() == [0, 0, 0]
    assert prior.precision.tolist() == [1, 1, 1]


def test_time_major_order_keeps_each_tracks_frames_in_order() -> None:
    layout = TimeMajor(LENGTHS, device="cpu")
    values = [np.arange(length) + 100 * track for track, length in enumerate(LENGTHS)]
    packed = layout.pack(values)
    for track, value in enumerate(values):
        np.testing.assert_array_equal(packed[layout.positions(track)], value)
        rows = layout.positions(track)
        assert layout.track[rows].tolist() == [track] * len(value)
        assert layout.previous[rows].tolist() == [-1, *rows[:-1].tolist()]
    sums = layout.sum_over_time(torch.tensor(packed, dtype=torch.float64))
    assert sums.tolist() == [float(value.sum()) for value in values]
    assert layout.max_over_time(torch.tensor(packed, dtype=torch.float64)).tolist() == [
        int(value.max()) for value in values
    ]


@pytest.mark.parametrize("shape", [(), (8,), (9,), (3, 4)])
def test_a_sum_over_time_is_each_tracks_own_in_order(shape: tuple[int, ...]) -> None:
    lengths = [3, 1, 5, 5]
    layout = TimeMajor(lengths, device="cpu")
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(sum(lengths), *shape, dtype=torch.float64, generator=generator)
    expected = []
    for track in range(4):
        total = torch.zeros(shape, dtype=torch.float64)
        for row in layout.positions(track):
            total = total + values[row]
        expected.append(total)
    # Bit for bit, whichever way is taken.
    torch.testing.assert_close(layout.sum_over_time(values), torch.stack(expected), rtol=0, atol=0)


def test_what_is_packed_lies_where_its_track_does() -> None:
    layout = TimeMajor([2, 4, 1], device="cpu")
    values = [torch.arange(2) + 10, torch.arange(4) + 20, torch.arange(1) + 30]
    packed = layout.pack_tensors(values)
    for track, own in enumerate(values):
        torch.testing.assert_close(packed[torch.from_numpy(layout.positions(track))], own)
    np.testing.assert_array_equal(packed, layout.pack([own.numpy() for own in values]))
