"""`facevid build --dry-run`: what a build would do, how long that takes and how much room it needs. It does nothing.

What earlier builds left in the store is looked up; the rest is reckoned with the sizes of the videos that are there,
and where there are none with the assumptions below, which the text names.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from facevid import assets
from facevid.counted import counted
from facevid.failures import FailureCode, Stage
from facevid.video_address import video_address
from pipeline.config import BuildOptions
from pipeline.faces.options import FacesOptions
from pipeline.job import Job
from pipeline.manifest import Manifest, ManifestRow, is_remote, local_path
from pipeline.manifest_files import read_manifest
from pipeline.places import check_places, check_rows, check_ways_out, free_bytes, is_there
from pipeline.prepare import make_job
from pipeline.row_state import RowState, row_state
from pipeline.slices import take_slice, words_of_slice
from pipeline.source_lists import given_lists
from pipeline.store import Store
from pipeline.swap import standing_bytes
from pipeline.tell import duration_text, size_text
from pipeline.worker_count import workers_at_once

ASSUMED_VIDEO_S = 80.0
"""12 million frames of 6,000 videos at 25 frames/s (Koujan et al., FG 2020)."""
ASSUMED_BYTES_PER_S = 75_000.0
"""A video of 360 lines at 600 kbit/s."""
ASSUMED_FPS = 25.0
ASSUMED_FRAMES_PER_S = 60.0
"""Frames searched per second and worker, one face of 512x512 on one core of an ordinary server."""
BYTES_PER_FRAME = 3_800.0
"""Landmarks and parameters of one face in one frame, in the store and in the tables."""
BYTES_PER_CROP = 19_000.0
"""A JPEG crop at quality 92, likewise."""

_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a build would do.

    Attributes:
        rows: Good rows.
        done: Those of them with a result, failures among them.
        failed: Failures per code, as they stand in the store.
        to_fetch: Addresses to be downloaded, per host; several clips of one address count once.
        local: Rows with local files that are to be looked at, like those to be downloaded.
        missing: Those of them whose file is not there.
        to_search: Rows to be searched for faces, after their download or without.
        to_fit: Rows whose faces are known and only have to be fitted.
        known: How many rows the means are taken from.
        video_s: Mean duration of a row's video or clip, seconds.
        video_bytes: Mean size of a download.
        unused_entries: Which entries of the deny list name no row, as a sentence; empty where all do.
    """

    rows: int
    done: int
    failed: Mapping[FailureCode, int]
    to_fetch: Mapping[str, int]
    local: int
    missing: tuple[ManifestRow, ...]
    to_search: int
    to_fit: int
    known: int
    video_s: float
    video_bytes: float
    unused_entries: str

    def fetch_s(self, *, pause_s: float, workers: int) -> float:
        """What the pauses alone take: hosts are asked at once, as far as there are workers, each with pauses."""
        if not self.to_fetch:
            return 0.0
        return pause_s * max(*self.to_fetch.values(), sum(self.to_fetch.values()) / workers)

    def search_s(self, *, workers: int) -> float:
        """What searching takes, if each worker has a core of its own."""
        return self.to_search * self.video_s * ASSUMED_FPS / ASSUMED_FRAMES_PER_S / workers

    def disk_bytes(self, *, crops: bool, crops_per_s: float | None = None) -> float:
        """What the rows to do add to store and dataset; crops of at most so many frames a second."""
        frames = (self.to_search * self.video_s) * ASSUMED_FPS
        share = 1.0 if crops_per_s is None else min(1.0, crops_per_s / ASSUMED_FPS)
        per_frame = BYTES_PER_FRAME + (BYTES_PER_CROP * share if crops else 0.0)
        return sum(self.to_fetch.values()) * self.video_bytes + frames * per_frame


