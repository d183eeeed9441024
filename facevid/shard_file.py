"""One shard, opened: what it holds is checked against the schema before anybody computes with it.

A shard may come from an earlier version of this program, from another program, or from a stranger. Columns of another
width are taken where every value is what it was, rounded at most, in the schema's type: numbers as numbers, text as
text.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from facevid import storage
from facevid.description import RECEIVED, DatasetError
from facevid.shards import ShardInfo

_REBUILD = "run the build again, which writes the tables anew"
_ALTERED = (
    "altered, or written anew by a build since the dataset was opened; open it again, or remove it and run the build "
    "again"
)
_EARLIER = f"an earlier version of FaceVid wrote it; {_REBUILD}"


class ShardFile(AbstractContextManager["ShardFile"]):
    """A shard to read from; close it, or use it in a `with`.

    Args:
        root: The dataset folder: a local path or a bucket's address.
        shard: Which shard.
        schema: The columns of its table.

    Attributes:
        path: The file.

    Raises:
        DatasetError: The file is missing, cannot be read, is no Parquet file, or has not as many rows or bytes as
            it should.
    """

    def __init__(self, root: str, shard: ShardInfo, schema: pa.Schema) -> None:
        self.path = storage.join(root, shard.path)
        self._schema = schema
        self._local = storage.local_file(self.path)
        try:
            # Arrow's threads let go of a file when they like, and where it is one of Python's need the interpreter for
            # it: if that is ending just then, the process aborts.
            self._file = pq.ParquetFile(self._local or storage.open_read(self.path), pre_buffer=True)
        except (pa.ArrowException, OSError) as error:
            raise self._unread(error) from error
        if (rows := self._file.metadata.num_rows) != shard.rows:
            self._file.close()
            raise DatasetError(f"{self.path} has {rows} rows, not {shard.rows}: {_ALTERED}")
        # Looked at after the file was opened: whatever takes its place from now on, this one is read to its end.
        if (size := storage.size_bytes(self.path)) != shard.bytes:
            self._file.close()
            raise DatasetError(f"{self.path} has {size} bytes, not {shard.bytes}: {_ALTERED}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the schema that the file has."""
        return tuple(name for name in self._schema.names if name in self._file.schema_arrow.names)

    @property
    def row_groups(self) -> tuple[int, ...]:
        """Rows of each row group."""
        metadata = self._file.metadata
        return tuple(metadata.row_group(index).num_rows for index in range(metadata.num_row_groups))

    def null_counts(self, row_group: int) -> dict[str, int | None]:
        """How many values each of the schema's columns lacks in a row group, as the file says; None where it does not.

        Args:
            row_group: Which one.
        """
        metadata = self._file.metadata.row_group(row_group)
        found: dict[str, int | None] = {}
        for index in range(metadata.num_columns):
            column = metadata.column(index)
            if (name := column.path_in_schema.split(".")[0]) in self._schema.names:
                known = column.statistics is not None and column.statistics.has_null_count
                found[name] = column.statistics.null_count if known else None
        return found

    def row_groups_of(self, video_id: str, track: int) -> tuple[int, ...]:
        """The row groups that may hold rows of a track, by what the file says of itself; all where it says nothing.

        Args:
            video_id: The manifest's id of the video.
            track: Index of the track in the video.
        """
        return tuple(
            group for group in range(self._file.metadata.num_row_groups)
            if self._may_hold(group, {"video_id": video_id, "track": track})
        )

    def _may_hold(self, row_group: int, key: Mapping[str, Any]) -> bool:
        metadata = self._file.metadata.row_group(row_group)
        for index in range(metadata.num_columns):
            column = metadata.column(index)
            value, known = key.get(column.path_in_schema), column.statistics
            # Ids may be stored as bytes, of which only the file's own order is known.
            comparable = known is not None and known.has_min_max and type(known.min) is type(value)
            if comparable and not known.min <= value <= known.max:
                return False
        return True

    def read(self, columns: Sequence[str], *, row_group: int | None = None) -> pa.Table:
        """Some columns, of the schema's types and in the order asked for.

        Args:
            columns: Names of the schema.
            row_group: Only this one's rows.

        Raises:
            DatasetError: The file lacks a column, has it in another type, with nulls where none may be, is damaged, or
                cannot be read.
        """
        wanted = list(columns)
        self._require(wanted)
        try:
            if row_group is None:
                table = self._file.read(columns=wanted)
            else:
                table = self._file.read_row_group(row_group, columns=wanted)
        except (pa.ArrowException, OSError) as error:
            raise self._unread(error) from error
        return self._as_in_schema(table, wanted)

    def batches(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """The same in pieces, for what is too large to be in memory at once.

        Raises:
            DatasetError: As `read`.
        """
        wanted = list(columns)
        self._require(wanted)
        try:
            for batch in self._file.iter_batches(columns=wanted):
                yield self._as_in_schema(pa.Table.from_batches([batch]), wanted)
        except (pa.ArrowException, OSError) as error:
            raise self._unread(error) from error

    def _require(self, columns: list[str]) -> None:
        if missing := [column for column in columns if column not in self._file.schema_arrow.names]:
            raise DatasetError(f"{self.path} has no columns {', '.join(missing)}: {_EARLIER}")

    def _as_in_schema(self, table: pa.Table, columns: list[str]) -> pa.Table:
        fields = [self._schema.field(column) for column in columns]
        return pa.table([self._cast(table[field.name], field) for field in fields], schema=pa.schema(fields))

    def _cast(self, column: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
        if column.null_count and not field.nullable:
            raise DatasetError(f"{self.path}: column {field.name} lacks values in {column.null_count} rows; {_REBUILD}")
        # Arrow would read numbers out of text, and take any number for a truth.
        if _content(column.type) not in {_content(field.type), "null"}:
            raise self._of_another_type(column, field, "")
        try:
            cast = column.cast(field.type)
        except (pa.ArrowException, ValueError) as error:
            raise self._of_another_type(column, field, f" ({error})") from error
        if pa.types.is_fixed_size_list(cast.type) and any(chunk.flatten().null_count for chunk in cast.chunks):
            raise DatasetError(f"{self.path}: column {field.name} lacks values within rows; {_REBUILD}")
        if cast.type != column.type and _infinities(cast) != _infinities(column):
            raise self._of_another_type(column, field, " (a value is too large)")
        return cast

    def _of_another_type(self, column: pa.ChunkedArray, field: pa.Field, why: str) -> DatasetError:
        return DatasetError(
            f"{self.path}: column {field.name} is of type {column.type}, which is no {field.type}{why}; {_REBUILD}"
        )

    def _unread(self, error: Exception) -> DatasetError:
        if isinstance(error, FileNotFoundError):
            return DatasetError(f"{self.path} is missing; run the build again, it resumes, {RECEIVED}")
        said = str(error) or type(error).__name__
        if self._is_of_content(error):
            return DatasetError(f"{self.path} is damaged ({said}); remove it and run the build again")
        return DatasetError(f"{self.path} cannot be read ({said}); it may well be whole, so mend that and try again")

    def _is_of_content(self, error: Exception) -> bool:
        if isinstance(error, pa.ArrowException):
            return not isinstance(error, (pa.ArrowMemoryError, pa.ArrowCancelled))
        # Arrow calls a broken page a plain OSError without a number, where the system gives one. What a bucket's own
        # reader raises goes through Arrow as it is, and not all of that has a number either.
        return type(error) is OSError and error.errno is None and self._local is not None


def _content(kind: pa.DataType) -> str:
    """What a type holds, whatever its width."""
    of = pa.types
    if of.is_dictionary(kind):
        return _content(kind.value_type)
    if of.is_list(kind) or of.is_large_list(kind) or of.is_fixed_size_list(kind):
        return f"list of {_content(kind.value_type)}"
    if of.is_integer(kind) or of.is_floating(kind) or of.is_decimal(kind):
        return "number"
    if of.is_string(kind) or of.is_large_string(kind) or of.is_string_view(kind):
        return "bytes"  # some programs leave out of the file that its bytes are text
    if of.is_binary(kind) or of.is_large_binary(kind) or of.is_binary_view(kind):
        return "bytes"
    return str(kind)


def _infinities(column: pa.ChunkedArray) -> int:
    values = column if not _content(column.type).startswith("list") else pc.list_flatten(column)
    return (pc.sum(pc.is_inf(values)).as_py() or 0) if pa.types.is_floating(values.type) else 0
