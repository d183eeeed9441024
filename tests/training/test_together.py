"""Several datasets train as the one that a single build of all their videos would have given."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch

import facevid
from facevid.dataset import Dataset
from facevid.description import DatasetError
from facevid.public_urls import public_url
from training import deepexp3d, export
from training.config import TrainOptions
from training.deepexp3d import train_deepexp3d
from training.examples import Examples, load_splits
from training.loader import ordered_batches
from training.together import open_together

OPTIONS = TrainOptions(preset="fast", epochs=2, batch_size=4, workers=0, crops_per_track=5)
FILM = "https://videos.example/film"

Row = tuple[bytes, tuple[float, ...]]


@pytest.fixture
def film(toy_track: type) -> Callable:
    """A track of a video of the web, which anyone may have fetched."""

    def track(video_id: str, **options: object) -> object:
        return toy_track(video_id=video_id, url=f"{FILM}/{options.get('source') or video_id}", **options)

    return track


def rows(examples: Examples) -> list[Row]:
    """Pictures and labels of all examples, without saying from which dataset."""
    batches = ordered_batches(examples, np.arange(len(examples)), batch_size=64, workers=0)
    return sorted(
        (crop.tobytes(), tuple(label.tolist()))
        for batch in batches for crop, label in zip(batch.crops, batch.expression, strict=True)
    )


def opened(*folders: Path) -> tuple[Dataset, ...]:
    return open_together(folders)


def test_two_datasets_hold_the_rows_and_splits_of_one_build_of_all_their_videos(
    write_dataset: Callable[..., Path], film: Callable
) -> None:
    first = [
        film("a", frames=7, dropped_frames=(2,)), film("b", frames=5, split="val"), film("both", frames=6),
        film("both", track=1, frames=4), film("c", kept=False),
    ]  # fmt: skip
    second = [film("d", frames=3, split="test"), film("both", frames=6), film("both", track=1, frames=4), film("e")]
    one = write_dataset(*first, *second[0::3], name="one", shards=4)
    a, b = write_dataset(*first, name="a", shards=3), write_dataset(*second, name="b", shards=2)
    lines: list[str] = []
    wanted, found = load_splits(opened(one)), load_splits(opened(a, b), lines.append)
    for split in ("train", "val", "test"):
        assert len(wanted[split]) > 0
        assert rows(found[split]) == rows(wanted[split])
        assert sorted(name for _, name in found[split].videos) == [name for _, name in wanted[split].videos]
        assert len(np.unique(found[split].track)) == len(np.unique(wanted[split].track))
    (line,) = lines
    assert line.startswith("left out, as they are there more than once: 1 videos, such as 'both' of ")
    assert f"{a}" in line
    assert f"{b}" in line


def test_the_order_in_which_datasets_are_named_changes_no_weight(
    write_dataset: Callable[..., Path], toy_track: type, tmp_path: Path, written: list
) -> None:
    a = write_dataset(toy_track(video_id="a", frames=9), toy_track(video_id="v", split="val"), name="a")
    b = write_dataset(toy_track(video_id="b", frames=7), toy_track(video_id="a", source="other"), name="b")
    for number, folders in enumerate(([a, b], [b, a], [a])):
        train_deepexp3d(folders, tmp_path / f"model{number}", OPTIONS, lambda _: None)
    (one, _), (other, record), (alone, _) = written
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not all(torch.equal(one[name], alone[name]) for name in one)
    # Two persons named their videos alike; they are two videos.
    assert record["sources"]["videos"] == 3


def test_a_model_lists_all_datasets_with_their_hashes(
    write_dataset: Callable[..., Path], toy_track: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    small_network: Callable,
) -> None:  # fmt: skip
    monkeypatch.setattr(deepexp3d, "build_network", small_network)
    monkeypatch.setattr(export, "_export_onnx", lambda network, path: path.write_bytes(b"ONNX"))
    monkeypatch.setattr(export, "_onnx_difference", lambda *_: 0.0)
    folders = [write_dataset(toy_track(video_id=name), name=name) for name in "ab"]
    train_deepexp3d(folders, tmp_path / "model", TrainOptions(preset="fast", max_steps=1, workers=0), lambda _: None)
    listed = json.loads((tmp_path / "model" / "config.json").read_text("utf-8"))["datasets"]
    assert [each["config_hash"] for each in listed] == ["c0ffee", "c0ffee"]
    assert [each["content_sha256"] for each in listed] == sorted({each["content_sha256"] for each in listed})
    assert len(listed) == 2
    card = (tmp_path / "model" / "README.md").read_text("utf-8")
    assert "Trained on 2 FaceVid datasets" in card
    assert all(f"`{each['content_sha256']}`" in card for each in listed)


def test_a_stopped_training_goes_on_with_the_same_datasets_only(
    write_dataset: Callable[..., Path], toy_track: type, tmp_path: Path, written: list, stopped_at_first_save: Callable
) -> None:
    a, b = (write_dataset(toy_track(video_id=name, frames=9), name=name) for name in "ab")
    train_deepexp3d([a, b], tmp_path / "whole", OPTIONS, lambda _: None)
    with stopped_at_first_save():
        train_deepexp3d([a, b], tmp_path / "model", OPTIONS, lambda _: None)
    with pytest.raises(ValueError, match="holds a training that was stopped, begun with datasets="):
        train_deepexp3d([a], tmp_path / "model", OPTIONS, lambda _: None)
    train_deepexp3d([b, a], tmp_path / "model", OPTIONS, lambda _: None)
    (whole, _), (went_on, _) = written
    assert all(torch.equal(whole[name], went_on[name]) for name in whole)


@pytest.mark.parametrize("other_way", [False, True])
def test_a_video_under_two_names_is_used_once_and_from_where_it_is_held_out(
    write_dataset: Callable[..., Path], toy_track: type, other_way: bool
) -> None:
    one = toy_track(video_id="mine", source="the same file", frames=9)
    other = toy_track(video_id="yours", source="the same file", frames=4, split="test")
    folders = [write_dataset(track, toy_track(video_id=f"with {track.video_id}"), name=track.video_id)
               for track in (one, other)]  # fmt: skip
    splits = load_splits(opened(*(folders[::-1] if other_way else folders)))
    assert {name for _, name in splits["train"].videos} == {"with mine", "with yours"}
    assert [name for _, name in splits["test"].videos] == ["yours"]


def test_one_dataset_with_a_file_under_two_names_does_not_leak_either(
    write_dataset: Callable[..., Path], toy_track: type
) -> None:
    folder = write_dataset(
        toy_track(video_id="a", source="s"), toy_track(video_id="b", source="s", split="val"), toy_track(video_id="c")
    )
    splits = load_splits(opened(folder))
    assert [len(splits[split]) for split in ("train", "val", "test")] == [8, 8, 0]
    assert splits["train"].videos == ((0, "c"),)


def test_of_two_copies_of_a_training_video_the_one_with_more_frames_is_used(
    write_dataset: Callable[..., Path], film: Callable
) -> None:
    # Fetched twice, in two formats: other bytes, the same address.
    short = write_dataset(film("short", frames=4, source="w"), name="short")
    long = write_dataset(film("long", frames=6, source="w"), name="long")
    for folder in (short, long):
        table = facevid.open(folder).table("tracks")
        assert len(table["source_sha256"][0].as_py()) == 64
    splits = load_splits(opened(short, long))
    assert [name for _, name in splits["train"].videos] == ["long"]
    assert len(splits["train"]) == 6


@pytest.mark.parametrize("split", ["train", "val"])
def test_videos_that_only_a_removed_secret_tells_apart_are_not_one(
    write_dataset: Callable[..., Path], toy_track: type, split: str
) -> None:
    urls = [public_url(f"{FILM}/v?video_key={key}") for key in ("AAA", "BBB")]
    assert urls[0] == urls[1] != f"{FILM}/v?video_key=AAA"
    tracks = [toy_track(video_id=name, url=urls[0], split=part) for name, part in (("a", "train"), ("b", split))]
    for folders in ([write_dataset(*tracks, name="one")], [write_dataset(each, name=each.video_id) for each in tracks]):
        splits = load_splits(opened(*folders))
        assert sorted(name for each in splits.values() for _, name in each.videos) == ["a", "b"]


def test_a_video_of_youtube_in_another_spelling_is_the_same(
    write_dataset: Callable[..., Path], toy_track: type
) -> None:
    page = "https://www.youtube.com/watch?v=dQw4w9WgXc_&session=removed"  # which is not what names it
    a = write_dataset(toy_track(video_id="a", url="https://youtu.be/dQw4w9WgXc_", frames=4), name="a")
    b = write_dataset(toy_track(video_id="b", url=page, split="test"), name="b")
    splits = load_splits(opened(a, b))
    assert [[name for _, name in splits[split].videos] for split in ("train", "test")] == [[], ["b"]]


def clipped(*clips: tuple[float | None, float | None]) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        for name, times_s in zip(("clip_start_s", "clip_end_s"), zip(*clips, strict=True), strict=True):
            place = table.schema.get_field_index(name)
            table = table.set_column(place, table.schema.field(place), pa.array(times_s, pa.float64()))
        return table

    return change


def test_other_clips_of_a_video_are_other_videos_but_not_in_another_datasets_split(
    write_dataset: Callable[..., Path], toy_track: type, forge_shard: Callable[..., Path]
) -> None:
    within = write_dataset(toy_track(video_id="x", source="s"), toy_track(video_id="y", source="s", split="val"),
                           name="within", shards=1)  # fmt: skip
    forge_shard(within, "tracks", clipped((0.0, 60.0), (60.0, None)))
    splits = load_splits(opened(within))  # as the manifest says: other people, perhaps
    assert [len(splits[split]) for split in ("train", "val")] == [8, 8]
    for shards in (1, 2, 3):  # which of the two comes first is by their content
        beside = write_dataset(toy_track(video_id="z", source="s"), name=f"beside{shards}", shards=shards)
        forge_shard(beside, "tracks", clipped((30.0, None)))
        with pytest.raises(DatasetError, match=r"source_sha256 '.*' is in the split .* of .* and in the split .* of "):
            load_splits(opened(within, beside))


@pytest.mark.parametrize(("clips", "refused"), [
    ([(None, None), (60.0, 70.0), (5.0, 6.0)], True),
    ([(0.0, 90.0), (60.0, None), (10.0, 20.0)], True),
    ([(5.0, 60.0), (60.0, 70.0), (None, 5.5)], False),  # only parts of one split share time
])  # fmt: skip
def test_a_moment_of_a_film_in_two_splits_of_one_dataset_is_refused(
    write_dataset: Callable[..., Path], toy_track: type, forge_shard: Callable[..., Path], clips: list,
    refused: bool,
) -> None:  # fmt: skip
    splits = {"x": "train", "y": "val", "z": "train"}
    folder = write_dataset(*(toy_track(video_id=name, source="s", split=split) for name, split in splits.items()),
                           shards=1)  # fmt: skip
    forge_shard(folder, "tracks", clipped(*clips))
    if not refused:
        assert len(load_splits(opened(folder))["train"]) == 16
        return
    with pytest.raises(DatasetError, match="a moment of 'x', which is in 'y' too, is in the splits train and val: "):
        load_splits(opened(folder))


def test_a_clip_from_the_very_begin_is_the_video_from_its_begin(
    write_dataset: Callable[..., Path], toy_track: type, forge_shard: Callable[..., Path]
) -> None:
    folder = write_dataset(*(toy_track(video_id=name, source="s") for name in "ab"), shards=1)
    forge_shard(folder, "tracks", clipped((None, 9.0), (0.0, 9.0)))
    assert len(load_splits(opened(folder))["train"]) == 8


def test_somebody_in_the_splits_of_two_datasets_is_refused_and_both_are_named(
    write_dataset: Callable[..., Path], toy_track: type
) -> None:
    a = write_dataset(toy_track(video_id="a", subject_id="s"), name="a")
    b = write_dataset(toy_track(video_id="b", subject_id="s", split="val"), name="b")
    for folders in ((a, b), (b, a)):
        with pytest.raises(DatasetError, match=r"subject_id 's' is in the split .* tested on") as told:
            load_splits(opened(*folders))
        assert f"split train of {a}" in str(told.value)
        assert f"split val of {b}" in str(told.value)


def test_a_video_that_nobody_uses_is_in_no_split(write_dataset: Callable[..., Path], toy_track: type) -> None:
    unused = {"subject_id": "s", "source": "f", "split": "val", "kept": False}
    a = write_dataset(toy_track(video_id="a", subject_id="s", source="f"), name="a")
    b = write_dataset(toy_track(video_id="b", **unused), toy_track(video_id="c"), name="b")
    assert [len(examples) for examples in load_splits(opened(a, b)).values()] == [16, 0, 0]


@pytest.mark.parametrize(
    ("rows_of", "complaint"),
    [
        ([("v", 0, None, "train"), ("v", 1, None, "val")], "video_id 'v' is in the splits train and val"),
        ([("v", 0, "s", "train"), ("w", 0, "s", "test")], "subject_id 's' is in the splits train and test"),
        ([("v", 0, "", "train"), ("w", 0, "", "test"), ("x", 0, None, "val")], None),
    ],
)
def test_somebody_in_two_splits_of_one_dataset_is_refused(
    write_dataset: Callable[..., Path], toy_track: type, rows_of: list[tuple[str, int, str | None, str]],
    complaint: str | None,
) -> None:  # fmt: skip
    names = ("video_id", "track", "subject_id", "split")
    datasets = opened(write_dataset(*(toy_track(**dict(zip(names, row, strict=True))) for row in rows_of)))
    if complaint is None:
        assert all(len(examples) for examples in load_splits(datasets).values())
        return
    with pytest.raises(DatasetError, match=complaint):
        load_splits(datasets)


def described(folder: Path, **values: object) -> Path:
    path = folder / "facevid.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | values), "utf-8")
    return folder


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"face_model_sha256": "f" * 64, "face_model": "ict"}, r"face models (toy|ict) \(\w{12}\) and (toy|ict) "),
        ({"n_expression": 5}, "have [45] and [45] expression coefficients of one face model"),
        ({"landmark_scheme": "ibug68"}, "registered by the landmarks (toy5|ibug68) and (toy5|ibug68)"),
    ],
)
def test_datasets_that_mean_other_things_are_refused_by_name_with_what_differs(
    write_dataset: Callable[..., Path], toy_track: type, values: dict, complaint: str
) -> None:
    a = write_dataset(toy_track(video_id="a"), name="a")
    b = described(write_dataset(toy_track(video_id="b"), name="b"), **values)
    with pytest.raises(DatasetError, match=complaint) as told:
        opened(a, b)
    assert str(a) in str(told.value)
    assert str(b) in str(told.value)


def test_the_same_dataset_twice_one_without_crops_and_none_are_refused(
    write_dataset: Callable[..., Path], toy_track: type
) -> None:
    a = write_dataset(toy_track(video_id="a"), name="a")
    bare = write_dataset(toy_track(video_id="b", crops_from=99), name="bare")
    with pytest.raises(DatasetError, match="they are the same dataset; name it once"):
        opened(a, a)
    with pytest.raises(DatasetError, match=r"bare has no crops, and training looks at crops"):
        opened(a, bare)
    with pytest.raises(ValueError, match="datasets: name at least one dataset folder"):
        opened()


def test_a_release_without_its_face_model_trains_beside_a_dataset_that_has_it(
    write_dataset: Callable[..., Path], toy_track: type, tmp_path: Path, written: list
) -> None:
    folders = [write_dataset(toy_track(video_id=name), name=name) for name in "ab"]
    first = Path(opened(*folders)[0].root)
    (described(first, with_face_model=False) / "face_model.npz").unlink()
    train_deepexp3d(folders, tmp_path / "model", OPTIONS, lambda _: None)
    assert len(written) == 1


def test_a_dataset_of_an_earlier_version_which_knew_no_clips_is_trained_on(
    write_dataset: Callable[..., Path], toy_track: type, forge_shard: Callable[..., Path]
) -> None:
    folder = write_dataset(toy_track(video_id="a"), shards=1)
    forge_shard(folder, "tracks", lambda table: table.drop_columns(["clip_start_s", "clip_end_s"]))
    assert pc.all(pc.is_valid(facevid.open(folder).table("tracks", columns=["url"])["url"])).as_py()
    assert len(load_splits(opened(folder))["train"]) == 8
