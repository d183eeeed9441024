import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from facevid import cli
from facevid.dataset import Dataset, open_dataset
from facevid.shards import shard_of
from facevid.spread import Spread, spreads

Write = Callable[..., Path]


def with_sharpness(folder: Path, values: list[float]) -> Dataset:
    """A dataset of one track per shard whose frames have these values, shard after shard; occlusion is not known."""
    dataset = open_dataset(folder)
    for shard in dataset.shards("frames"):
        path = folder / shard.path
        table = pq.read_table(path)
        mine, values = values[: table.num_rows], values[table.num_rows :]
        for name, column in (("sharpness", mine), ("occlusion", [None] * len(mine))):
            place = table.schema.get_field_index(name)
            table = table.set_column(place, table.schema.field(name), pa.array(column, pa.float32()))
        pq.write_table(table, path)
    return as_it_is(dataset)


def as_it_is(dataset: Dataset) -> Dataset:
    """The dataset, described anew."""
    sizes = {shard.path: (Path(dataset.root) / shard.path).stat().st_size for shard in dataset.description.shards}
    shards = tuple(replace(shard, bytes=sizes[shard.path]) for shard in dataset.description.shards)
    return replace(dataset, description=replace(dataset.description, shards=shards))


@pytest.fixture
def folder(write_dataset: Write, toy_track: type) -> Path:
    """A track in either of two shards."""
    names = [next(name for name in "abcdefghij" if shard_of(name, 0, 2) == shard) for shard in (0, 1)]
    return write_dataset(*(toy_track(video_id=name, frames=101) for name in names))


def test_nine_tenths_of_the_numbers_lie_in_a_spread_and_what_is_no_number_does_not_count(folder: Path) -> None:
    dataset = with_sharpness(folder, [*range(101), *[np.nan, np.inf] * 51])

    found = spreads(dataset, "frames")

    assert found["sharpness"] == Spread(low=5.0, middle=50.0, high=95.0)
    assert not found.keys() & {"occlusion", "pts_s", "frame", "kept", "expression"}


def test_no_more_rows_are_read_than_it_takes(folder: Path) -> None:
    dataset = with_sharpness(folder, [1.0] * 50 + [5.0] * 51 + [9.0] * 101)

    for most_rows, high in ((50, 1.0), (101, 5.0), (202, 9.0)):
        assert spreads(dataset, "frames", most_rows=most_rows)["sharpness"].high == high


def test_columns_that_an_earlier_version_did_not_write_have_no_spread(folder: Path) -> None:
    dataset = open_dataset(folder)
    for shard in dataset.shards("frames"):
        path = folder / shard.path
        pq.write_table(pq.read_table(path).drop_columns(["occlusion", "jitter"]), path)

    found = spreads(as_it_is(dataset), "frames")

    assert "brightness" in found
    assert not found.keys() & {"occlusion", "jitter"}


def test_the_schema_of_a_dataset_says_where_its_numbers_lie(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["schema", str(folder), "--table", "frames"]) == 0

    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("  brightness"))
    assert line.endswith("0 to 1; here 0.5 to 0.5 in 90 % of the rows, half up to 0.5")


def test_the_schema_of_a_dataset_marks_what_it_lacks(
    write_dataset: Write, toy_track: type, forge_shard: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_dataset(toy_track(video_id="a"), shards=1)
    forge_shard(folder, "frames", lambda table: table.drop_columns(["occlusion", "jitter"]))
    where = folder / "facevid.json"
    plain = json.loads(where.read_text("utf-8"))
    plain["shards"] = [shard for shard in plain["shards"] if shard["table"] != "crops"]
    where.write_text(json.dumps(plain), "utf-8")

    assert cli.main(["schema", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    marked = [line.split()[0] for line in lines if "NOT IN THIS DATASET" in line]
    assert marked == ["occlusion", "jitter"]
    assert [line for line in lines if line and line[0] != " "] == [
        "frames", "tracks", "crops (not in this dataset)", "failures",
    ]  # fmt: skip
