"""Whoever receives a dataset learns everything that is wrong with it, by name."""

import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import facevid
from facevid.description import DatasetError
from facevid.release.documents import write_documents
from facevid.release.values import Pictures
from facevid.release.verify import faults, read_described
from facevid.release.write import ReleaseOptions, write_release
from training.decoding import decoded_crop


def found(folder: Path) -> list[str]:
    return list(faults(read_described(str(folder)), Pictures(decode=decoded_crop, most=0)))


@pytest.fixture
def release(write_dataset: Callable[..., Path], toy_track: type, tmp_path: Path) -> Path:
    dataset = write_dataset(
        toy_track(video_id="a", frames=6, subject_id="anna"), toy_track(video_id="b", frames=5, subject_id="anna"),
        toy_track(video_id="c", split="val"), shards=1,
    )  # fmt: skip
    write_release(facevid.open(dataset), tmp_path / "new", ReleaseOptions(), progress=lambda *_: None)
    assert found(tmp_path / "new") == []
    return tmp_path / "new"


FRAMES, TRACKS = (f"{name}/part-00000-of-00001.parquet" for name in ("frames", "tracks"))


def test_every_damaged_file_is_named_not_only_the_first(release: Path) -> None:
    frames = (release / FRAMES).read_bytes()
    (release / FRAMES).write_bytes(frames[:-7])
    (release / TRACKS).unlink()
    (release / "face_model.npz").write_bytes(b"another")
    truncated, missing, model = found(release)
    assert truncated.startswith(f"{FRAMES} has {len(frames) - 7:,} bytes, not {len(frames):,}: truncated")
    assert missing == f"{TRACKS} is missing"
    assert model.startswith("face_model.npz has sha256 ")


def test_a_file_of_the_same_size_but_other_bytes_is_told(release: Path) -> None:
    content = bytearray((release / FRAMES).read_bytes())
    content[50] ^= 1
    (release / FRAMES).write_bytes(content)
    (fault,) = found(release)
    assert fault.startswith(f"{FRAMES} has sha256 ")


def test_swapped_shards_are_told(write_dataset: Callable[..., Path], toy_track: type) -> None:
    dataset = write_dataset(*(toy_track(video_id=name) for name in "abcdef"))
    one, two = (dataset / "frames" / f"part-0000{number}-of-00002.parquet" for number in (0, 1))
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    assert [fault.split()[0] for fault in found(dataset)] == [
        "frames/part-00000-of-00002.parquet", "frames/part-00001-of-00002.parquet"
    ]


def test_files_that_nobody_lists_are_named_anywhere_in_a_release(release: Path) -> None:
    for name in ("frames/part-00009-of-00001.parquet", "run.json", "store/videos/ab/x", ".hidden"):
        (release / name).parent.mkdir(parents=True, exist_ok=True)
        (release / name).write_bytes(b"x")
    (release / ".git").mkdir()
    (release / ".git" / "config").write_bytes(b"x")
    (release / "README.md").write_text("my own card")
    assert [fault.split()[0] for fault in found(release)] == [
        ".hidden", "frames/part-00009-of-00001.parquet", "run.json", "store/videos/ab/x"
    ]


def test_in_the_folder_of_a_build_only_strays_among_the_shards_are_faults(
    write_dataset: Callable[..., Path], toy_track: type
) -> None:
    dataset = write_dataset(toy_track(video_id="a"))
    (dataset / "run.json").write_bytes(b"{}")
    assert found(dataset) == []
    (dataset / "tracks" / "old.parquet").write_bytes(b"x")
    assert found(dataset) == ["tracks/old.parquet is not listed in facevid.json"]


@pytest.mark.parametrize("text", [None, "{", "[]", '{"distribution": [{"contentUrl": "x", "sha256": "y"}]}'])
def test_metadata_that_say_something_else_are_told(release: Path, text: str | None) -> None:
    path = release / "croissant.json"
    path.unlink() if text is None else path.write_text(text)
    (fault,) = found(release)
    assert fault.startswith("croissant.json ")


def test_shards_of_another_form_are_told_though_their_hash_is_listed(
    release: Path, forge_shard: Callable[..., Path]
) -> None:
    forge_shard(release, "frames", lambda table: table.append_column("extra", table["pts_s"]))
    forge_shard(release, "tracks", lambda table: table.drop_columns(["codec"]))
    other = [fault for fault in found(release) if not fault.startswith("croissant")]
    assert other == [
        f"{FRAMES} has columns that the schema does not: extra", f"{TRACKS} lacks columns: codec",
    ]  # fmt: skip


