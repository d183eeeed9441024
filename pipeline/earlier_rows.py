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
from pipeline.job import Job, state_folder
from pipeline.manifest import ManifestRow, is_remote, local_path
from pipeline.row_state import row_state
from pipeline.slices import begun_slices
from pipeline.source_lists import denial
from pipeline.store import Store

_FILE = "earlier_rows.jsonl"
_ADVICE = "remove it; what was kept under earlier addresses is then found by `facevid purge --unreferenced` alone"


def note_earlier_rows(job: Job, rows: Iterable[ManifestRow], before: Job, rows_before: Iterable[ManifestRow]) -> None:
    """Note the rows of an earlier manifest that are not in the new one as they were.

    Args:
        job: The build that begins, whose lists are those of now.
        rows: All its rows.
        before: The build of the earlier manifest.
        rows_before: All its rows.
    """
    now = {_place(row, job) for row in rows}
    noted = {_place(row, job): row for row in _noted(job.state)}
    known = len(noted)
    store = Store(job.store_folder)
    for row in rows_before:
        place = _place(row, before)
        if place not in now and place not in noted and not _is_purged(row, job, before, store):
            noted[place] = ManifestRow(video_id=row.video_id, url=place[1], subject_id=row.subject_id)
    if len(noted) > known:
        _write(job.state, noted.values())


def denied_earlier_rows(job: Job, out: Path, denied: Collection[str]) -> Iterator[ManifestRow]:
    """Earlier rows, of slices too, that are denied now: by their id, which is a denied row's, or by the deny list.

    Args:
        job: The build, whose lists count.
        out: Its dataset folder, which may have been moved.
        denied: Ids of the rows that are denied.
    """
    # What an allow list does not have may have left the manifest for any reason.
    fetch = replace(job.options.fetch, allow_list=None)
    for state in _states(out):
        for row in _noted(state):
            if row.video_id in denied or denial(row, fetch, job.state):
                yield row


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


def _is_purged(row: ManifestRow, job: Job, before: Job, store: Store) -> bool:
    # Whoever was taken out, and then taken from the manifest too, is not to be remembered here. A local file may have
    # been moved, and so have another key than it had.
    if not is_remote(row.url) or not denial(row, job.options.fetch, job.state):
        return False
    return store.find("fetch", row_state(row, before.without_lists, store).fetch_key) is None


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
