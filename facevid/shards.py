"""Parquet shards: which one a track belongs to, and bytes that depend on nothing but the rows.

Rows come in sorted order and leave in it; row groups have a fixed number of rows whatever the batches
they came in; the writer's options are fixed and no time of day is stored. Adjacent frames of a track
share a row group, so a reader that wants to shuffle mixes several row groups.
"""

import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Bool

from facevid import storage
from facevid.schema import TABLES

ROW_GROUP_ROWS = {"crops": 128}
"""Rows per row group; 128 crops are about 2 MB, cheap to read, and little enough to read for the sake of a few."""
_DEFAULT_ROW_GROUP_ROWS = 8192

_KEYS = {
    "frames": ("video_id", "track", "frame"),
    "tracks": ("video_id", "track"),
    "crops": ("video_id", "track", "frame"),
    "failures": ("video_id", "track"),
}
# An item may fail in more than one way, so the failures' key is a sort key, not a unique one.
_UNIQUE = frozenset({"frames", "tracks", "crops"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardInfo:
    """One shard as listed in `facevid.json`.

    Attributes:
        table: Name of the table.
        path: Path relative to the dataset folder, with forward slashes.
        rows: Number of rows.
        bytes: File size.
        sha256: Hash of the file.
    """

    table: str
    path: str
    rows: int
    bytes: int
    sha256: str


def shard_of(video_id: str, track: int | None, shards: int) -> int:
    """The shard of a track, or (track None) of a failure of a whole video.

    Args:
        video_id: The manifest's id of the video.
        track: Index of the track in the video.
        shards: Shards per table, at least 1.

    Returns:
        An index in [0, shards), the same in every process and for every table.

    Raises:
        ValueError: `shards` is not positive.
    """
    if shards < 1:
        raise ValueError(f"shards={shards} must be at least 1")
    key = json.dumps([video_id, track]).encode()
    return int.from_bytes(hashlib.sha256(key).digest()[:8], "big") % shards


def shard_name(shard: int, shards: int) -> str:
    """File name of a shard, such as `part-00000-of-00016.parquet`.

    Raises:
        ValueError: `shard` is not in [0, shards).
    """
    if not 0 <= shard < shards:
        raise ValueError(f"shard={shard} is not in [0, shards={shards})")
    return f"part-{shard:05d}-of-{shards:05d}.parquet"


def is_home(shard: ShardInfo, video_id: str, track: int) -> bool:
    """Whether rows of a track belong into a shard, by its name."""
    number, count = numbers_of(shard)
    return shard_of(video_id, track, count) == number


def numbers_of(shard: ShardInfo) -> tuple[int, int]:
    """Index of a shard and number of the shards of its table, by its name."""
    _, number, _, count = shard.path.removesuffix(".parquet").rsplit("/", 1)[-1].split("-")
    return int(number), int(count)


def write_shard(root: str, table_name: str, shard: int, shards: int, table: pa.Table) -> ShardInfo:
    """Write one shard from a table in memory; see `write_shard_batches`."""
    return write_shard_batches(root, table_name, shard, shards, schema=table.schema, batches=table.to_batches())


def write_shard_batches(
    root: str, table_name: str, shard: int, shards: int, *, schema: pa.Schema, batches: Iterable[pa.RecordBatch]
) -> ShardInfo:
    """Write one shard from sorted batches, holding no more than a row group in memory.

    An empty shard is a valid file; leave empty shards out (but the first of a table, which keeps the
    schema readable) by not calling this.

    Args:
        root: The dataset folder: a local path or a bucket's address.
        table_name: frames, tracks, crops or failures; the file goes into the folder of this name.
        shard: Index of the shard.
        shards: Shards of this table.
        schema: Schema of the rows.
        batches: The rows, sorted by the table's key, all of them of this shard.

    Returns:
        What to list in `facevid.json`.

    Raises:
        ValueError: Unknown table, rows not sorted, duplicate keys, or rows of another shard.
    """
    if table_name not in TABLES:
        raise ValueError(f"table_name={table_name!r} is none of {', '.join(TABLES)}")
    path = f"{table_name}/{shard_name(shard, shards)}"
    group_rows = ROW_GROUP_ROWS.get(table_name, _DEFAULT_ROW_GROUP_ROWS)
    rows = 0
    with storage.atomic_file(storage.join(root, path)) as file:
        counted = _Counted(file)
        with pq.ParquetWriter(counted, schema, **_writer_options(schema)) as writer:
            for group in _regrouped(schema, _checked(table_name, shard, shards, batches), group_rows):
                writer.write_table(group, row_group_size=group_rows)
                rows += group.num_rows
    return ShardInfo(table=table_name, path=path, rows=rows, bytes=counted.count, sha256=counted.digest.hexdigest())


class _Counted(io.RawIOBase):
    """Passes bytes on, counting and hashing them, so that a shard in a bucket is not read again for its hash."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.count = 0
        self.digest = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.count

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self._file.write(view)
        self.digest.update(view)
        self.count += view.nbytes
        return view.nbytes


def _writer_options(schema: pa.Schema) -> dict[str, Any]:
    # JPEG does not compress, has no order and does not repeat; everything else does at least one of the three.
    leaves = _leaf_columns(schema)
    plain = [leaf for leaf in leaves if leaf != "jpeg"]
    repeating = [field.name for field in schema if pa.types.is_string(field.type)]
    return {
        "version": "2.6",
        "data_page_version": "1.0",
        "compression": dict.fromkeys(plain, "zstd") | {leaf: "none" for leaf in leaves if leaf == "jpeg"},
        "use_dictionary": repeating or False,
        "write_statistics": plain,
        "write_page_index": True,
        "store_schema": True,
    }


def _leaf_columns(schema: pa.Schema) -> list[str]:
    buffer = io.BytesIO()
    pq.write_table(schema.empty_table(), buffer)
    leaves = pq.ParquetFile(buffer).schema
    return [leaves.column(index).path for index in range(len(leaves))]


def _regrouped(schema: pa.Schema, batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    waiting: list[pa.RecordBatch] = []
    count = 0
    for whole in batches:
        batch = whole
        while count + batch.num_rows >= rows:
            head = rows - count
            yield pa.Table.from_batches([*waiting, batch.slice(0, head)], schema).combine_chunks()
            batch, waiting, count = batch.slice(head), [], 0
        if batch.num_rows:
            waiting.append(batch)
            count += batch.num_rows
    if count:
        yield pa.Table.from_batches(waiting, schema).combine_chunks()


def _checked(
    table_name: str, shard: int, shards: int, batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    keys = _KEYS[table_name]
    last: pa.Table | None = None
    for batch in batches:
        if not batch.num_rows:
            continue
        seen = pa.Table.from_batches([batch]).select(list(keys))
        for pair in seen.group_by(["video_id", "track"]).aggregate([]).to_pylist():
            if (home := shard_of(pair["video_id"], pair["track"], shards)) != shard:
                raise ValueError(f"{table_name}: {pair} belongs to shard {home}, not to shard={shard}")
        joined = seen if last is None else pa.concat_tables([last, seen])
        _check_order(table_name, joined)
        last = seen.slice(seen.num_rows - 1)
        yield batch


def order_faults(table_name: str, rows: pa.Table) -> tuple[Bool[np.ndarray, " pairs"], Bool[np.ndarray, " pairs"]]:
    """Which rows, from the second on, come before the one before them, and which have the same key though none may.

    Args:
        table_name: frames, tracks, crops or failures.
        rows: Consecutive rows of a shard, with the columns of the table's key.
    """
    before, after = rows.slice(0, max(0, rows.num_rows - 1)), rows.slice(1)
    ascends = np.zeros(before.num_rows, bool)
    ties = np.ones(before.num_rows, bool)
    for name in _KEYS[table_name]:
        # A failure of a whole video has no track and comes before those of its tracks.
        left, right = (
            column if name == "video_id" else pc.fill_null(column, -1) for column in (before[name], after[name])
        )
        ascends |= ties & pc.less(left, right).to_numpy()
        ties &= pc.equal(left, right).to_numpy()
    return ~(ascends | ties), ties & (table_name in _UNIQUE)


def _check_order(table_name: str, keys: pa.Table) -> None:
    descends, repeats = order_faults(table_name, keys)
    if descends.any():
        row = keys.slice(1 + int(descends.argmax()), 1).to_pylist()[0]
        raise ValueError(f"{table_name}: rows are not sorted by {', '.join(keys.column_names)}; {row} comes too late")
    if repeats.any():
        row = keys.slice(1 + int(repeats.argmax()), 1).to_pylist()[0]
        raise ValueError(f"{table_name}: two rows have the key {row}")