def forecast(manifest: Manifest, job: Job) -> Forecast:
    """Look up how far every row has come, and reckon the rest."""
    store = Store(job.store_folder)
    lists, job = given_lists(job.options.fetch), job.without_lists  # those that a build kept may have changed since
    use = lists.deny_use()
    stages: Counter[Stage | None] = Counter()
    failed: Counter[FailureCode] = Counter()
    waiting: dict[str, str] = {}
    lengths, sizes = _Mean(), _Mean()
    local = 0
    missing: list[ManifestRow] = []
    for row in manifest.rows:
        use.see(row.url, row.video_id, row.subject_id)
        if lists.denial(row) is not None:
            stages[None] += 1
            failed[FailureCode.DENIED] += 1
            continue
        state = row_state(row, job, store)
        stages[state.next_stage] += 1
        if state.next_stage is Stage.FETCH and not is_remote(row.url):
            local += 1
            if not is_there(local_path(row.url, job.manifest_folder)):
                missing.append(row)
        if state.failure is not None:
            failed[state.failure.code] += 1
        if state.next_stage is Stage.FETCH and is_remote(row.url):
            waiting.setdefault(video_address(row.url), row.url)
        if length_s := _length_s(row, state):
            lengths.add(length_s)
        if state.fetched is not None and is_remote(row.url):
            sizes.add(state.fetched.bytes)
    return Forecast(
        rows=stages.total(),
        done=stages[None],
        failed=failed,
        to_fetch=Counter(urlsplit(url).netloc.lower() for url in waiting.values()),
        local=local,
        missing=tuple(missing),
        to_search=stages[Stage.FETCH] + stages[Stage.FACES],
        to_fit=stages[Stage.FIT],
        known=lengths.count,
        video_s=lengths.mean(ASSUMED_VIDEO_S),
        video_bytes=sizes.mean(ASSUMED_VIDEO_S * ASSUMED_BYTES_PER_S),
        unused_entries=use.unused_text("row of the manifest") if job.options.slice is None else "",
    )


@dataclass(slots=True)
class _Mean:
    count: int = 0
    total: float = 0.0

    def add(self, amount: float | int) -> None:  # noqa: PYI041  # beartype tells them apart
        self.count += 1
        self.total += amount

    def mean(self, otherwise: float) -> float:
        return self.total / self.count if self.count else otherwise


def forecast_text(manifest: Manifest, job: Job, *, skip_bad_rows: bool, networks_missing: bool) -> str:
    """The forecast as text for a terminal, with every bad row.

    Args:
        manifest: All rows.
        job: The build that would be.
        skip_bad_rows: Bad rows would become failures; else the build would refuse the manifest.
        networks_missing: The landmark networks are not in the cache, so nothing is known of faces found before.
    """
    found = forecast(manifest, job)
    options = job.options
    begun = f"{found.done:,} done before, {found.rows - found.done:,} to do"
    lines = [f"{counted(found.rows, 'row')} into {job.out}: {begun}"]
    lines += _bad_rows(manifest, skip_bad_rows=skip_bad_rows)
    lines += [f"remark: {remark}" for remark in manifest.remarks[:_SHOWN]]
    if (more := len(manifest.remarks) - _SHOWN) > 0:
        lines.append(f"{more} more remarks of the kind")
    lines += [f"remark: {found.unused_entries}"] if found.unused_entries else []
    lines += ["", "step      to do"]
    lines += _to_fetch(found, allow_local=options.fetch.allow_local)
    lines.append(f"faces     {counted(found.to_search, 'video')}" + (_UNKNOWN if networks_missing else ""))
    lines.append(f"fit       {counted(found.to_search + found.to_fit, 'video')}")
    if found.failed:
        listed = ", ".join(f"{count} {code}" for code, count in sorted(found.failed.items()))
        lines.append(f"failed before, left alone (`facevid retry` tries them again): {listed}")
    standing = float(standing_bytes(job.out))
    if found.done == found.rows:
        return "\n".join([*lines, *([_room(0.0, standing, job)] if standing else [])])
    basis = f"from the {found.known} rows whose length is known" if found.known else "assumed, as nothing is known yet"
    pause_s = options.fetch.courtesy.mean_pause_s
    workers, fewer = workers_at_once(options)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    search_s = found.search_s(workers=min(workers, cores))
    fetch_s = found.fetch_s(pause_s=pause_s, workers=workers)
    lines += [
        "",
        *([fewer] if fewer else []),
        f"{workers} worker{'s' * (workers != 1)}; {duration_text(found.video_s)} per video, {basis}",
    ]
    if found.to_fetch:
        lines.append(
            f"downloads: at least {duration_text(fetch_s)} of pauses ({pause_s:g} s each, one video at a time per host)"
        )
    crowded = f"; {workers} workers share {cores} cores" if workers > cores else ""
    lines.append(f"faces: about {duration_text(search_s)} at {ASSUMED_FRAMES_PER_S:g} frames/s and core{crowded}")
    return "\n".join([*lines, _room(_disk_bytes(found, options.faces), standing, job)])


