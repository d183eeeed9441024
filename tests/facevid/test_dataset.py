"""Opening and reading a dataset, and what is said about one that is damaged."""

import io
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import facevid
from facevid import storage
from facevid.dataset import Dataset
from facevid.description import DatasetDescription, DatasetError, FunnelStep
from facevid.shard_file import ShardFile
from facevid.track_arrays import TrackArrays


@pytest.fixture
def dataset(write_dataset: Callable[..., Path], toy_track: type) -> Path:
    return write_dataset(
        toy_track(video_id="b", track=0, frames=6, dropped_frames=(2,)),
        toy_track(video_id="b", track=1, frames=4, kept=False),
        toy_track(video_id="a", track=0, frames=5, split="val"),
        failures=[{"video_id": "z", "track": None, "url": "u", "stage": "faces", "code": "no_face",
                   "retryable": False, "attempt": 1, "message": "no face was seen"}],
    )


def test_tracks_come_with_their_frames_as_arrays(dataset: Path) -> None:
    tracks = {(track.video_id, track.track): track for track in facevid.open(dataset).tracks(kept_only=False)}
    assert sorted(tracks) == [("a", 0), ("b", 0), ("b", 1)]
    track = tracks["b", 0]
    assert track.frame.tolist() == list(range(6))
    assert track.expression.shape == (6, 4)
    assert track.landmarks_px.shape == (6, 5, 2)
    np.testing.assert_array_equal(track.landmarks_px[3], 3.0)
    np.testing.assert_allclose(track.pts_s, np.arange(6) / 25)
    assert track.row["split"] == "train"
    assert track.identity.tolist() == [0.5, 0.5, 0.5]


