"""Reading a manifest: CSV, JSON lines or Parquet by the file's suffix, whole and checked before any work starts.

Files are read as a stream, so that what stays in memory is the rows (about half a kilobyte each), and a broken
row does not hide its neighbours.
"""

import csv
import datetime as dt
import decimal
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NoReturn

from pipeline.manifest import BadRow, Manifest, ManifestError, ManifestRow, local_path
from pipeline.manifest_columns import REQUIRED_COLUMNS, bad_row, row_of
from pipeline.public_urls import public_url

SUFFIXES = (".csv", ".jsonl", ".parquet")

_LONGEST_LINE_BYTES = 1 << 20
_ROWS_PER_BATCH = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    # One row as the file has it; `trouble` says why it cannot be read at all.
    line: int
    values: Mapping[str, str] = field(default_factory=dict)
    trouble: str | None = None


def read_manifest(path: Path) -> Manifest:
    """Read a manifest: `.csv` (UTF-8, RFC 4180 quoting, a header line), `.jsonl` (an object per line) or `.parquet`.

    Args:
        path: The file.

    Returns:
        All its rows, good and bad.

    Raises:
        ManifestError: The file cannot be read as a manifest at all: not there, another suffix, no header, a required
            column missing, a column twice, no rows, or a broken row that swallows further lines.
    """
    readers = dict(zip(SUFFIXES, (_csv_records, _json_records, _parquet_records), strict=True))
    if (read := readers.get(path.suffix.lower())) is None:
        raise ManifestError(f"{path}: a manifest is a file with the suffix {', '.join(SUFFIXES)}")
    good: list[ManifestRow] = []
    bad: list[BadRow] = []
    first_line: dict[str, int] = {}
    try:
        for record in read(path):
            if record.trouble is not None:
                bad.append(bad_row(record.line, record.values, record.trouble))
                continue
            row = row_of(record.line, record.values)
            if isinstance(row, ManifestRow) and row.video_id in first_line:
                reason = f"video_id {row.video_id!r} stands already on line {first_line[row.video_id]}"
                row = bad_row(record.line, record.values, reason)
            if isinstance(row, BadRow):
                bad.append(row)
            else:
                first_line[row.video_id] = row.line
                good.append(row)
    except OSError as error:
        raise ManifestError(f"cannot read the manifest {path}: {error.strerror or error}") from error
    if not good and not bad:
        raise ManifestError(f"{path} has no rows")
    folder = local_path(str(path), Path.cwd()).parent
    return Manifest(rows=tuple(good), bad_rows=tuple(bad), folder=folder, remarks=_remarks(good))


def _csv_records(path: Path) -> Iterator[_Record]:
    # Undecodable bytes are carried through as surrogates, so that the rows around a bad one are still read.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        lines = _csv_lines(file)
        _, header, trouble = next(lines, (0, [], "empty"))
        if trouble is not None:
            raise ManifestError(f"{path} has no header line; it should start with: {','.join(REQUIRED_COLUMNS)}")
        columns = [name.strip() for name in header]
        _check_columns(path, columns)
        for line, fields, trouble in lines:
            values = dict(zip(columns, (text.strip() for text in fields), strict=False))
            if trouble is None and len(fields) != len(columns):
                trouble = f"{len(fields)} field(s), but the header has {len(columns)}"  # noqa: PLW2901
            yield _Record(line=line, values=values, trouble=trouble)


