"""What is said of shards that are not as the schema says: they may come from strangers."""

import io
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import facevid
from facevid import storage
from facevid.description import DatasetError

Change = Callable[[pa.Table], pa.Table | bytes]


@pytest.fixture
def dataset(write_dataset: Callable[..., Path], toy_track: type) -> Path:
    return write_dataset(toy_track(video_id="a", frames=6), toy_track(video_id="b", frames=5), shards=1)


def replaced(table: pa.Table, name: str, values: object) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, values)


def as_text(table: pa.Table) -> pa.Table:
    return replaced(table, "expression", pa.array(["smile"] * len(table)))


def narrower(table: pa.Table) -> pa.Table:
    return replaced(table, "expression", pa.array([[1.0, 2.0]] * len(table), pa.list_(pa.float32(), 2)))


def with_a_null(table: pa.Table) -> pa.Table:
    values = table["expression"].to_pylist()
    return replaced(table, "expression", pa.array([None, *values[1:]], pa.list_(pa.float32())))


def numbers_as_text(table: pa.Table) -> pa.Table:
    return replaced(table, "frame", table["frame"].cast(pa.string()))


def truth_as_number(table: pa.Table) -> pa.Table:
    return replaced(table, "kept", pa.array([2] * len(table)))


def with_a_value(value: float | None) -> Change:
    def change(table: pa.Table) -> pa.Table:
        rows = table["expression"].to_pylist()
        rows[1][2] = value
        return replaced(table, "expression", pa.array(rows, pa.list_(pa.float64())))

    return change


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda table: table.drop_columns(["expression"]), r"has no columns expression: an earlier version"),
        (as_text, r"column expression is of type string, which is no fixed_size_list<.*; run the build again"),
        (narrower, r"column expression is of type fixed_size_list<.*>\[2\], which is no fixed_size_list<.*>\[4\]"),
        (with_a_null, r"column expression lacks values in 1 rows"),
        (numbers_as_text, r"column frame is of type string, which is no int32; run the build again"),
        (truth_as_number, r"column kept is of type int64, which is no bool; run the build again"),
        (with_a_value(None), r"column expression lacks values within rows; run the build again"),
        (with_a_value(1e300), r"column expression is of type list<.*double>, which is no .* \(a value is too large\)"),
        (lambda table: table.slice(2), r"has 9 rows, not 11: altered"),
        (lambda table: table.slice(0, 0), r"has 0 rows, not 11: altered"),
        (lambda _: b"<!DOCTYPE html><title>Sign in</title>", r"is damaged \(.*\); remove it"),
        (lambda _: b"", r"is damaged \(.*\); remove it"),
    ],
    ids=["column-lacking", "text", "narrower", "null", "digits", "truth-as-number", "null-inside",
         "too-large", "fewer-rows", "no-rows", "web-page", "empty"],
)  # fmt: skip
def test_what_is_no_shard_is_named_with_file_and_column(
    dataset: Path, forge_shard: Callable[..., Path], change: Change, complaint: str
) -> None:
    forge_shard(dataset, "frames", change)
    opened = facevid.open(dataset)

    for read in (lambda: opened.table("frames"), lambda: list(opened.tracks())):
        with pytest.raises(DatasetError, match=rf"frames/part-00000-of-00001\.parquet:? {complaint}"):
            read()


def test_damage_inside_a_shard_is_told(dataset: Path, forge_shard: Callable[..., Path]) -> None:
    path = dataset / facevid.open(dataset).shards("frames")[0].path
    data = bytearray(path.read_bytes())
    data[4:400] = bytes(396)  # the pages of the first columns; the footer stays whole
    forge_shard(dataset, "frames", lambda _: bytes(data))

    with pytest.raises(DatasetError, match=r"frames/part-.* is damaged"):
        facevid.open(dataset).table("frames")


class Refusing(io.BytesIO):
    """A bucket's file that gives so many reads, and then an error."""

    def __init__(self, data: bytes, error: OSError, reads: int) -> None:
        super().__init__(data)
        self._error = error
        self._reads_left = reads

    def read(self, size: int | None = -1) -> bytes:
        if not self._reads_left:
            raise self._error
        self._reads_left -= 1
        return super().read(size)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(13, "Access Denied"), "Access Denied"),
        (OSError(5, "Input/output error"), "Input/output error"),
        (OSError("Forbidden: the token has expired"), "the token has expired"),
        (TimeoutError(), "TimeoutError"),
    ],
)
@pytest.mark.parametrize("reads", [0, 1])
def test_what_cannot_be_read_is_not_called_damaged(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, said: str, reads: int
) -> None:
    opened = facevid.open(dataset)
    data = (dataset / opened.shards("frames")[0].path).read_bytes()
    monkeypatch.setattr(storage, "local_file", lambda _: None)
    monkeypatch.setattr(storage, "open_read", lambda _: Refusing(data, error, reads))

    with pytest.raises(DatasetError, match=rf"\.parquet cannot be read \(.*{said}.*\)") as raised:
        opened.table("frames")
    assert "remove" not in str(raised.value)


def test_a_shard_on_a_disk_that_refuses_is_not_called_damaged(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("facevid.shard_file.pq.ParquetFile", refuse)
    with pytest.raises(DatasetError, match=r"\.parquet cannot be read \(.*Permission denied\)"):
        facevid.open(dataset).table("frames")


def test_columns_that_another_program_wrote_in_wider_types_are_taken(
    dataset: Path, forge_shard: Callable[..., Path]
) -> None:
    before = facevid.open(dataset).table("frames")

    def rewritten(table: pa.Table) -> pa.Table:
        wide = replaced(table, "video_id", table["video_id"].cast(pa.large_string()))
        wide = replaced(wide, "frame", wide["frame"].cast(pa.int64()))
        return replaced(wide, "expression", pa.array(wide["expression"].to_pylist(), pa.list_(pa.float64())))

    forge_shard(dataset, "frames", rewritten)
    after = facevid.open(dataset).table("frames")

    assert after.schema.equals(before.schema)
    assert after["video_id"].to_pylist() == before["video_id"].to_pylist()
    np.testing.assert_array_equal(after["expression"].to_pylist(), before["expression"].to_pylist())


def test_what_is_written_in_another_way_is_taken_too(dataset: Path, forge_shard: Callable[..., Path]) -> None:
    before = facevid.open(dataset).table("frames")

    def rewritten(table: pa.Table) -> pa.Table:
        other = replaced(table, "video_id", table["video_id"].dictionary_encode())
        other = replaced(other, "frame", other["frame"].cast(pa.float64()))
        rows = [[math.inf, *row[1:]] for row in other["expression"].to_pylist()]
        other = replaced(other, "expression", pa.array(rows, pa.list_(pa.float64())))
        return replaced(other, "filtered_reason", pa.nulls(len(table)))

    forge_shard(dataset, "frames", rewritten)
    after = facevid.open(dataset).table("frames")

    assert after.schema.equals(before.schema)
    assert after["video_id"].to_pylist() == before["video_id"].to_pylist()
    assert after["frame"].to_pylist() == before["frame"].to_pylist()
    assert {row[0] for row in after["expression"].to_pylist()} == {math.inf}
    assert after["filtered_reason"].null_count == len(before)
