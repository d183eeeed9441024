import os
from collections.abc import Callable
from pathlib import Path

import pytest

from facevid.dataset import open_dataset
from facevid.release.write import ReleaseOptions, write_release
from pipeline.config import BuildOptions
from pipeline.places import check_places, free_bytes, is_there


def test_a_folder_is_made_wherever_one_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for out in ("out", "a/b/c", str(tmp_path), "take 2: final", "."):
        check_places(Path(out), BuildOptions())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("out", ["s3://bucket/out", "gs://bucket", "memory://x", "file:///tmp/x"])
def test_an_address_is_no_folder_of_that_name(out: str) -> None:
    with pytest.raises(ValueError, match=r"out='.*' is an address"):
        check_places(Path(out), BuildOptions())
    with pytest.raises(ValueError, match=r"store='.*' is an address"):
        check_places(Path("out"), BuildOptions(store=Path(out)))


def test_a_file_cannot_become_a_folder_nor_hold_one(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("")
    for out in (tmp_path / "m.csv", tmp_path / "m.csv" / "out"):
        with pytest.raises(ValueError, match=r"cannot be a folder: .*m.csv is a file"):
            check_places(out, BuildOptions())


def test_a_read_only_folder_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)  # root may write anywhere
    with pytest.raises(ValueError, match=r"out='.*/out' cannot be written: .* is read-only"):
        check_places(tmp_path / "out", BuildOptions())


def test_a_build_does_not_replace_a_release(
    write_dataset: Callable[..., Path], toy_track: type, tmp_path: Path
) -> None:
    dataset, release = write_dataset(toy_track(video_id="a")), tmp_path / "release"
    write_release(open_dataset(dataset), release, ReleaseOptions(), progress=lambda *_: None)
    check_places(dataset, BuildOptions())
    with pytest.raises(ValueError, match=r"out='.*/release' holds a release, which a build would replace"):
        check_places(release, BuildOptions())
    (release / "facevid.json").write_bytes(b"\xff")
    check_places(release, BuildOptions())


def test_a_face_model_that_is_not_there_is_named_with_its_option(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"model='none.npz' is no file"):
        check_places(tmp_path, BuildOptions(model=Path("none.npz")))


def test_room_is_that_of_the_disk_on_which_the_folder_will_be(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "a" / "b") == pytest.approx(free_bytes(tmp_path), rel=0.1)


def test_what_no_disk_could_name_is_not_there(tmp_path: Path) -> None:
    assert is_there(tmp_path)
    assert not is_there(tmp_path / ("n" * 300))