@pytest.mark.parametrize("statistics", [True, False])
def test_for_one_track_only_the_row_groups_that_hold_it_are_read(
    write_dataset: Callable[..., Path], toy_track: type, forge_shard: Callable[..., Path], statistics: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    tracks = [toy_track(video_id=name, track=track, frames=6) for name in ("a", "m", "z\u00e9") for track in (0, 1, 2)]
    folder = write_dataset(*tracks, shards=1)

    def in_groups_of_four(table: pa.Table) -> bytes:
        pq.write_table(table, buffer := io.BytesIO(), row_group_size=4, write_statistics=statistics)
        return buffer.getvalue()

    forge_shard(folder, "frames", in_groups_of_four)
    dataset, read = facevid.open(folder), []
    original = ShardFile.read

    def reading(self: ShardFile, columns: Sequence[str], *, row_group: int | None = None) -> pa.Table:
        read.append((self.path.split("/")[-2], row_group))
        return original(self, columns, row_group=row_group)

    monkeypatch.setattr(ShardFile, "read", reading)
    every = {(track.video_id, track.track): track for track in dataset.tracks(kept_only=False)}
    for place, (key, wanted) in enumerate(every.items()):
        read.clear()
        found = dataset.track(*key)
        assert found.row == wanted.row
        assert found.frame.tolist() == list(range(6))
        np.testing.assert_array_equal(found.expression, wanted.expression)
        assert read[0] == ("tracks", 0)
        groups = {group for _, group in read[1:]}
        video = 18 * (place // 3)
        assert groups >= set(range(6 * place // 4, (6 * place + 5) // 4 + 1))
        assert groups <= (set(range(video // 4, (video + 17) // 4 + 1)) if statistics else set(range(14)))
        assert len(groups) == 14 or (statistics and len(groups) <= 4)
    for key in (("a", 3), ("b", 0), ("", 0)):
        with pytest.raises(ValueError, match="is not in"):
            dataset.track(*key)


def test_for_one_track_only_its_own_shard_is_opened(
    write_dataset: Callable[..., Path], toy_track: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = facevid.open(write_dataset(*(toy_track(video_id=name) for name in "abcdef"), shards=5))
    opened: list[str] = []
    original = Dataset.open_shard
    monkeypatch.setattr(Dataset, "open_shard", lambda self, shard: opened.append(shard.path) or original(self, shard))
    for name in "abcdef":
        opened.clear()
        assert dataset.track(name, 0).video_id == name
        assert [path.split("/")[0] for path in opened] == ["tracks", "frames"]


def test_tracks_that_lie_across_row_groups_come_whole(dataset: Path) -> None:
    def tracks() -> dict[tuple[str, int], TrackArrays]:
        return {(track.video_id, track.track): track for track in facevid.open(dataset).tracks(kept_only=False)}

    whole = tracks()
    in_groups(dataset, rows=2)
    in_pieces = tracks()
    assert list(in_pieces) == list(whole)
    for key, track in whole.items():
        np.testing.assert_array_equal(in_pieces[key].frame, track.frame)
        np.testing.assert_array_equal(in_pieces[key].smoothed_px, track.smoothed_px)


def test_tracks_are_read_a_row_group_at_a_time(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_groups(dataset, rows=2)
    read: list[int] = []
    read_all = ShardFile.read

    def noted(file: ShardFile, columns: Sequence[str], *, row_group: int | None = None) -> pa.Table:
        table = read_all(file, columns, row_group=row_group)
        if "frames/" in file.path:
            read.append(table.num_rows)
        return table

    monkeypatch.setattr(ShardFile, "read", noted)
    tracks = facevid.open(dataset).tracks(kept_only=False)
    next(tracks)
    assert sum(read) < 15
    assert len(list(tracks)) == 2
    assert max(read) == 2
    assert sum(read) == 15


def in_groups(dataset: Path, *, rows: int) -> None:
    """Write the frames anew in small row groups, and describe them."""
    where = dataset / "facevid.json"
    plain = json.loads(where.read_text("utf-8"))
    for shard in plain["shards"]:
        if shard["table"] == "frames":
            path = dataset / shard["path"]
            pq.write_table(pq.read_table(path), path, row_group_size=rows)
            shard |= {"bytes": path.stat().st_size, "sha256": storage.sha256(path)}
    where.write_text(json.dumps(plain), "utf-8")


def test_pruned_tracks_and_frames_are_left_out_unless_asked_for(dataset: Path) -> None:
    opened = facevid.open(dataset)
    assert {(track.video_id, track.track): track.frame.tolist() for track in opened.tracks()} == {
        ("a", 0): [0, 1, 2, 3, 4], ("b", 0): [0, 1, 3, 4, 5]
    }
    assert [track.video_id for track in opened.tracks(split="val")] == ["a"]
    assert opened.table("frames", columns=["frame"], kept_only=True).num_rows == 10
    assert opened.table("frames").num_rows == 15
    assert opened.table("failures")["code"].to_pylist() == ["no_face"]


def test_what_lies_on_a_disk_is_read_without_files_of_python(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # In the hands of Arrow's threads they abort a process that ends meanwhile.
    monkeypatch.delattr(storage, "open_read")

    assert facevid.open(dataset).table("frames").num_rows == 15


def test_labels_read_are_those_that_were_written(write_dataset: Callable[..., Path], toy_track: type) -> None:
    path = write_dataset(toy_track(video_id="a", frames=3))
    opened = facevid.open(path)
    (track,) = opened.tracks()
    from_table = np.array(opened.table("frames", columns=["expression"])["expression"].to_pylist(), np.float32)
    np.testing.assert_array_equal(track.expression, from_table)
    assert track.expression.std() > 0.3


def test_wrong_questions_are_refused(dataset: Path) -> None:
    opened = facevid.open(dataset)
    with pytest.raises(ValueError, match="name='faces' is none of the tables"):
        opened.table("faces")
    with pytest.raises(ValueError, match=r"columns=\['smile'\] are not in frames"):
        opened.table("frames", columns=["smile"])
    with pytest.raises(ValueError, match="'crops' has no column kept"):
        opened.table("crops", kept_only=True)


@pytest.mark.parametrize("table", ["tracks", "frames"])
def test_tables_of_an_earlier_version_are_named_with_what_they_lack(
    dataset: Path, table: str, forge_shard: Callable[..., Path]
) -> None:
    forge_shard(dataset, table, lambda rows: rows.drop_columns(["reprojection_error"]))
    opened = facevid.open(dataset)

    lacking = rf"{table}/part-0\S* has no columns reprojection_error: an earlier version .* run the build again"
    with pytest.raises(DatasetError, match=lacking):
        opened.table(table)
    with pytest.raises(DatasetError, match=lacking):
        list(opened.tracks())
    assert opened.table(table, columns=["video_id"]).num_rows


def test_a_sound_dataset_verifies(dataset: Path) -> None:
    facevid.open(dataset).verify()


def test_a_truncated_shard_is_told_at_once(dataset: Path) -> None:
    opened = facevid.open(dataset)
    shard = next(shard for shard in opened.shards("frames") if shard.rows)
    path = dataset / shard.path
    path.write_bytes(path.read_bytes()[:-10])
    truncated = r"frames/part-.* has \d+ bytes, not \d+: truncated or altered"
    with pytest.raises(DatasetError, match=truncated):
        facevid.open(dataset)
    with pytest.raises(DatasetError, match=truncated):
        opened.verify()
    with pytest.raises(DatasetError, match=r"frames/part-.* is damaged"):
        opened.table("frames")


def test_shards_may_be_links_as_in_a_cache_of_downloads(dataset: Path, tmp_path: Path) -> None:
    whole = facevid.open(dataset).table("frames")
    for shard in facevid.open(dataset).shards("frames"):
        blob = (dataset / shard.path).rename(tmp_path / shard.sha256)
        (dataset / shard.path).symlink_to(blob)
    assert facevid.open(dataset).table("frames") == whole

    blob.unlink()
    with pytest.raises(DatasetError, match=r"frames/part-.* is missing"):
        facevid.open(dataset)


def test_one_flipped_bit_is_found(dataset: Path) -> None:
    shard = next(shard for shard in facevid.open(dataset).shards("crops") if shard.rows)
    path = dataset / shard.path
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DatasetError, match=r"has sha256 .* altered"):
        facevid.open(dataset).verify()


def test_an_exchanged_face_model_is_found(dataset: Path) -> None:
    (dataset / "face_model.npz").write_bytes(b"another")
    with pytest.raises(DatasetError, match=r"face_model\.npz has sha256"):
        facevid.open(dataset).verify()


def test_a_missing_shard_is_told_at_once(dataset: Path) -> None:
    (dataset / facevid.open(dataset).shards("tracks")[0].path).unlink()
    with pytest.raises(DatasetError, match=r"is missing; run the build again, .* if somebody gave it to you"):
        facevid.open(dataset)


def test_a_folder_that_is_no_dataset_is_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"is no FaceVid dataset: it has no facevid\.json"):
        facevid.open(tmp_path)


STEP = {"step": "fit", "unit": "tracks", "entered": 3, "ok": 3, "failed": 0, "filtered": 0}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"schema_version": 9},
         "has schema version 9, this program reads 1 to 2; for a later one install a newer facevid"),
        ({"format": "coco"}, "does not describe a FaceVid dataset"),
        ({"points": None, "surprise": 1}, "is incomplete or altered"),
        ({"funnel": [{"step": "fit", "unit": "tracks", "entered": 3, "ok": 1, "failed": 1, "filtered": 0}]},
         "entered=3 is not ok=1"),
        ({"shards": [{"table": "tracks", "path": "../../etc/passwd", "rows": 1, "bytes": 1, "sha256": "0"}]},
         "is no path of a shard"),
        ({"shards": [{"table": "tracks", "path": "frames/part-00000-of-00001.parquet", "rows": 1, "bytes": 1,
                      "sha256": "0"}]}, "is no path of a shard"),
        ({"shards": [{"table": "tracks", "path": "tracks/part-00000-of-00001.parquet", "rows": "1", "bytes": 1,
                      "sha256": "0"}]}, "is incomplete or altered: rows is '1'"),
        ({"shards": [{"table": "tracks", "path": "tracks/part-00000-of-00001.parquet", "rows": 1, "bytes": 1,
                      "sha256": "0"}] * 2}, "a shard is listed twice"),
        ({"schema_version": True}, "has schema version True, this program"),
        ({"schema_version": 0}, "has schema version 0, this program reads 1 to 2"),
        ({"schema_version": None}, "has schema version None, this program"),
        ({"points": "68"}, "is incomplete or altered: points is '68'"),
        ({"n_expression": 10**12}, "n_expression=1000000000000 is not between 1 and 1000000"),
        ({"n_identity": -1}, "n_identity is -1"),
        ({"shards": [1]}, "is incomplete or altered: 1 is no ShardInfo"),
        ({"shards": ["a"]}, "is incomplete or altered: 'a' is no ShardInfo"),
        ({"shards": [{"table": "tracks"}]}, "is incomplete or altered: path is missing"),
        ({"shards": {"a": 1}}, "is incomplete or altered: shards is {'a': 1}"),
        ({"funnel": [None]}, "is incomplete or altered: None is no FunnelStep"),
        ({"funnel": 3}, "is incomplete or altered: funnel is 3"),
        ({"funnel": [STEP | {"reasons": ["a"]}]}, r"is incomplete or altered: reasons is \['a'\]"),
        ({"funnel": [STEP | {"events": {"cut": "often"}}]}, "is incomplete or altered: events has 'cut': 'often'"),
        ({"config": ["a"]}, r"is incomplete or altered: config is \['a'\]"),
    ],
)
def test_a_description_of_something_else_is_refused(dataset: Path, change: dict[str, object], complaint: str) -> None:
    path = dataset / "facevid.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | change), "utf-8")
    with pytest.raises(DatasetError, match=complaint):
        facevid.open(dataset)


@pytest.mark.parametrize("name", ["n_expression", "funnel", "shards", "config"])
def test_what_a_description_lacks_is_named(dataset: Path, name: str) -> None:
    path = dataset / "facevid.json"
    plain = json.loads(path.read_text("utf-8"))
    del plain[name]
    path.write_text(json.dumps(plain), "utf-8")
    with pytest.raises(DatasetError, match=rf"facevid\.json is incomplete or altered: {name} is missing$"):
        facevid.open(dataset)


def test_a_number_of_too_many_digits_is_no_bug(dataset: Path) -> None:
    (dataset / "facevid.json").write_text(f'{{"points": {"1" * 5000}}}', "utf-8")
    with pytest.raises(DatasetError, match=r"facevid\.json is not JSON"):
        facevid.open(dataset)


def test_a_description_survives_the_way_through_its_file(dataset: Path) -> None:
    description = facevid.open(dataset).description
    text = description.to_json()
    assert DatasetDescription.from_json(text) == description
    assert DatasetDescription.from_json(text).to_json() == text


def test_a_funnel_that_does_not_add_up_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="step='fit': entered=5 is not ok=3"):
        FunnelStep(step="fit", unit="tracks", entered=5, ok=3, failed=1, filtered=0)


def test_importing_facevid_loads_nothing_heavy() -> None:
    program = "import facevid, sys; print([m for m in ('numpy', 'pyarrow', 'fsspec', 'torch') if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True,
                         cwd=Path(__file__).parents[2])
    assert ran.stdout.strip() == "[]"
