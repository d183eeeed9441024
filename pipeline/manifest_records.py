"""What a manifest's file says, row by row: CSV, JSON lines, Parquet, a list, or a folder. Only its form is checked.

Files are read as a stream, and a broken row does not hide its neighbours.
"""

import csv
import datetime as dt
import decimal
import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from facevid.video_address import video_address
from pipeline.manifest import ManifestError
from pipeline.manifest_columns import REQUIRED_COLUMNS
from pipeline.manifest_lists import id_of, listed_addresses, videos_in
from pipeline.text_encoding import other_encoding

_TEXTS = (".csv", ".tsv", ".jsonl", ".txt")
_LONGEST_LINE_BYTES = 1 << 20
_ROWS_PER_BATCH = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One row as the file has it.

    Attributes:
        line: Where it begins in the file, from 1; in a Parquet file its number, from 1; 0 in a folder.
        values: Text per column, stripped; an empty one is no value.
        trouble: Why it cannot be read at all.
        repeats: The line whose video it names again, in another spelling; then it is no row.
    """

    line: int
    values: Mapping[str, str] = field(default_factory=dict)
    trouble: str | None = None
    repeats: int | None = None


def records(path: Path, *, skip_bad_rows: bool = False) -> Iterator[Record]:
    """The rows of a manifest.

    Args:
        path: A table: `.csv` (UTF-8, RFC 4180 quoting, a header line; separated by semicolons or tabs where no comma
            stands in the header), `.tsv`, `.jsonl` (an object per line) or `.parquet`; or a list of addresses and
            paths, `.txt`; or a folder of videos. Rows of the last two get ids, see `manifest_lists.id_of`.
        skip_bad_rows: Rows that are no UTF-8 are told one by one, however many they are.

    Raises:
        ManifestError: It cannot be read as a manifest at all, see `manifest_files.read_manifest`.
        OSError: It cannot be read.
    """
    if path.is_dir():
        return _folder_records(path)
    suffix = path.suffix.lower()
    if suffix in _TEXTS and (odd := other_encoding(path, line_by_line=skip_bad_rows)):
        raise ManifestError(f"{path} {odd}; save it as UTF-8")
    match suffix:
        case ".csv" | ".tsv":
            return _csv_records(path)
        case ".jsonl":
            return _json_records(path)
        case ".parquet":
            return _parquet_records(path)
        case ".txt":
            return _list_records(path)
        case _:
            known = ".csv, .tsv, .jsonl, .parquet, .txt"
            raise ManifestError(f"{path}: a manifest is a folder of videos, or a file with the suffix {known}")


def _csv_records(path: Path) -> Iterator[Record]:
    # Undecodable bytes are carried through as surrogates, so that the rows around a bad one are still read.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        header = file.readline()
        lines = _csv_lines(itertools.chain((header,), file), _separator(path, header))
        _, names, trouble = next(lines, (0, [], "empty"))
        if trouble is not None:
            raise ManifestError(f"{path} has no header line; it should start with: {','.join(REQUIRED_COLUMNS)}")
        columns = [name.strip() for name in names]
        _check_columns(path, columns)
        for line, fields, trouble in lines:
            values = dict(zip(columns, (text.strip() for text in fields), strict=False))
            if trouble is None and len(fields) != len(columns):
                trouble = f"{len(fields)} field(s), but the header has {len(columns)}"  # noqa: PLW2901
            yield Record(line=line, values=values, trouble=trouble)


def _separator(path: Path, header: str) -> str:
    # Two columns are required, so a header without a comma is separated by something else: spreadsheets take the
    # semicolon where numbers have decimal commas.
    return next((each for each in ",;\t" if each in header), ",") if path.suffix.lower() == ".csv" else "\t"


def _csv_lines(file: Iterable[str], separator: str) -> Iterator[tuple[int, list[str], str | None]]:
    # (line, fields, what csv says is wrong); blank lines are left out.
    reader = csv.reader(file, strict=True, delimiter=separator)
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


def _list_records(path: Path) -> Iterator[Record]:
    first_line: dict[str, int] = {}
    line_of: dict[str, int] = {}
    for line, url in listed_addresses(path):
        if (before := line_of.setdefault(video_address(url), line)) != line:
            yield Record(line=line, values={"url": url}, repeats=before)
            continue
        video_id = id_of(url)
        first = first_line.setdefault(video_id, line)
        trouble = None if first == line else (
            f"it has the id {video_id} of line {first}, as ids are made without what signs an address (key=, token= "
            "and the like): remove one of the lines if they are one video, else write a .csv with ids of your own"
        )  # fmt: skip
        yield Record(line=line, values={"video_id": video_id, "url": url}, trouble=trouble)


def _folder_records(folder: Path) -> Iterator[Record]:
    for name in videos_in(folder):
        trouble = None
        try:
            name.encode()
        except UnicodeEncodeError:
            trouble = f"the name of the file {str(os.fsencode(name))[1:]} is not UTF-8: rename it"
        yield Record(line=0, values={"video_id": id_of(name), "url": name}, trouble=trouble)


def _json_records(path: Path) -> Iterator[Record]:
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


def _json_record(line: int, raw: bytes) -> Record:
    try:
        plain = json.loads(raw.decode(), object_pairs_hook=_without_twins, parse_constant=_no_number)
    except UnicodeDecodeError:
        return Record(line=line, trouble="not valid UTF-8")
    except (ValueError, RecursionError) as error:
        array = "; an array cannot be read, write one object per line" if raw.lstrip()[:1] == b"[" else ""
        return Record(line=line, trouble=f"not JSON: {error}{array}")
    if not isinstance(plain, dict):
        return Record(line=line, trouble="not a JSON object")
    return Record(line=line, values={name.strip(): _text(value) for name, value in plain.items()})


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len({name.strip() for name in found}) != len(pairs):
        raise ValueError("it names a column twice")
    return found


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def _parquet_records(path: Path) -> Iterator[Record]:
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


def _parquet_record(line: int, columns: Sequence[str], cells: Sequence[Any]) -> Record:
    values: dict[str, str] = {}
    for name, cell in zip(columns, cells, strict=True):
        try:
            values[name] = _text(cell.as_py())
        except UnicodeDecodeError:
            return Record(line=line, values=values, trouble=f"{name}: not valid UTF-8")
        except (ValueError, OverflowError) as error:  # a time that Python's calendar does not reach
            return Record(line=line, values=values, trouble=f"{name}: {error}")
    return Record(line=line, values=values)


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    if missing := [name for name in REQUIRED_COLUMNS if name not in columns]:
        if any("://" in name for name in columns):
            raise ManifestError(
                f"{path} has no header line; it should start with: {','.join(REQUIRED_COLUMNS)}. "
                "Without ids, rename it to .txt: a list has an address or path on each line"
            )
        meant = [f"; rename {_meant(name, columns)!a} to {name}" for name in missing if _meant(name, columns)]
        raise ManifestError(
            f"{path} lacks the column(s) {', '.join(missing)}{''.join(meant)}; it has: {','.join(columns)!a}"
        )
    if twice := sorted({name for name in columns if columns.count(name) > 1}):
        raise ManifestError(f"{path} has the column(s) {', '.join(map(repr, twice))} twice")


def _meant(name: str, columns: Sequence[str]) -> str | None:
    # A column that is spelled otherwise, or is a part of the name: `Video_ID`, `VideoId`, `id`.
    def plain(text: str) -> str:
        return re.sub(r"[^a-z]", "", text.lower())

    spelled = [each for each in columns if plain(each) == plain(name)]
    parts = [each for each in columns if each.lower() in name.split("_")]
    return next(iter(spelled + parts), None)


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
