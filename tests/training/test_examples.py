"""Which crops are trained on, in which order, and that pictures and labels belong together."""

import math
import struct
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest
import simplejpeg

import facevid
from facevid.dataset import Dataset
from facevid.description import DatasetError
from facevid.shard_file import ShardFile
from facevid.shards import ShardInfo
from training import examples as module
from training import order
from training.augment import Augmentation
from training.crop_reader import CropReader
from training.examples import Examples, load_splits
from training.image_files import read_image
from training.loader import ordered_batches, training_batches
from training.order import epoch_order


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
    return load_splits([facevid.open(path)])["train"]


def disc_position(crop: np.ndarray, expression: np.ndarray) -> float:
    """Distance between where the toy picture's first disc is and where its label says it is, pixels."""
    red = (crop[..., 0] > 180) & (crop[..., 1] < 120) & (crop[:, :, 2] < 120)
    return abs(float(np.nonzero(red)[0].mean()) - (112 + 25 * float(np.clip(expression[0], -3, 3))))


def test_only_kept_crops_of_the_split_are_examples(examples: Examples) -> None:
    assert len(examples) == 5 + 5 + 9
    assert examples.videos == ((0, "a"), (0, "c"))
    assert np.bincount(examples.video).tolist() == [5, 14]
    val = load_splits([examples.shards[0].dataset])["val"]
    assert (len(val), val.videos) == (4, ((0, "d"),))
    assert len(load_splits([examples.shards[0].dataset])["test"]) == 0


def test_every_picture_comes_with_its_own_label(examples: Examples) -> None:
    everything = np.arange(len(examples))
    (batch,) = ordered_batches(examples, everything, batch_size=64, workers=2)
    np.testing.assert_array_equal(batch.examples, everything)
    np.testing.assert_array_equal(batch.expression, examples.expression)
    assert max(disc_position(*pair) for pair in zip(batch.crops, batch.expression, strict=True)) < 1.0


def test_an_epoch_shows_every_example_once_and_the_next_in_another_order(
    examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order, "WINDOW_CROPS", 10)
    epochs = [np.concatenate(epoch_order(examples, crops_per_track=0, seed=4, epoch=epoch)) for epoch in (0, 0, 1)]
    for shown in epochs:
        # Neighbours in a video come apart, and not only whole row groups.
        assert (np.diff(shown) == 1).sum() < len(examples) / 3
        assert sorted(shown.tolist()) == list(range(len(examples)))
    assert epochs[0].tolist() == epochs[1].tolist()
    assert epochs[0].tolist() != epochs[2].tolist()
    assert epochs[0].tolist() != np.concatenate(epoch_order(examples, crops_per_track=0, seed=5, epoch=0)).tolist()


def test_batches_do_not_depend_on_the_number_of_threads(examples: Examples) -> None:
    change = Augmentation(seed=1, epoch=2, mirror=np.eye(4, dtype=np.float32)[[1, 0, 2, 3]])
    runs = [
        list(training_batches(
            examples, seed=1, epoch=2, batch_size=4, crops_per_track=6, augmentation=change, workers=workers
        ))
        for workers in (0, 1, 3, 20)
    ]
    assert [len(run) for run in runs] == [4, 4, 4, 4]  # 5 + 5 + 6 crops
    for run in runs[1:]:
        for batch, wanted in zip(run, runs[0], strict=True):
            np.testing.assert_array_equal(batch.crops, wanted.crops)
            np.testing.assert_array_equal(batch.expression, wanted.expression)


def test_batches_from_the_middle_of_an_epoch_are_those_of_the_whole(
    examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order, "WINDOW_CROPS", 8)
    options = {"seed": 1, "epoch": 2, "batch_size": 4, "crops_per_track": 0, "augmentation": None, "workers": 0}
    whole = list(training_batches(examples, **options))
    read: list[int] = []
    original = CropReader._read

    def reading(self: CropReader, members: np.ndarray) -> dict[int, bytes]:
        read.extend(members.tolist())
        return original(self, members)

    monkeypatch.setattr(CropReader, "_read", reading)
    for first in range(5):
        read.clear()
        rest = list(training_batches(examples, first=first, **options))
        assert [batch.examples.tolist() for batch in rest] == [batch.examples.tolist() for batch in whole[first:]]
        assert len(read) == 19 - 4 * first


def test_fewer_examples_than_a_batch_make_one_batch(examples: Examples) -> None:
    batches = list(training_batches(
        examples, seed=0, epoch=0, batch_size=100, crops_per_track=0, augmentation=None, workers=0
    ))
    assert [len(batch.crops) for batch in batches] == [19]


