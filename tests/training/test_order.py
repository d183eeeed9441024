"""What an epoch shows: some crops of each track, of many videos at a time, without reading everything for them."""

import numpy as np
import pytest

from training import order
from training.examples import Examples
from training.order import drawn, epoch_order, epoch_size


def simulated(lengths: list[int], *, group_rows: int = 128, shards: int = 1) -> Examples:
    """The index of a dataset: tracks of so many crops, one a video, dealt to shards in turn. No pictures."""
    shard, row, track = [], [], []
    for number in range(shards):
        mine = [place for place in range(len(lengths)) if place % shards == number]
        count = sum(lengths[place] for place in mine)
        shard += [np.full(count, number)]
        row += [np.arange(count)]
        track += [np.full(lengths[place], place) for place in mine]
    rows, nothing = np.concatenate(row), np.zeros((sum(lengths), 0), np.float32)
    video = np.concatenate(track).astype(np.int32)
    return Examples(
        split="train", expression=nothing, expression_sigma=nothing, video=video,
        videos=tuple((0, str(number)) for number in range(len(lengths))), track=video,
        shard=np.concatenate(shard).astype(np.int32),
        row_group=(rows // group_rows).astype(np.int32), row=(rows % group_rows).astype(np.int32), shards=(),
    )  # fmt: skip


LENGTHS = [1, 5, 16, 17, 18, 40, 128, 700, 3000, 257]


@pytest.mark.parametrize("crops_per_track", [1, 3, 16, 64, 500])
@pytest.mark.parametrize("group_rows", [1, 7, 128, 5000])
def test_an_epoch_shows_so_many_different_crops_of_each_track_and_all_of_short_ones(
    crops_per_track: int, group_rows: int
) -> None:
    examples = simulated(LENGTHS, group_rows=group_rows)
    for epoch in range(20):
        chosen = drawn(examples, crops_per_track=crops_per_track, seed=3, epoch=epoch)
        assert (np.diff(chosen) > 0).all()
        seen = np.bincount(examples.track[chosen], minlength=len(LENGTHS))
        assert seen.tolist() == [min(length, crops_per_track) for length in LENGTHS]
        assert len(chosen) == epoch_size(examples, crops_per_track)


def test_zero_takes_all_crops_of_every_track() -> None:
    examples = simulated(LENGTHS)
    assert drawn(examples, crops_per_track=0, seed=0, epoch=0).tolist() == list(range(sum(LENGTHS)))
    assert epoch_size(examples, 0) == sum(LENGTHS)


def test_each_crop_of_a_track_is_drawn_as_often_as_any_other() -> None:
    # The track's ends lie in row groups of which it has 28 and 44 rows.
    examples = simulated([100, 200, 90])
    counts = np.zeros(390)
    for epoch in range(4000):
        counts[drawn(examples, crops_per_track=24, seed=1, epoch=epoch)] += 1
    expected = 4000 * 24 / 200
    assert np.abs(counts[100:300] / expected - 1).max() < 0.25  # 5 standard deviations of a count of 480
    assert np.abs(counts[100:128].mean() / expected - 1) < 0.05
    assert np.abs(counts[256:300].mean() / expected - 1) < 0.05


@pytest.mark.parametrize(
    ("lengths", "group_rows", "crops_per_track"),
    [
        ([30, 300, 300], 128, 64),  # all of it may be read
        ([11, 100, 300, 77], 32, 5),  # one row group at a time
        ([70, 1000], 64, 29),  # a few of them, and ends that are smaller; 29 is shared by none of them
        ([100, 250], 3, 16),  # row groups smaller than a cluster
    ],
)
def test_where_row_groups_begin_makes_no_crop_likelier(
    lengths: list[int], group_rows: int, crops_per_track: int
) -> None:
    examples, epochs = simulated(lengths, group_rows=group_rows), 2000
    counts = np.zeros(len(examples))
    for epoch in range(epochs):
        counts[drawn(examples, crops_per_track=crops_per_track, seed=2, epoch=epoch)] += 1
    share = np.repeat([min(1.0, crops_per_track / length) for length in lengths], lengths)
    assert (np.abs(counts - epochs * share) <= 5 * np.sqrt(epochs * share * (1 - share))).all()


def test_crops_are_drawn_anew_in_each_epoch_and_by_another_seed() -> None:
    examples = simulated([3000] * 20)
    first = drawn(examples, crops_per_track=32, seed=0, epoch=0)
    assert first.tolist() == drawn(examples, crops_per_track=32, seed=0, epoch=0).tolist()
    for seed, epoch in ((0, 1), (1, 0)):
        assert np.isin(drawn(examples, crops_per_track=32, seed=seed, epoch=epoch), first).mean() < 0.1


@pytest.mark.parametrize(("group_rows", "most_read"), [(128, 11.0), (512, 20.0)])
def test_little_is_read_for_a_few_crops_and_these_are_spread_over_their_track(
    group_rows: int, most_read: float
) -> None:
    examples = simulated([2000] * 50, group_rows=group_rows)
    chosen = drawn(examples, crops_per_track=64, seed=0, epoch=0)
    read = len(np.unique(examples.row_group[chosen])) * group_rows
    assert read / len(chosen) <= most_read
    spread = [np.ptp(chosen[examples.track[chosen] == track]) for track in range(50)]
    assert np.mean(spread) > (1000 if group_rows == 128 else 200)
    gaps = np.diff(chosen)
    assert np.median(gaps) >= 6  # a quarter of a second of video


def test_a_batch_shows_hundreds_of_videos() -> None:
    # A dataset of 3,000 videos, 2,000 frames each, in 16 shards.
    examples = simulated([2000] * 3000, shards=16)
    windows = epoch_order(examples, crops_per_track=64, seed=0, epoch=0)
    assert all(abs(len(window) / order.WINDOW_CROPS - 1) < 0.05 for window in windows)
    batches = np.concatenate(windows)[: 100 * 256].reshape(100, 256)
    assert np.mean([len(np.unique(examples.video[batch])) for batch in batches]) > 190


def test_windows_are_of_one_size_and_a_row_group_is_in_one_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "WINDOW_CROPS", 100)
    examples = simulated([10] * 101, group_rows=10)
    windows = epoch_order(examples, crops_per_track=0, seed=0, epoch=0)
    assert len(windows) == 11
    assert {len(window) for window in windows} == {90, 100}
    homes = [set(examples.row_group[window].tolist()) for window in windows]
    assert sum(map(len, homes)) == len(set.union(*homes))
    assert epoch_order(simulated([0]), crops_per_track=64, seed=0, epoch=0) == []