def _csv_lines(file: IO[str]) -> Iterator[tuple[int, list[str], str | None]]:
    # (line, fields, what csv says is wrong); blank lines are left out.
    reader = csv.reader(file, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if reader.line_num > line:
                # Rows would be lost in it, counted as one.
                message = f"lines {line} to {reader.line_num} are no CSV rows ({error}): is a quote not closed?"
                raise ManifestError(message) from error
            yield line, [], f"not CSV: {error}"
            continue
        if fields:
            yield line, fields, None


def _json_records(path: Path) -> Iterator[_Record]:
    with path.open("rb") as file:
        number = 0
        while raw := file.readline(_LONGEST_LINE_BYTES + 1):
            number += 1
            if len(raw) > _LONGEST_LINE_BYTES:
                raise ManifestError(f"{path}: line {number} has more than {_LONGEST_LINE_BYTES} bytes")
            if number == 1:
                raw = raw.removeprefix(b"\xef\xbb\xbf")
            if raw.strip():
                yield _json_record(number, raw)


def _json_record(line: int, raw: bytes) -> _Record:
    try:
        plain = json.loads(raw.decode(), object_pairs_hook=_without_twins, parse_constant=_no_number)
    except UnicodeDecodeError:
        return _Record(line=line, trouble="not valid UTF-8")
    except (ValueError, RecursionError) as error:
        return _Record(line=line, trouble=f"not JSON: {error}")
    if not isinstance(plain, dict):
        return _Record(line=line, trouble="not a JSON object")
    return _Record(line=line, values={name.strip(): _text(value) for name, value in plain.items()})


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len({name.strip() for name in found}) != len(pairs):
        raise ValueError("it names a column twice")
    return found


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def _parquet_records(path: Path) -> Iterator[_Record]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            columns = [name.strip() for name in file.schema_arrow.names]
            _check_columns(path, columns)
            line = 0
            for batch in file.iter_batches(batch_size=_ROWS_PER_BATCH):
                for index in range(batch.num_rows):
                    line += 1
                    yield _parquet_record(line, columns, [column[index] for column in batch.columns])
    except (pa.ArrowException, UnicodeDecodeError) as error:  # the latter for names of columns
        raise ManifestError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from error


def _parquet_record(line: int, columns: Sequence[str], cells: Sequence[Any]) -> _Record:
    values: dict[str, str] = {}
    for name, cell in zip(columns, cells, strict=True):
        try:
            values[name] = _text(cell.as_py())
        except UnicodeDecodeError:
            return _Record(line=line, values=values, trouble=f"{name}: not valid UTF-8")
        except (ValueError, OverflowError) as error:  # a time that Python's calendar does not reach
            return _Record(line=line, values=values, trouble=f"{name}: {error}")
    return _Record(line=line, values=values)


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    if missing := [name for name in REQUIRED_COLUMNS if name not in columns]:
        raise ManifestError(f"{path} lacks the column(s) {', '.join(missing)}; it has: {','.join(columns)!a}")
    if twice := sorted({name for name in columns if columns.count(name) > 1}):
        raise ManifestError(f"{path} has the column(s) {', '.join(map(repr, twice))} twice")


def _text(value: object) -> str:
    # One kind of value for all three formats: what a CSV file would have.
    match value:
        case None:
            return ""
        case str():
            return value.strip()
        case bool():
            return "true" if value else "false"
        case int() | float() | decimal.Decimal():
            return str(value)
        case dt.date() | dt.time():
            return value.isoformat()
        case bytes():
            return value.decode().strip()
        case _:
            return json.dumps(value, ensure_ascii=False, default=str)


def _remarks(rows: Sequence[ManifestRow]) -> tuple[str, ...]:
    # Two rows may want different parts of one video; the same part twice would count its frames twice.
    found: list[str] = []
    times = Counter(row.url for row in rows)
    by_url: dict[str, list[ManifestRow]] = {}
    for row in rows:
        if times[row.url] > 1:
            by_url.setdefault(row.url, []).append(row)
    for url, same in by_url.items():
        same.sort(key=lambda row: (row.start_s or 0.0, row.line))
        for before, after in itertools.pairwise(same):
            if before.end_s is None or (after.start_s or 0.0) < before.end_s:
                found.append(
                    f"line {max(before.line, after.line)}: {public_url(url)} is in the dataset twice, as "
                    f"{before.video_id} (line {before.line}) and {after.video_id}, with the same or overlapping times"
                )
    return tuple(found)
