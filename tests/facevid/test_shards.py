"""Shards: the same rows give the same bytes, and wrong rows are refused."""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from facevid.schema import crops_schema, failures_schema
from facevid.shards import shard_name, shard_of, write_shard, write_shard_batches

SHARDS = 4


def crops(keys: list[tuple[str, int, int]]) -> pa.Table:
    rows = [
        {"video_id": video, "track": track, "frame": frame, "jpeg": bytes([frame % 256]) * 50,
         "crop_from_frame": [float(frame)] * 6}
        for video, track, frame in keys
    ]
    return pa.Table.from_pylist(rows, crops_schema())


def failure(video: str, track: int | None) -> dict[str, object]:
    return {"video_id": video, "track": track, "url": "u", "stage": "fit", "code": "no_face", "retryable": False,
            "attempt": 1, "message": "m"}


def test_the_shard_of_a_track_never_changes() -> None:
    # Pinned: a dataset that grows must keep its old tracks where they are.
    assert [shard_of("talk_512_30fps", track, 16) for track in (None, 0, 1)] == [2, 3, 3]


def test_tracks_spread_evenly_over_the_shards() -> None:
    counts = np.bincount([shard_of(f"v{n}", n % 3, 8) for n in range(8000)], minlength=8)
    assert counts.min() > 900
    assert counts.max() < 1100


def test_names_say_which_of_how_many() -> None:
    assert shard_name(3, 16) == "part-00003-of-00016.parquet"
    with pytest.raises(ValueError, match=r"shard=16 is not in \[0, shards=16\)"):
        shard_name(16, 16)
    with pytest.raises(ValueError, match="shards=0 must be at least 1"):
        shard_of("v", 0, 0)


def test_the_bytes_depend_on_the_rows_and_not_on_the_batches(tmp_path: Path) -> None:
    table = crops([("v", 0, frame) for frame in range(1300)])
    home = shard_of("v", 0, SHARDS)
    whole = write_shard(str(tmp_path / "a"), "crops", home, SHARDS, table)
    pieces = write_shard_batches(f"memory://{tmp_path.name}-shards", "crops", home, SHARDS, schema=table.schema,
                                 batches=table.to_batches(max_chunksize=77))
    assert whole == pieces
    file = tmp_path / "a" / whole.path
    assert hashlib.sha256(file.read_bytes()).hexdigest() == whole.sha256
    assert (file.stat().st_size, whole.rows) == (whole.bytes, 1300)
    assert pq.read_table(file).equals(table, check_metadata=False)


def test_pictures_are_stored_as_they_are_and_numbers_compressed(tmp_path: Path) -> None:
    info = write_shard(str(tmp_path), "crops", shard_of("v", 0, 1), 1, crops([("v", 0, frame) for frame in range(600)]))
    footer = pq.ParquetFile(tmp_path / info.path).metadata
    assert [footer.row_group(index).num_rows for index in range(footer.num_row_groups)] == [128, 128, 128, 128, 88]
    columns = {footer.row_group(0).column(i).path_in_schema: footer.row_group(0).column(i) for i in range(5)}
    assert columns["jpeg"].compression == "UNCOMPRESSED"
    assert not columns["jpeg"].is_stats_set
    assert not columns["jpeg"].has_dictionary_page
    assert {column.compression for name, column in columns.items() if name != "jpeg"} == {"ZSTD"}
    described = pq.read_schema(tmp_path / info.path).field("track").metadata
    assert described[b"description"] == b"index of the face track within its video, from 0"


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ([("v", 0, 1), ("v", 0, 0)], "rows are not sorted by video_id, track, frame"),
        ([("v", 0, 1), ("v", 0, 1)], "two rows have the key"),
    ],
)
def test_unsorted_and_duplicate_rows_are_refused_across_batches(
    tmp_path: Path, keys: list[tuple[str, int, int]], complaint: str
) -> None:
    single = crops(keys).to_batches(max_chunksize=1)
    with pytest.raises(ValueError, match=complaint):
        write_shard_batches(str(tmp_path), "crops", 0, 1, schema=crops_schema(), batches=single)
    assert not list(tmp_path.rglob("*.parquet"))


def test_rows_of_another_shard_are_refused(tmp_path: Path) -> None:
    wrong = (shard_of("v", 0, SHARDS) + 1) % SHARDS
    with pytest.raises(ValueError, match=f"not to shard={wrong}"):
        write_shard(str(tmp_path), "crops", wrong, SHARDS, crops([("v", 0, 0)]))


def test_failures_of_a_whole_video_come_first_and_may_repeat(tmp_path: Path) -> None:
    good = [failure("v", None), failure("v", None), failure("v", 0), failure("v", 1), failure("w", None)]
    info = write_shard(str(tmp_path), "failures", 0, 1, pa.Table.from_pylist(good, failures_schema()))
    assert info.rows == 5
    with pytest.raises(ValueError, match="failures: rows are not sorted"):
        write_shard(str(tmp_path), "failures", 0, 1, pa.Table.from_pylist(good[::-1], failures_schema()))


def test_an_unknown_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="table_name='faces' is none of frames, tracks, crops, failures"):
        write_shard(str(tmp_path), "faces", 0, 1, crops([]))
