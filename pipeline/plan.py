"""The plan of a build, as files: the job and all rows, for workers, for `facevid status`, and for a resume.

    plan.json             the job, and which files hold the rows
    rows-HASH.jsonl       one row per line; rows-HASH.index has where each line begins
    bad_rows-HASH.jsonl   the bad rows, likewise

All are for this user's eyes alone: rows hold addresses as the manifest has them, secrets and all; see
`facevid.public_urls`.

A worker needs a few rows out of a million at a time, so rows are read when they are asked for. The files of rows are
named by their content and written first: whoever reads while a new plan is written sees one plan or the other.
"""

import hashlib
import json
import mmap
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

from facevid import storage
from facevid.description import DatasetError
from pipeline.damage import intact
from pipeline.earlier_rows import note_earlier_rows
from pipeline.job import Job, state_folder
from pipeline.manifest import BadRow, Manifest, ManifestRow
from pipeline.slices import begun_slices

_FILE = "plan.json"
_FORMAT = 2
_BEGIN_AGAIN = "run `facevid build` with the manifest and the options of before again: what is done is kept"
_OFFSET = struct.Struct("<Q")
_Row = TypeVar("_Row", ManifestRow, BadRow)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be built.

    Attributes:
        job: The build.
        manifest: All its rows.
    """

    job: Job
    manifest: Manifest


class StoredRows(Sequence[_Row], Generic[_Row]):
    """Rows in a file of a plan, each read when it is asked for.

    Args:
        path: The file with one row per line; its index lies beside it.
        make: From a line's values to a row.
    """

    def __init__(self, path: Path, make: Callable[[dict[str, Any]], _Row]) -> None:
        self._make: Callable[[dict[str, Any]], _Row] = make
        self._path = path
        with intact(path, _BEGIN_AGAIN):
            self._index = _mapped(path.with_suffix(".index"))
            self._lines = _mapped(path)
            # One that was cut short must not pass for fewer rows.
            if _OFFSET.unpack_from(self._index, len(self._index) - _OFFSET.size)[0] != len(self._lines):
                raise ValueError("it and its index differ in length")

    def __len__(self) -> int:
        return len(self._index) // _OFFSET.size - 1

    @overload
    def __getitem__(self, index: int) -> _Row: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[_Row]: ...
    def __getitem__(self, index: int | slice) -> _Row | Sequence[_Row]:
        if isinstance(index, slice):
            return tuple(self[place] for place in range(*index.indices(len(self))))
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(f"index={index}: there are {len(self)} rows")
        begin, end = (_OFFSET.unpack_from(self._index, _OFFSET.size * (place + k))[0] for k in (0, 1))
        with intact(self._path, _BEGIN_AGAIN):
            row: _Row = self._make(json.loads(self._lines[begin:end]))
        return row

    def require_unaltered(self) -> None:
        """Read all of the file, whose name says what its content was.

        Raises:
            DatasetError: It is another now.
        """
        with intact(self._path, _BEGIN_AGAIN):
            if not self._path.stem.endswith(f"-{_fingerprint(self._lines)}"):
                raise ValueError("it is not what its name says")


def write_plan(plan: Plan) -> None:
    """Write the plan into the job's state folder, and note what an earlier one there had otherwise."""
    state = plan.job.state
    before = {path.name for pattern in ("rows-*", "bad_rows-*") for path in state.glob(pattern)}
    names = {"rows": _write_rows(state, "rows", plan.manifest.rows),
             "bad_rows": _write_rows(state, "bad_rows", plan.manifest.bad_rows)}  # fmt: skip
    earlier = ((each.job, each.manifest.rows) for each in _earlier_plans(plan.job, names["rows"]))
    note_earlier_rows(plan.job, plan.manifest.rows, earlier)
    content = {"format": _FORMAT, "job": plan.job.to_plain(), "folder": str(plan.manifest.folder), **names}
    storage.write_bytes(state / _FILE, json.dumps(content, ensure_ascii=False).encode(), private=True)
    used = {f"{name}{suffix}" for name in names.values() for suffix in (".jsonl", ".index")}
    for old in before - used:
        storage.remove(state / old)


def read_plan(out: Path, *, whole: bool = False) -> Plan:
    """Read the plan of the build into a dataset folder.

    Args:
        out: The dataset folder.
        whole: Read the files of rows to their ends, to be sure that nobody has altered them.

    Raises:
        FileNotFoundError: No build was ever begun there.
        DatasetError: It was begun by another version of this program, or is damaged.
    """
    file = state_folder(out) / _FILE
    while True:
        data = file.read_bytes()
        with intact(file, _BEGIN_AGAIN):
            content = json.loads(data)
            version = content.get("format")
        if version != _FORMAT:
            raise DatasetError(f"the build of {out} was begun by another version; `facevid build` takes it up again")
        with intact(file, _BEGIN_AGAIN):
            job = Job.from_plain(content["job"])
            folder = Path(content["folder"])
            good, bad = (file.parent / f"{content[name]}.jsonl" for name in ("rows", "bad_rows"))
        try:
            rows = StoredRows(good, _good_row)
            bad_rows = StoredRows(bad, lambda plain: BadRow(**plain))
        except FileNotFoundError as error:
            if file.read_bytes() == data:
                raise DatasetError(f"{error.filename}, which {file} names, is not there; {_BEGIN_AGAIN}") from error
            continue  # another plan was written just now
        if whole:
            rows.require_unaltered()
            bad_rows.require_unaltered()
        return Plan(job=job, manifest=Manifest(rows=rows, bad_rows=bad_rows, folder=folder))


def _earlier_plans(job: Job, rows: str) -> Iterator[Plan]:
    # Slices may have begun before there was a whole, or from another manifest since.
    slices = begun_slices(job.out).values() if job.options.slice is None else ()
    for out in (job.out, *slices):
        if _rows_name(out) == rows:  # nothing has to be compared
            continue
        with suppress(FileNotFoundError, DatasetError):  # a damaged plan is mended by this build; its rows are lost
            yield read_plan(out, whole=True)


def _rows_name(out: Path) -> str | None:
    with suppress(FileNotFoundError, ValueError, LookupError, TypeError):
        return str(json.loads((state_folder(out) / _FILE).read_bytes())["rows"])
    return None


def _mapped(path: Path) -> mmap.mmap | bytes:
    # Pages that nobody asks for take no memory, and those of a file that was removed meanwhile stay.
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else b""


def _fingerprint(lines: bytes | bytearray | mmap.mmap) -> str:
    return hashlib.sha256(lines).hexdigest()[:16]


def _write_rows(state: Path, name: str, rows: Iterable[ManifestRow | BadRow]) -> str:
    lines = bytearray()
    index = bytearray()
    for row in rows:
        index += _OFFSET.pack(len(lines))
        # Most columns of most rows are empty.
        plain = {field.name: value for field in fields(row) if (value := getattr(row, field.name)) != field.default}
        lines += json.dumps(plain, ensure_ascii=False).encode() + b"\n"
    index += _OFFSET.pack(len(lines))
    stem = f"{name}-{_fingerprint(lines)}"
    storage.write_bytes(state / f"{stem}.jsonl", bytes(lines), private=True)
    storage.write_bytes(state / f"{stem}.index", bytes(index), private=True)
    return stem


def _good_row(plain: dict[str, Any]) -> ManifestRow:
    return ManifestRow(**plain | {"extra": tuple((name, value) for name, value in plain.get("extra", ()))})
