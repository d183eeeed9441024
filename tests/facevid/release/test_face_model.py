"""The face model goes out where its licence lets it, and else everything but what needs it works."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import facevid
from facevid import cli
from facevid.description import DatasetError
from facevid.release.face_model import model_goes_out
from facevid.report.track_fit import face_model_of
from pipeline.status import render, status


def run(*words: object) -> int:
    return cli.main([str(word) for word in words])


@pytest.fixture
def dataset(write_dataset: Callable[..., Path], toy_track: type) -> Path:
    folder = write_dataset(toy_track(video_id="a"), toy_track(video_id="b"), failures=[
        {"video_id": "z", "track": None, "url": "u", "stage": "faces", "code": "no_face", "retryable": False,
         "attempt": 1, "message": "no face"}])  # fmt: skip
    about = facevid.open(folder).description
    fetch = replace(about.funnel[0], step="fetch")
    text = replace(about, face_model_licence="Basel Face Model licence, non-commercial", funnel=(fetch,)).to_json()
    (folder / "facevid.json").write_text(text, "utf-8")
    return folder


@pytest.mark.parametrize(
    ("licence", "free"),
    [
        ("CC0-1.0", True), ("MIT", True), ("apache-2.0", True), ("BSD-3-Clause", True), ("CC BY 4.0", True),
        ("CC-BY-NC-4.0", False), ("MIT, for research only", False), ("see the terms", False), ("", False),
    ],
)  # fmt: skip
def test_its_licence_decides_unless_the_publisher_does(dataset: Path, licence: str, free: bool) -> None:
    about = replace(facevid.open(dataset).description, face_model_licence=licence)
    assert model_goes_out(about, with_model=False) is free
    assert model_goes_out(about, with_model=True)


def test_a_release_without_it_is_whole_opens_and_says_what_to_get(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new, narrow, full = (tmp_path / name for name in ("new", "narrow", "full"))
    assert run("release", dataset, "--to", new, "--dry-run") == 0
    assert "face model toy, licence Basel Face Model" in capsys.readouterr().out.partition("would stay back")[2]
    assert run("release", dataset, "--to", new, "--name", "Ours", "--terms", "CC0-1.0") == 0
    assert "the face model 'toy' stays back" in capsys.readouterr().err
    assert not (new / "face_model.npz").exists()
    assert "**The face model is not part of this release**" in (new / "README.md").read_text("utf-8")
    assert run("verify", new) == 0
    facevid.open(new).verify()
    with pytest.raises(DatasetError, match="was released without its face model 'toy'"):
        face_model_of(facevid.open(new))

    assert run("release", new, "--to", narrow, "--creator", "Anna") == 0
    assert facevid.open(narrow).description.publication == {"name": "Ours", "terms": "CC0-1.0", "creator": "Anna"}
    assert run("verify", narrow) == 0

    assert run("release", dataset, "--to", full, "--with-model", "--dry-run") == 0
    assert "face model toy" in capsys.readouterr().out.partition("would stay back")[0]
    assert run("release", dataset, "--to", full, "--with-model") == 0
    assert face_model_of(facevid.open(full)).sha256 == facevid.open(full).description.face_model_sha256

    (new / "face_model.npz").write_bytes(b"another")
    assert run("verify", new) == 1


def test_of_a_release_the_failures_are_shown_and_no_page_with_persons_is_put_into_it(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = tmp_path / "new"
    assert run("release", dataset, "--to", new) == 0
    text = render(status(new, report=print))
    assert "no_face" in text.partition("failures")[2]
    assert run("report", new) == 2
    assert "is a release, in which a page with pictures of persons has no place" in capsys.readouterr().err
    assert run("verify", new) == 0