def _disk_bytes(found: Forecast, faces: FacesOptions) -> float:
    return found.disk_bytes(crops=faces.crops, crops_per_s=faces.crops_per_s)


def _to_fetch(found: Forecast, *, allow_local: bool) -> list[str]:
    lines = [f"{sum(found.to_fetch.values())} addresses of {len(found.to_fetch)} hosts"] if found.to_fetch else []
    by_number = sorted(found.to_fetch.items(), key=lambda pair: (-pair[1], pair[0]))
    lines += [f"{count} from {host}" for host, count in by_number[:_SHOWN]]
    if others := by_number[_SHOWN:]:
        lines.append(f"{sum(count for _, count in others)} from {len(others)} more hosts")
    if found.local:
        refused = "" if allow_local else ", refused without --allow-local"
        lines.append(f"{found.local} local file{'s' * (found.local != 1)}{refused}")
    if found.missing:
        lines.append(f"{len(found.missing)} of them are not there and would fail as not_found:")
        lines += [f"  {_line(row)}{row.url}{_advice(row.url)}" for row in found.missing[:_SHOWN]]
        if (more := len(found.missing) - _SHOWN) > 0:
            lines.append(f"  and {more} more")
    first, *rest = lines or ["nothing"]
    return [f"fetch     {first}", *(f"          {line}" for line in rest)]


def _line(row: ManifestRow) -> str:
    return f"line {row.line}: " if row.line else ""  # a folder has none


def _advice(url: str) -> str:
    return " (an address of the web begins with https://)" if url.lower().startswith("www.") else ""


def _room(added_bytes: float, standing: float, job: Job) -> str:
    # The tables that stand do so until the new ones are whole.
    needed_bytes = added_bytes + standing
    parts = [f"{size_text(added_bytes)} more, store and dataset together"] if added_bytes or not standing else []
    parts += [f"{size_text(standing)} while new tables are written beside the old ones"] if standing else []
    line = f"disk: about {', and '.join(parts)}"
    room_bytes = float(min(free_bytes(job.store_folder), free_bytes(job.out)))
    return f"{line}; {size_text(room_bytes)} are free" + (", too little" if room_bytes < needed_bytes else "")


_UNKNOWN = " (the landmark networks are not here yet: what was searched before is not counted)"


def _bad_rows(manifest: Manifest, *, skip_bad_rows: bool) -> Sequence[str]:
    if not manifest.bad_rows:
        return ()
    what = "would become failures" if skip_bad_rows else "the build would refuse the manifest (see --skip-bad-rows)"
    return [f"{len(manifest.bad_rows)} bad row{'s' * (len(manifest.bad_rows) != 1)}, {what}:",
            *(f"  {bad.words()}" for bad in manifest.bad_rows)]  # fmt: skip


def _length_s(row: ManifestRow, state: RowState) -> float:
    # How much of a video there is to search; 0 where nobody can tell.
    duration_s = state.fetched.file_duration_s if state.fetched is not None else None
    ends_s = [end_s for end_s in (row.end_s, duration_s) if end_s is not None]
    return max(min(ends_s) - (row.start_s or 0.0), 0.0) if ends_s else 0.0


def plan_text(manifest: Path, out: Path, options: BuildOptions, *, skip_bad_rows: bool = False) -> tuple[str, bool]:
    """Say what a build would do, without doing anything; nothing is downloaded for it either.

    Returns:
        The text, and whether the build would begin.

    Raises:
        ManifestError: The file is no manifest at all.
        ValueError: The face model does not fit, or an option cannot be used.
    """
    rows = read_manifest(manifest, skip_bad_rows=skip_bad_rows)
    check_rows(rows.rows, options.fetch)
    missing = not all(assets.cached(name) for name in assets.LANDMARK_NETWORKS)
    check_places(out, options)
    part, folder, options = take_slice(rows, out, options)
    job, _ = make_job(part, folder, options, None if missing else assets.cache_folder())
    check_ways_out(job.options.fetch, job.state)
    part = replace(part, bad_rows=rows.bad_rows, remarks=rows.remarks)  # any of the builds would refuse them
    text = forecast_text(part, job, skip_bad_rows=skip_bad_rows, networks_missing=missing)
    if options.slice is not None:
        text = f"{words_of_slice(options.slice, part.rows, rows.rows, options)}\n{text}"
        if options.fetch.egress is not None:
            text += "\nthe pauses of all slices are one after the other: a dry run without --slice says how long"
    return text, skip_bad_rows or not rows.bad_rows
