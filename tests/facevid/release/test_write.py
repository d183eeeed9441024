"""A release holds what was kept and chosen, says so of itself, and is whole or not there."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

import facevid
from facevid import shards, storage
from facevid.description import DatasetError, FunnelStep
from facevid.release import write
from facevid.release.choice import OUT, Choice, Tally
from facevid.release.forecast import forecast_text
from facevid.release.publication import Publication
from facevid.release.values import Pictures
from facevid.release.verify import faults, read_described
from facevid.release.whole_folder import whole_folder
from facevid.release.write import ReleaseOptions, write_release
from training.decoding import decoded_crop

FAILED = {"video_id": "z", "track": None, "url": "/home/anna/z.mp4", "stage": "faces", "code": "no_face",
          "retryable": False, "attempt": 1, "message": "/home/anna/z.mp4 has no face"}  # fmt: skip


def released(dataset: Path, to: Path, **options: object) -> Tally:
    return write_release(facevid.open(dataset), to, ReleaseOptions(**options), progress=lambda *_: None)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def tracks_of(folder: Path) -> dict[tuple[str, int], dict]:
    return {(row["video_id"], row["track"]): row for row in facevid.open(folder).table("tracks").to_pylist()}


@pytest.fixture
def dataset(write_dataset: Callable[..., Path], toy_track: type, monkeypatch: pytest.MonkeyPatch) -> Path:
    # Tracks cross the borders of row groups.
    monkeypatch.setattr(shards, "_DEFAULT_ROW_GROUP_ROWS", 4)
    monkeypatch.setitem(shards.ROW_GROUP_ROWS, "crops", 3)
    return write_dataset(
        toy_track(video_id="a", frames=10, dropped_frames=(0, 1, 5, 9), licence="CC-BY-4.0", subject_id="anna"),
        toy_track(video_id="a", track=1, frames=6, kept=False, licence="CC-BY-4.0", subject_id="anna"),
        toy_track(video_id="b", frames=9, split="val", licence="cc-by-4.0 "),
        toy_track(video_id="c", frames=7, split="test"),
        toy_track(video_id="d", frames=3, dropped_frames=(0, 1, 2)),
        failures=[FAILED],
    )


def test_kept_rows_go_out_and_tracks_speak_of_what_went_out(dataset: Path, tmp_path: Path) -> None:
    tally = released(dataset, tmp_path / "new")

    opened = facevid.open(tmp_path / "new")
    frames = opened.table("frames")
    assert frames.equals(facevid.open(dataset).table("frames", kept_only=True))
    assert (tally.tracks[OUT], tally.frames[OUT], tally.videos) == (4, 22, {"a", "b", "c"})
    tracks = tracks_of(tmp_path / "new")
    assert set(tracks) == {("a", 0), ("b", 0), ("c", 0)}
    a = tracks["a", 0]
    assert (a["frames"], a["first_frame"], a["last_frame"]) == (6, 2, 8)
    assert (a["start_s"], a["end_s"]) == (2 / 25, 8 / 25)
    before = tracks_of(dataset)
    assert {key: (row["split"], row["identity"]) for key, row in tracks.items()} == {
        key: (before[key]["split"], before[key]["identity"]) for key in tracks
    }
    assert [step for step in opened.description.funnel if step.step == "release"] == [
        FunnelStep(step="release", unit="frames", entered=22, ok=22, failed=0, filtered=0)
    ]
    assert opened.description.failures == {"faces/no_face": 1}
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "README.md", "croissant.json", "face_model.npz", "facevid.json", "frames", "tracks"
    ]
    assert not list(faults(read_described(str(tmp_path / "new")), Pictures(decode=decoded_crop, most=0)))


def test_where_everything_is_kept_the_shards_are_those_of_the_build(
    write_dataset: Callable[..., Path], toy_track: type, tmp_path: Path
) -> None:
    dataset = write_dataset(toy_track(video_id="a"), toy_track(video_id="b", frames=20, split="val"), shards=1)
    released(dataset, tmp_path / "new", with_crops=True)
    for table in ("frames", "tracks", "crops"):
        name = f"{table}/part-00000-of-00001.parquet"
        assert (tmp_path / "new" / name).read_bytes() == (dataset / name).read_bytes()


def test_the_same_release_is_the_same_bytes(dataset: Path, tmp_path: Path) -> None:
    said = Publication(name="Ours", creator="Anna", terms="CC-BY-4.0")
    for name in ("one", "two"):
        released(dataset, tmp_path / name, with_crops=True, publication=said)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert "# Ours" in (tmp_path / "one" / "README.md").read_text("utf-8")


def test_crops_go_out_when_asked_for_and_only_of_frames_that_do(dataset: Path, tmp_path: Path) -> None:
    released(dataset, tmp_path / "new", with_crops=True)
    opened = facevid.open(tmp_path / "new")
    keys = ["video_id", "track", "frame"]
    assert opened.table("crops", columns=keys).equals(opened.table("frames", columns=keys))


def test_denied_videos_and_other_licences_stay_back_and_are_counted(dataset: Path, tmp_path: Path) -> None:
    choice = Choice(denied=lambda track: (track["url"], track["video_id"]) == ("x.mp4", "b"), licences=("CC-BY-4.0",))
    released(dataset, tmp_path / "new", choice=choice)

    assert set(tracks_of(tmp_path / "new")) == {("a", 0)}
    (step,) = (step for step in facevid.open(tmp_path / "new").description.funnel if step.step == "release")
    assert (step.entered, step.ok, step.filtered) == (22, 6, 16)
    assert step.reasons == {"deny_list": 9, "licence": 7}


def test_a_licence_is_named_in_any_case_and_one_that_no_track_has_is_refused(dataset: Path, tmp_path: Path) -> None:
    released(dataset, tmp_path / "new", choice=Choice(licences=("cc-BY-4.0",)))
    assert set(tracks_of(tmp_path / "new")) == {("a", 0), ("b", 0)}
    with pytest.raises(ValueError, match=r"licence='CC0': no kept track has it; there are: 'CC-BY-4.0', 'cc-by-4.0 '"):
        released(dataset, tmp_path / "other", choice=Choice(licences=("CC-BY-4.0", "CC0")))


def test_a_release_of_nothing_is_refused_with_the_reasons(dataset: Path, tmp_path: Path) -> None:
    everybody = Choice(denied=lambda *_: True)
    with pytest.raises(ValueError, match=r"would go out: 1 track filtered by the build, 4 tracks on the deny list"):
        released(dataset, tmp_path / "new", choice=everybody)
    assert not list(tmp_path.glob("*new*"))


def test_a_release_can_be_narrowed_and_its_counts_add_up(dataset: Path, tmp_path: Path) -> None:
    released(dataset, tmp_path / "wide", choice=Choice(denied=lambda track: track["video_id"] == "c"))
    released(tmp_path / "wide", tmp_path / "narrow", choice=Choice(denied=lambda track: track["video_id"] == "b"))
    (step,) = (step for step in facevid.open(tmp_path / "narrow").description.funnel if step.step == "release")
    assert (step.entered, step.ok, step.reasons) == (22, 6, {"deny_list": 16})
    assert facevid.open(tmp_path / "narrow").description.failures == {"faces/no_face": 1}


def test_no_path_no_secret_and_no_unnamed_column_is_in_any_file(
    write_dataset: Callable[..., Path], toy_track: type, forge_shard: Callable[..., Path], tmp_path: Path
) -> None:
    dataset = write_dataset(toy_track(video_id="a"), toy_track(video_id="b"), failures=[FAILED], shards=1)
    secret = {
        "url": "/home/anna/secret/x.mp4", "title": "t https://x.org/?token=s3cr3t", "attribution": "https://u:s3cr3t@x.org",
        "extra": json.dumps({"phone": "s3cr3t", "topic": "talks"}),
    }  # fmt: skip

    def change(table: pa.Table) -> pa.Table:
        for name, text in secret.items():
            place = table.schema.get_field_index(name)
            table = table.set_column(place, table.schema.field(place), pa.array([text] * table.num_rows))
        return table

    forge_shard(dataset, "tracks", change)
    released(dataset, tmp_path / "new", extra=("topic",))

    opened = facevid.open(tmp_path / "new")
    every_value = str([opened.table(name).to_pylist() for name in ("frames", "tracks")])
    assert opened.table("tracks")["extra"].to_pylist() == ['{"topic": "talks"}'] * 2
    assert opened.table("tracks")["url"].to_pylist() == ["x.mp4"] * 2
    texts = [content.decode("utf-8", "replace") for content in files(tmp_path / "new").values()]
    assert not any(word in text for word in ("s3cr3t", "/home/anna", str(tmp_path)) for text in [every_value, *texts])


def test_the_forecast_counts_what_the_release_then_holds_and_writes_nothing(dataset: Path, tmp_path: Path) -> None:
    options = ReleaseOptions(choice=Choice(denied=lambda track: track["video_id"] == "b"))
    before = files(tmp_path)
    text = forecast_text(facevid.open(dataset), tmp_path / "new", options, progress=lambda *_: None)
    assert files(tmp_path) == before

    tally = write_release(facevid.open(dataset), tmp_path / "new", options, progress=lambda *_: None)
    assert f": {len(tally.videos)} videos, " in text
    assert f" {tally.frames[OUT]} frames, about" in text
    for line in (
        "1 tracks filtered by the build", "1 tracks on the deny list with 9 kept frames",
        "13 frames filtered by the build", "35 pictures of faces (--with-crops)", "1 rows of failures",
        "1 tracks, licence CC-BY-4.0", "as the manifest names them: anna",
    ):  # fmt: skip
        assert line in text


@pytest.mark.parametrize("table", ["frames", "tracks"])
def test_an_altered_shard_is_named_and_nothing_is_written(dataset: Path, tmp_path: Path, table: str) -> None:
    shard = facevid.open(dataset).shards(table)[-1]
    content = bytearray((dataset / shard.path).read_bytes())
    content[len(content) // 2] ^= 1
    (dataset / shard.path).write_bytes(content)
    with pytest.raises(DatasetError, match=f"{shard.path} is not the file that facevid.json lists"):
        released(dataset, tmp_path / "new")
    assert not list(tmp_path.glob("*new*"))


def test_a_dataset_that_is_built_anew_meanwhile_is_not_released(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build_anew(*_: object) -> None:
        opened = facevid.open(dataset).description
        storage.write_bytes(dataset / "facevid.json", replace(opened, config_hash="other").to_json().encode())

    monkeypatch.setattr(write, "write_documents", build_anew)
    with pytest.raises(DatasetError, match="was built anew meanwhile; release it again"):
        released(dataset, tmp_path / "new")
    assert not list(tmp_path.glob("*new*"))


def test_progress_ends_at_the_whole(dataset: Path, tmp_path: Path) -> None:
    told: dict[str, tuple[int, int]] = {}
    options = ReleaseOptions(with_crops=True)
    write_release(
        facevid.open(dataset), tmp_path / "new", options,
        progress=lambda what, done, total: told.update({what: (done, total)}),
    )  # fmt: skip
    assert set(told) == {"check", "write"}
    assert all(done == total > 0 for done, total in told.values())


def test_a_folder_that_is_not_finished_is_never_seen(tmp_path: Path) -> None:
    target = tmp_path / "new"
    with pytest.raises(KeyboardInterrupt), whole_folder(target) as folder:  # noqa: PT012
        (folder / "a").write_text("half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from facevid.release.whole_folder import whole_folder
with whole_folder(Path(sys.argv[1])) as folder:
    (folder / "half").mkdir()
    (folder / "half" / "a").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_is_cleared_by_the_next(tmp_path: Path) -> None:
    target = tmp_path / "new"
    ended = subprocess.run([sys.executable, "-c", KILLED, str(target)], check=False)
    assert ended.returncode < 0
    assert not target.exists()
    assert list(tmp_path.iterdir()) != []
    with whole_folder(target) as folder:
        (folder / "a").write_text("whole")
    assert files(tmp_path) == {"new/a": b"whole"}


def test_a_folder_is_replaced_at_once_and_put_back_where_a_kill_came_in_between(tmp_path: Path) -> None:
    target, aside = tmp_path / "new", tmp_path / ".new.aside"
    target.mkdir()
    (target / "a").write_text("old")
    target.rename(aside)
    with pytest.raises(RuntimeError), whole_folder(target):
        raise RuntimeError
    assert files(tmp_path) == {"new/a": b"old"}
    with pytest.raises(FileExistsError, match="exists; name another folder"), whole_folder(target):
        pass
    assert files(tmp_path) == {"new/a": b"old"}
    with whole_folder(target, require_replaceable=lambda _: None) as folder:
        assert (target / "a").read_text() == "old"
        (folder / "a").write_text("new")
    assert files(tmp_path) == {"new/a": b"new"}


def test_a_link_in_the_place_of_the_unfinished_folder_is_not_followed(tmp_path: Path) -> None:
    (theirs := tmp_path / "theirs").mkdir()
    (theirs / "a").write_text("dear")
    (tmp_path / ".new.partial").symlink_to(theirs)
    with pytest.raises(OSError, match=r"\.new\.partial"), whole_folder(tmp_path / "new"):
        pass
    assert (theirs / "a").read_text() == "dear"


def test_two_processes_do_not_write_one_folder(tmp_path: Path) -> None:
    with (
        whole_folder(tmp_path / "new"),
        pytest.raises(BlockingIOError, match="another process is writing"),
        whole_folder(tmp_path / "new"),
    ):
        pass
    assert (tmp_path / "new").is_dir()