def replaced(table: pa.Table, name: str, values: list[object]) -> pa.Table:
    place = table.schema.get_field_index(name)
    return table.set_column(place, table.schema.field(place), pa.array(values, table.schema.field(place).type))


@pytest.mark.parametrize(
    ("name", "values", "fault"),
    [
        ("split", ["train", "test", "val"], "a subject is in two splits, and training would leak: 1 row"),
        ("frames", [6, 5, 9], "frames is not what the frames table has: 1 row, such as video_id 'c' "),
        ("face_model_sha256", ["0" * 64] * 3, "face_model_sha256 is not the dataset's, "),
    ],
)
def test_tables_that_contradict_one_another_are_told(
    release: Path, forge_shard: Callable[..., Path], name: str, values: list[object], fault: str
) -> None:
    forge_shard(release, "tracks", lambda table: replaced(table, name, values))
    (release / "croissant.json").unlink()
    write_documents(facevid.open(release))
    faults_found = found(release)
    assert faults_found
    assert all(fault in each for each in faults_found)


def test_a_file_that_is_in_two_splits_under_two_ids_is_told_and_clips_of_one_that_share_no_time_are_not(
    write_dataset: Callable[..., Path], toy_track: type, forge_shard: Callable[..., Path]
) -> None:
    dataset = write_dataset(
        toy_track(video_id="a", source="film"), toy_track(video_id="a", track=1, source="film"),
        toy_track(video_id="b", source="film", split="test"), toy_track(video_id="c", source="film", split="test"),
        toy_track(video_id="d", source="other", split="test"), shards=1,
    )  # fmt: skip
    (told,) = found(dataset)
    assert told == (
        "tracks: a file is in two splits under several ids, and training would leak: 2 rows, such as video_id 'b' "
        "track 0 in test, of a file that is in train too"
    )
    for start_s, count in ((10.0, 0), (9.5, 1)):
        forge_shard(dataset, "tracks", lambda table: replaced(table, "clip_end_s", [10.0, 10.0, 20.0, 20.0, None]))
        starts_s = [None, None, start_s, start_s, None]
        forge_shard(dataset, "tracks", lambda table, new=starts_s: replaced(table, "clip_start_s", new))
        assert len(found(dataset)) == count


@pytest.mark.parametrize("target", ["/dev/zero", None])
@pytest.mark.parametrize("name", [FRAMES, "face_model.npz", "croissant.json"])
def test_what_would_be_read_for_ever_is_told_instead(release: Path, name: str, target: str | None) -> None:
    (release / name).unlink()
    os.mkfifo(release / name) if target is None else (release / name).symlink_to(target)
    assert found(release) == [f"{name} is no file"]


@pytest.mark.parametrize("statistics", [True, False])
def test_values_that_readers_need_and_a_split_that_there_is_not_are_told(
    release: Path, forge_shard: Callable[..., Path], statistics: bool
) -> None:
    def lacking(table: pa.Table) -> bytes:
        loose = pa.schema([field.with_nullable(True) for field in table.schema])
        pq.write_table(replaced(table.cast(loose), "pts_s", [None] * 19), buffer := io.BytesIO(),
                       write_statistics=statistics)  # fmt: skip
        return buffer.getvalue()

    forge_shard(release, "tracks", lambda table: replaced(table, "split", ["zebra"] * 3))
    write_documents(facevid.open(release))
    (told,) = found(release)
    assert told.startswith("tracks: split is none of train, val, test: 3 rows, such as video_id 'a' track 0: split ")

    forge_shard(release, "frames", lacking)
    write_documents(facevid.open(release))
    (fault,) = found(release)
    assert "column pts_s lacks values in 19 rows" in fault


def test_a_funnel_that_counts_other_frames_is_told(release: Path) -> None:
    where = release / "facevid.json"
    plain = json.loads(where.read_text("utf-8"))
    plain["funnel"][-1] |= {"ok": 18, "filtered": 1}
    where.write_text(json.dumps(plain), "utf-8")
    assert found(release) == ["the funnel says that 18 frames went out, the frames table has 19"]


def test_what_has_no_description_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"is no FaceVid dataset: its facevid.json is missing or no text"):
        read_described(str(tmp_path))
