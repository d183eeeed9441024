"""`facevid release` and `facevid verify`: what they refuse, and what they print."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

import facevid
from facevid import cli
from facevid.dataset import Dataset
from facevid.release import write
from pipeline.output_lock import build_lock
from training.config import TrainOptions
from training.deepexp3d import train_deepexp3d


@pytest.fixture
def dataset(write_dataset: Callable[..., Path], toy_track: type) -> Path:
    return write_dataset(
        toy_track(video_id="a", frames=6, dropped_frames=(0,), licence="CC0"), toy_track(video_id="b", licence="own"),
    )  # fmt: skip


def run(*words: object) -> int:
    return cli.main([str(word) for word in words])


def test_a_release_is_made_checked_and_damage_is_found(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new, deny = tmp_path / "new", tmp_path / "deny.txt"
    deny.write_text("id:b  # asked to be left out\n")
    options = ("--deny-list", deny, "--name", "Ours", "--creator", "Anna", "--terms", "CC0-1.0")

    assert run("release", dataset, "--to", new, *options, "--dry-run") == 0
    assert "1 video, 1 track, 5 frames" in capsys.readouterr().out
    assert not new.exists()

    assert run("release", dataset, "--to", new, *options) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{new}: 1 video, 1 track, 5 frames\nkept back: 1 track on the deny list\n"
    assert "deny list" not in printed.err
    assert "the card lacks" not in printed.err
    assert "license: cc0-1.0" in (new / "README.md").read_text("utf-8")

    assert run("verify", new) == 0
    assert f"{new} is whole: 5 frames of 1 track" in capsys.readouterr().out
    shard = new / facevid.open(new).shards("frames")[0].path
    shard.write_bytes(shard.read_bytes()[:-1])
    assert run("verify", new) == 1
    assert "truncated, or another file" in capsys.readouterr().out


def test_licences_are_given_one_by_one(dataset: Path, tmp_path: Path) -> None:
    assert run("release", dataset, "--to", tmp_path / "new", "--licence", "cc0", "--licence", "OWN") == 0
    assert len(list(facevid.open(tmp_path / "new").tracks())) == 2


def test_what_stands_there_is_replaced_only_if_it_is_a_release_and_only_when_told(
    dataset: Path, write_dataset: Callable[..., Path], toy_track: type, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    new = tmp_path / "new"
    assert run("release", dataset, "--to", new, "--licence", "own") == 0
    assert run("release", dataset, "--to", new) == 2
    assert "exists; name another folder, or --overwrite a release" in capsys.readouterr().err
    assert run("release", dataset, "--to", new, "--overwrite") == 0
    assert facevid.open(new).table("tracks").num_rows == 2

    build = write_dataset(toy_track(video_id="x"), name="build")
    (mine := tmp_path / "mine").mkdir()
    (mine / "letter.txt").write_text("dear")
    for there in (build, mine):
        assert run("release", dataset, "--to", there, "--overwrite") == 2
        assert "is no release, so --overwrite leaves it alone" in capsys.readouterr().err
    assert (mine / "letter.txt").read_text() == "dear"


@pytest.mark.parametrize("where", [".", "release", "frames/x", ".."])
def test_a_release_lies_beside_its_dataset(dataset: Path, where: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("release", dataset, "--to", dataset / where, "--overwrite") == 2
    assert "lies within the dataset" in capsys.readouterr().err


def test_a_dataset_that_is_being_built_or_was_left_half_built_is_refused(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with build_lock(dataset / ".build"):
        assert run("release", dataset, "--to", tmp_path / "new") == 2
    assert "a build is at work in" in capsys.readouterr().err
    (dataset / ".build" / "plan.json").write_text("{}")
    assert run("release", dataset, "--to", tmp_path / "new") == 2
    assert "was stopped before its end; run it again" in capsys.readouterr().err
    (dataset / ".build" / "finished.json").write_text("{}")
    assert run("release", dataset, "--to", tmp_path / "new") == 0


def test_a_folder_without_a_dataset_is_refused_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("release", tmp_path / "none", "--to", tmp_path / "new") == 2
    assert "is no FaceVid dataset" in capsys.readouterr().err
    assert run("verify", tmp_path / "none") == 2
    assert "is no FaceVid dataset" in capsys.readouterr().err
    assert run("release", tmp_path / "none", "--to", tmp_path / "new", "--published", "today") == 2
    assert "published='today' is no day" in capsys.readouterr().err


def test_training_on_a_release_without_crops_says_what_is_missing(dataset: Path, tmp_path: Path) -> None:
    run("release", dataset, "--to", tmp_path / "new")
    with pytest.raises(facevid.description.DatasetError, match="is a release without crops, and training looks at"):
        train_deepexp3d([tmp_path / "new"], tmp_path / "model", TrainOptions(), report=lambda _: None)


def test_denied_videos_stay_back_though_the_tables_have_their_addresses_in_another_spelling(
    write_dataset: Callable[..., Path], toy_track: type, forge_shard: Callable[..., Path], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    dataset = write_dataset(*(toy_track(video_id=name) for name in "abc"), shards=1)
    urls = ["https://video.example/get?token=removed&v=1", "http://10.0.0.7/anna/b.mp4", "https://video.example/c"]
    forge_shard(dataset, "tracks", lambda table: table.set_column(
        table.schema.get_field_index("url"), table.schema.field("url"), pa.array(urls)))  # fmt: skip
    deny, wide, narrow = tmp_path / "deny.txt", tmp_path / "wide", tmp_path / "narrow"

    deny.write_text("https://video.example/get?token=abc&v=1\nid:nobody\nvideo.example.org\n")
    said = "2 entries of the deny list name no kept track: id:nobody, video.example.org; see"
    assert run("release", dataset, "--to", wide, "--deny-list", deny, "--dry-run") == 0
    assert said in capsys.readouterr().err
    assert run("release", dataset, "--to", wide, "--deny-list", deny) == 0
    assert said in capsys.readouterr().err
    assert facevid.open(wide).table("tracks")["video_id"].to_pylist() == ["b", "c"]

    deny.write_text("http://10.0.0.7/anna/b.mp4\n")
    assert run("release", wide, "--to", narrow, "--deny-list", deny) == 0
    assert facevid.open(narrow).table("tracks")["video_id"].to_pylist() == ["c"]
    printed = capsys.readouterr()
    assert "kept back: 1 track on the deny list" in printed.out
    assert "name no kept track" not in printed.err


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_a_further_column_that_no_track_has_is_refused(
    dataset: Path, tmp_path: Path, dry: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("release", dataset, "--to", tmp_path / "new", "--extra", "topic", *dry) == 2
    assert "extra='topic': no track has this column of the manifest; there are: none at all" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("theirs", ["LICENSE", ".git/config", "frames/notes.txt", "README.md"])
def test_a_release_with_files_of_others_or_an_edited_card_is_not_replaced(
    dataset: Path, tmp_path: Path, theirs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    new = tmp_path / "new"
    assert run("release", dataset, "--to", new) == 0
    (new / theirs).parent.mkdir(exist_ok=True)
    (new / theirs).write_text("mine")
    assert run("release", dataset, "--to", new, "--overwrite") == 2
    named = theirs.removesuffix("/config")
    assert f"holds what no release wrote, or what was edited since: {named}; " in capsys.readouterr().err
    assert (new / theirs).read_text() == "mine"


def test_what_appears_under_the_name_while_a_release_is_written_stays(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    new, real = tmp_path / "new", write.write_documents

    def late(release: Dataset) -> None:
        new.mkdir()
        (new / "letter.txt").write_text("dear")
        real(release)

    monkeypatch.setattr(write, "write_documents", late)
    assert run("release", dataset, "--to", new) == 2
    assert "exists; name another folder" in capsys.readouterr().err
    assert [path.name for path in new.iterdir()] == ["letter.txt"]


def test_a_person_on_the_deny_list_stays_back_in_all_videos(
    write_dataset: Callable[..., Path], toy_track: type, tmp_path: Path
) -> None:
    people = {"a": "anna", "b": None, "c": "anna", "d": "bob"}
    dataset = write_dataset(*(toy_track(video_id=name, subject_id=subject) for name, subject in people.items()))
    (tmp_path / "deny.txt").write_text("subject:anna\n")

    assert run("release", dataset, "--to", tmp_path / "new", "--deny-list", tmp_path / "deny.txt") == 0

    assert sorted(facevid.open(tmp_path / "new").table("tracks")["video_id"].to_pylist()) == ["b", "d"]
