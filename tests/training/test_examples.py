"""Which crops are trained on, in which order, and that pictures and labels belong together."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import facevid
from facevid.description import DatasetError
from training import loader
from training.augment import Augmentation
from training.examples import Examples, check_splits, load_examples
from training.loader import epoch_order, ordered_batches, training_batches


@pytest.fixture
def examples(write_dataset: Callable[..., Path], toy_track: type) -> Examples:
    path = write_dataset(
        toy_track(video_id="a", frames=7, dropped_frames=(0, 3)),
        toy_track(video_id="b", frames=6, kept=False),
        toy_track(video_id="c", track=0, frames=5),
        toy_track(video_id="c", track=1, frames=12, crops_from=3),
        toy_track(video_id="d", frames=4, split="val"),
        shards=3,
    )
    return load_examples(facevid.open(path), "train")


def disc_position(crop: np.ndarray, expression: np.ndarray) -> float:
    """Distance between where the toy picture's first disc is and where its label says it is, pixels."""
    red = (crop[..., 0] > 180) & (crop[..., 1] < 120) & (crop[:, :, 2] < 120)
    return abs(float(np.nonzero(red)[0].mean()) - (112 + 25 * float(np.clip(expression[0], -3, 3))))


def test_only_kept_crops_of_the_split_are_examples(examples: Examples) -> None:
    assert len(examples) == 5 + 5 + 9
    assert examples.videos == ("a", "c")
    assert np.bincount(examples.video).tolist() == [5, 14]
    val = load_examples(examples.dataset, "val")
    assert (len(val), val.videos) == (4, ("d",))
    assert len(load_examples(examples.dataset, "test")) == 0


def test_every_picture_comes_with_its_own_label(examples: Examples) -> None:
    everything = np.arange(len(examples))
    (batch,) = ordered_batches(examples, everything, batch_size=64, workers=2)
    np.testing.assert_array_equal(batch.examples, everything)
    np.testing.assert_array_equal(batch.expression, examples.expression)
    assert max(disc_position(*pair) for pair in zip(batch.crops, batch.expression, strict=True)) < 1.0


def test_an_epoch_shows_every_example_once_and_the_next_in_another_order(
    examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "WINDOW_ROW_GROUPS", 2)
    epochs = [np.concatenate(epoch_order(examples, seed=4, epoch=epoch)) for epoch in (0, 0, 1)]
    for order in epochs:
        # Neighbours in a video come apart, and not only whole row groups.
        assert (np.diff(order) == 1).sum() < len(examples) / 3
        assert sorted(order.tolist()) == list(range(len(examples)))
    assert epochs[0].tolist() == epochs[1].tolist()
    assert epochs[0].tolist() != epochs[2].tolist()
    assert epochs[0].tolist() != np.concatenate(epoch_order(examples, seed=5, epoch=0)).tolist()


def test_batches_do_not_depend_on_the_number_of_threads(examples: Examples) -> None:
    change = Augmentation(seed=1, epoch=2, mirror=np.eye(4, dtype=np.float32)[[1, 0, 2, 3]])
    runs = [
        list(training_batches(examples, seed=1, epoch=2, batch_size=4, augmentation=change, workers=workers))
        for workers in (0, 1, 3)
    ]
    assert [len(run) for run in runs] == [4, 4, 4]
    for run in runs[1:]:
        for batch, wanted in zip(run, runs[0], strict=True):
            np.testing.assert_array_equal(batch.crops, wanted.crops)
            np.testing.assert_array_equal(batch.expression, wanted.expression)


def test_fewer_examples_than_a_batch_make_one_batch(examples: Examples) -> None:
    batches = list(training_batches(examples, seed=0, epoch=0, batch_size=100, augmentation=None, workers=0))
    assert [len(batch.crops) for batch in batches] == [19]


def test_evenly_spread_choices_are_ascending_and_without_repeats(examples: Examples) -> None:
    assert examples.evenly(4).tolist() == [0, 6, 12, 18]
    assert examples.evenly(100).tolist() == list(range(19))
    assert load_examples(examples.dataset, "test").evenly(5).tolist() == []


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([("v", None, "train"), ("v", None, "val")], "video_id 'v' is in the splits train and val"),
        ([("v", "s", "train"), ("w", "s", "test")], "subject_id 's' is in the splits train and test"),
    ],
)
def test_somebody_in_two_splits_is_refused(rows: list[tuple[str, str | None, str]], complaint: str) -> None:
    columns = dict(zip(("video_id", "subject_id", "split"), map(list, zip(*rows, strict=True)), strict=True))
    with pytest.raises(DatasetError, match=complaint):
        check_splits(pa.table(columns))


def test_videos_without_a_named_subject_may_be_in_different_splits() -> None:
    check_splits(pa.table({"video_id": ["v", "w"], "subject_id": pa.array([None, None], pa.string()),
                           "split": ["train", "val"]}))


def test_a_crop_that_is_no_picture_is_named(examples: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "_read", lambda _, window: {int(example): b"no JPEG" for example in window})
    with pytest.raises(DatasetError, match=r"crops/part-.*: crop 0 of row group 0 is no picture"):
        list(ordered_batches(examples, np.arange(1), batch_size=1, workers=1))
