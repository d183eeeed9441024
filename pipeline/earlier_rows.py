"""Rows as earlier manifests of a build had them: by these a takedown finds what was kept under another address.

    .build/earlier_rows.jsonl   a row per line: those that got another address, and those that left the manifest

An address changes where a server does, or a path; what came of it lies in the store under the old one. The file is for
this user's eyes alone, as the plan is, and forgets whom a purge has removed.
"""

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from facevid import storage
from facevid.video_address import video_address
from pipeline.damage import intact
from pipeline.fetched_video import address_hash, read_origin
from pipeline.job import Job, partial_key, state_folder
from pipeline.manifest import ManifestRow, is_remote, local_path
from pipeline.row_state import row_state
from pipeline.slices import begun_slices
from pipeline.source_lists import denial
from pipeline.store import Store

_FILE = "earlier_rows.jsonl"
_ADVICE = "remove it; what was kept under earlier addresses is then found by `facevid purge --unreferenced` alone"


def note_earlier_rows(
    job: Job, rows: Iterable[ManifestRow], earlier: Iterable[tuple[Job, Iterable[ManifestRow]]]
) -> None:
    """Note the rows of earlier manifests that are not in the new one as they were.

    Args:
        job: The build that begins, whose lists are those of now.
        rows: All its rows.
        earlier: The build of each earlier manifest, and all its rows.
    """
    now: set[tuple[str, str]] | None = None
    known = {_place(row, job): row for row in _noted(job.state)}
    noted = dict(known)
    remembered = {row.video_id for row in noted.values()}
    traces = _Traces(job)
    for before, rows_before in earlier:
        if now is None:  # mostly there is no earlier one
            now = {_place(row, job) for row in rows}
        latest = before.options.slice == job.options.slice  # slices may be of long before
        for row in rows_before:
            place = _place(row, before)
            if place in now:
                continue
            if (one := noted.get(place)) is None:
                # Of whom more is known, the subject may be known from this row alone.
                if row.video_id in remembered or not traces.purged(row, before):
                    remembered.add(row.video_id)
                    noted[place] = ManifestRow(video_id=row.video_id, url=place[1], subject_id=row.subject_id)
            elif row.subject_id and (latest or not one.subject_id):
                noted[place] = replace(one, subject_id=row.subject_id)
    if noted != known:
        _write(job.state, noted.values())


def denied_earlier_rows(job: Job, out: Path, denied: Collection[str]) -> Iterator[ManifestRow]:
    """Earlier rows, of slices too, whose id is a denied row's now, or that of an earlier row that the deny list names.

    Args:
        job: The build, whose lists count.
        out: Its dataset folder, which may have been moved.
        denied: Ids of the rows that are denied.
    """
    # What an allow list does not have may have left the manifest for any reason.
    fetch = replace(job.options.fetch, allow_list=None)
    rows = [row for state in _states(out) for row in _noted(state)]
    # The list may name one address of hers, or know her subject from one row of several.
    theirs = {*denied, *(row.video_id for row in rows if denial(row, fetch, job.state))}
    yield from (row for row in rows if row.video_id in theirs)


def forget_earlier_rows(out: Path, gone: Collection[ManifestRow]) -> None:
    """Forget rows of which nothing is kept any more."""
    of_them = set(gone)
    for state in _states(out):
        noted = list(_noted(state))
        left = [row for row in noted if row not in of_them]
        if len(left) < len(noted):
            _write(state, left)


def _place(row: ManifestRow, job: Job) -> tuple[str, str]:
    url = video_address(row.url) if is_remote(row.url) else str(local_path(row.url, job.manifest_folder))
    return row.video_id, url


class _Traces:
    """Whether anything is left of a row that was taken out, and then taken from the manifest too.

    Whoever was purged is not to be remembered here. Other options may have kept what those of the last build did not,
    so that the records of all videos are asked.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._store = Store(job.store_folder)
        self._addresses: frozenset[str | None] | None = None

    def purged(self, row: ManifestRow, before: Job) -> bool:
        # A local file may have been moved, and so have another key than it had.
        if not is_remote(row.url) or not denial(row, self._job.options.fetch, self._job.state):
            return False
        if self._store.find("fetch", row_state(row, before.without_lists, self._store).fetch_key) is not None:
            return False
        if self._store.find("partial", partial_key(row.url, before.options.fetch)) is not None:
            return False
        if self._addresses is None:  # asked last: there may be millions
            self._addresses = frozenset(
                origin.address
                for kind in ("fetch", "forgotten")
                for path in (self._store.root / kind).glob("*/*")
                if (origin := read_origin(path)) is not None
            )
        return address_hash(row.url) not in self._addresses


def _states(out: Path) -> list[Path]:
    return [state_folder(folder) for folder in (out, *begun_slices(out).values())]


def _noted(state: Path) -> Iterator[ManifestRow]:
    try:
        lines = (state / _FILE).read_bytes().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        with intact(state / _FILE, _ADVICE):
            row = ManifestRow(**json.loads(line))
        yield row


def _write(state: Path, rows: Iterable[ManifestRow]) -> None:
    lines = [
        json.dumps({"video_id": row.video_id, "url": row.url, "subject_id": row.subject_id}, ensure_ascii=False)
        for row in rows
    ]
    storage.write_bytes(state / _FILE, "".join(f"{line}\n" for line in lines).encode(), private=True)
