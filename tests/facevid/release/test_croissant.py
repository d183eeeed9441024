"""The Croissant metadata: another program reads the dataset through it, and finds what is there."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mlcroissant
import numpy as np
import pytest

import facevid
from facevid import storage
from facevid.release.croissant import croissant_text
from facevid.release.documents import write_documents
from facevid.release.publication import Publication

ALL_OF_IT = Publication(
    name='A "name" of ours', version="1.0.0", creator="Anna", url="https://example.org/set", published="2026-01-31",
    terms="CC-BY-4.0",
)  # fmt: skip


@pytest.fixture
def dataset(write_dataset: Callable[..., Path], toy_track: type) -> Path:
    path = write_dataset(toy_track(video_id="b", frames=6), toy_track(video_id="a", frames=5, split="val"))
    write_documents(facevid.open(path))
    return path


def test_mlcroissant_finds_no_error_and_reads_every_table(dataset: Path) -> None:
    read = mlcroissant.Dataset(str(dataset / "croissant.json"))
    assert read.metadata.issues.errors == set()

    opened = facevid.open(dataset)
    rows = {name: list(read.records(name)) for name in ("frames", "tracks", "crops")}
    assert {name: len(found) for name, found in rows.items()} == {
        name: opened.table(name).num_rows for name in rows
    }
    labels = {(row["frames/video_id"], row["frames/frame"]): row["frames/expression"] for row in rows["frames"]}
    for track in opened.tracks():
        for frame, expression in zip(track.frame, track.expression, strict=True):
            np.testing.assert_array_equal(labels[track.video_id.encode(), frame], expression)
    assert sorted(row["tracks/split"] for row in rows["tracks"]) == [b"train", b"val"]


def test_every_file_is_listed_with_its_size_and_hash(dataset: Path) -> None:
    listed = {
        entry["@id"]: entry for entry in json.loads((dataset / "croissant.json").read_text("utf-8"))["distribution"]
        if entry["@type"] == "cr:FileObject"
    }
    assert set(listed) == {shard.path for shard in facevid.open(dataset).description.shards} | {"face_model.npz"}
    for path, entry in listed.items():
        assert entry["sha256"] == storage.sha256(dataset / path)
        if path != "face_model.npz":
            assert entry["contentSize"] == f"{(dataset / path).stat().st_size} B"


def test_vectors_are_arrays_of_their_length(dataset: Path) -> None:
    (frames,) = (
        each for each in json.loads((dataset / "croissant.json").read_text("utf-8"))["recordSet"]
        if each["@id"] == "frames"
    )
    fields = {each["name"]: each for each in frames["field"]}
    assert (fields["expression"]["isArray"], fields["expression"]["arrayShape"]) == (True, "4")
    assert "isArray" not in fields["pts_s"]
    assert {name: fields[name]["dataType"] for name in ("pts_s", "kept", "frame", "video_id")} == {
        "pts_s": "cr:Float64", "kept": "sc:Boolean", "frame": "cr:Int32", "video_id": "sc:Text"
    }
    assert fields["expression"]["description"] == "expression coefficients, standard deviations"


def test_what_the_publisher_says_makes_the_metadata_complete(dataset: Path) -> None:
    opened = facevid.open(dataset)
    described = replace(opened, description=replace(opened.description, publication=ALL_OF_IT.to_plain()))
    (dataset / "croissant.json").write_text(croissant_text(described), "utf-8")

    read = mlcroissant.Dataset(str(dataset / "croissant.json")).metadata
    assert read.issues.errors == set()
    assert read.issues.warnings == set()
    assert (read.url, read.version, read.creators[0].name) == ("https://example.org/set", "1.0.0", "Anna")
    assert read.license == ["https://creativecommons.org/licenses/by/4.0/"]


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("url", "javascript:alert(1)", "is no http"), ("published", "31.1.2026", "is no day"),
        ("published", "20260131", "is no day"), ("name", "a\nb", "control characters"),
        ("creator", "x" * 301, "more than"),
    ],
)  # fmt: skip
def test_what_cannot_stand_in_metadata_is_refused_by_name(name: str, text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"{name}=.*{reason}"):
        Publication(**{name: text})