def test_evenly_spread_choices_are_ascending_and_without_repeats(examples: Examples) -> None:
    assert examples.evenly(4).tolist() == [0, 6, 12, 18]
    assert examples.evenly(100).tolist() == list(range(19))
    assert load_splits([examples.shards[0].dataset])["test"].evenly(5).tolist() == []


def endless_png(side_px: int = 50_000) -> bytes:
    """A picture of so many pixels squared, as its header says."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side_px, side_px, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")


def noisy_jpeg() -> bytes:
    return cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8))[1].tobytes()


@pytest.mark.parametrize(
    "data",
    [b"no JPEG", b"", b"\xff\xd8\xff", noisy_jpeg()[:5000], endless_png(224)[:20], endless_png(224)[:40],
     cv2.imencode(".bmp", np.zeros((224, 224, 3), np.uint8))[1].tobytes(),
     cv2.imencode(".png", np.zeros((224, 224, 3), np.uint8))[1].tobytes() + bytes(300_000)],
    ids=["text", "nothing", "signature", "half-a-jpeg", "half-a-header", "header", "another-format", "too-long"],
)
def test_a_crop_that_is_no_picture_is_named(
    examples: Examples, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    monkeypatch.setattr(CropReader, "_read", lambda _, window: {int(example): data for example in window})
    with pytest.raises(DatasetError, match=r"crops/part-.*: crop 0 of row group 0 is no picture"):
        list(ordered_batches(examples, np.arange(1), batch_size=1, workers=1))


def endless_jpeg(side_px: int) -> bytes:
    data = bytearray(cv2.imencode(".jpg", np.zeros((224, 224, 3), np.uint8))[1].tobytes())
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", side_px, side_px)
    return bytes(data)


@pytest.mark.parametrize("endless", [endless_png, endless_jpeg])
@pytest.mark.parametrize("side_px", [225, 32_000, 50_000])  # OpenCV takes up to 2^30 pixels, 3 GB
def test_a_crop_is_decoded_only_if_it_says_to_have_the_size_of_one(
    examples: Examples, monkeypatch: pytest.MonkeyPatch, endless: Callable[[int], bytes], side_px: int
) -> None:
    data = endless(side_px)
    monkeypatch.setattr(CropReader, "_read", lambda _, window: {int(example): data for example in window})
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("it was decoded"))
    monkeypatch.setattr(simplejpeg, "decode_jpeg", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(DatasetError, match=rf"crop 0 of row group 0 is {side_px} x {side_px} pixels, not 224 x 224"):
        list(ordered_batches(examples, np.arange(1), batch_size=1, workers=1))


@pytest.mark.parametrize("kind", [".png", ".jpg"])
def test_a_crop_may_be_a_jpeg_or_a_png(
    examples: Examples, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    data = cv2.imencode(kind, np.full((224, 224, 3), (10, 20, 200), np.uint8))[1].tobytes()
    monkeypatch.setattr(CropReader, "_read", lambda _, window: {int(example): data for example in window})
    (batch,) = ordered_batches(examples, np.arange(1), batch_size=1, workers=0)
    np.testing.assert_allclose(batch.crops[0, 0, 0], (200, 20, 10), atol=3)


def test_an_image_larger_than_opencv_takes_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "endless.png").write_bytes(endless_png())
    with pytest.raises(ValueError, match=r"endless\.png is an image that OpenCV does not take: .*PIXELS"):
        read_image(tmp_path / "endless.png")


@pytest.fixture
def one_video(write_dataset: Callable[..., Path], toy_track: type) -> Path:
    return write_dataset(toy_track(video_id="a", frames=8), shards=1)


def changed(table: pa.Table, name: str, row: int, value: object) -> pa.Table:
    values = table[name].to_pylist()
    values[row] = value
    place = table.column_names.index(name)
    return table.set_column(place, table.schema.field(name), pa.array(values, table.schema.field(name).type))


def without(name: str) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.drop_columns([name])


def with_value(name: str, row: int, value: object) -> Callable[[pa.Table], pa.Table]:
    return lambda table: changed(table, name, row, value)


def with_text(name: str) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.set_column(
        table.column_names.index(name), name, pa.array(["no number"] * len(table))
    )


@pytest.mark.parametrize(
    ("table", "change", "complaint"),
    [
        ("frames", without("expression"), r"has no columns expression: an earlier version"),
        ("crops", without("frame"), r"has no columns frame"),
        ("tracks", without("subject_id"), r"has no columns subject_id"),
        ("frames", with_text("expression_sigma"), r"column expression_sigma is of type string"),
        ("crops", with_text("track"), r"column track is of type string"),
        ("frames", with_value("expression", 1, [0.0, math.nan, 0.0, 0.0]),
         r"column expression holds what is no label, negative or not finite, as in .*'frame': 1, .*nan"),
        ("frames", with_value("expression", 2, [0.0, math.inf, 0.0, 0.0]), r"column expression holds .*'frame': 2"),
        ("frames", with_value("expression_sigma", 2, [0.1, -0.1, 0.1, 0.1]), r"column expression_sigma holds .*-0.1"),
        ("frames", with_value("frame", 3, 1), r"rows are not sorted, or repeated, at .*'frame': 1"),
        ("frames", lambda table: table.slice(0, 0), r"has 0 rows, not 8"),
        ("crops", lambda _: b"<html>", r"is damaged"),
    ],
)  # fmt: skip
def test_shards_of_a_stranger_are_refused_by_name_before_training(
    one_video: Path, forge_shard: Callable[..., Path],
    table: str, change: Callable[[pa.Table], pa.Table | bytes], complaint: str,
) -> None:
    forge_shard(one_video, table, change)
    with pytest.raises(DatasetError, match=rf"{table}/part-00000-of-00001\.parquet:? {complaint}"):
        load_splits([facevid.open(one_video)])["train"]


def test_a_label_that_nobody_trains_on_may_be_anything(
    write_dataset: Callable[..., Path], toy_track: type, forge_shard: Callable[..., Path]
) -> None:
    path = write_dataset(toy_track(video_id="a", frames=8, dropped_frames=(3,)), shards=1)
    forge_shard(path, "frames", with_value("expression", 3, [math.nan] * 4))
    assert len(load_splits([facevid.open(path)])["train"]) == 7


def test_a_crop_without_a_picture_is_told(one_video: Path, forge_shard: Callable[..., Path]) -> None:
    def without_one(table: pa.Table) -> pa.Table:
        values = [None, *table["jpeg"].to_pylist()[1:]]
        return table.set_column(table.column_names.index("jpeg"), "jpeg", pa.array(values, pa.binary()))

    forge_shard(one_video, "crops", without_one)
    examples = load_splits([facevid.open(one_video)])["train"]
    with pytest.raises(DatasetError, match=r"crops/part-.*: column jpeg lacks values in 1 rows"):
        list(ordered_batches(examples, np.arange(8), batch_size=8, workers=0))


def test_tracks_of_one_video_are_told_apart_however_many_there_are(
    write_dataset: Callable[..., Path], toy_track: type
) -> None:
    # An hours-long talk show has tens of thousands.
    keys = [(video_id, track) for video_id in "ab" for track in (0, 1 << 14, 1 << 20)]
    tracks = [toy_track(video_id=video_id, track=track, frames=3) for video_id, track in keys]
    dataset = facevid.open(write_dataset(*tracks, shards=1))
    examples = load_splits([dataset])["train"]
    wanted = [row["expression"] for row in dataset.table("frames", columns=["expression"]).to_pylist()]
    np.testing.assert_array_equal(examples.expression, wanted)


def test_all_splits_come_of_one_reading_which_says_how_far_it_is(
    examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_REPORT_EVERY_S", 0.0)
    read: Counter[str] = Counter()
    original = Dataset.open_shard

    def open_shard(self: Dataset, shard: ShardInfo) -> ShardFile:
        read[shard.path] += 1
        return original(self, shard)

    monkeypatch.setattr(Dataset, "open_shard", open_shard)
    lines: list[str] = []
    found = load_splits([examples.shards[0].dataset], lines.append)

    assert {split: len(some) for split, some in found.items()} == {"train": 19, "val": 4, "test": 0}
    assert {count for path, count in read.items() if not path.startswith("tracks/")} == {1}
    # All crops but those of videos that nobody trains on count too.
    assert lines[-1].startswith("labels: 31 of 31 crops, ")


def test_an_empty_shard_gives_no_example(write_dataset: Callable[..., Path], toy_track: type) -> None:
    dataset = facevid.open(write_dataset(toy_track(video_id="a", frames=4), shards=3))
    assert sorted(shard.rows for shard in dataset.shards("crops")) == [0, 0, 4]
    assert len(load_splits([dataset])["train"]) == 4
