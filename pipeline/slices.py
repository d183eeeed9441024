"""A build over many machines: each labels a slice of the manifest's rows into one store, then one writes the tables.

A slice is a build of its own, in a folder of its own, that ends when its rows are labelled. What the machines share is
the store, where each result is made under a name of its own and put in its place by one rename; so a slice that two
machines work on costs time, and changes nothing.

Clips of one address stay together: it is downloaded once. Without `--egress` each machine keeps the pauses between
videos of a host by itself, so all rows of a host stay together as well.
"""

import heapq
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from facevid.video_address import video_address
from pipeline.config import BuildOptions
from pipeline.job import Job, state_folder
from pipeline.manifest import Manifest, ManifestRow, is_remote, local_path
from pipeline.output_lock import StoreBusyError, is_locked
from pipeline.wave_queue import host_of

_FOLDER = "slices"
_NAME = re.compile(r"(\d+)-of-(\d+)")


def slice_folder(out: Path, part: str) -> Path:
    """The folder of one slice's build.

    Args:
        out: The dataset folder.
        part: I/N, as in `BuildOptions.slice`.
    """
    return state_folder(out) / _FOLDER / part.replace("/", "-of-")


def begun_slices(out: Path) -> dict[str, Path]:
    """The slices that were ever begun for a dataset, as I/N and their folders, in order."""
    folder = state_folder(out) / _FOLDER
    found = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)] if folder.is_dir() else []
    found.sort(key=lambda path: [int(number) for number in reversed(path.name.split("-of-"))])
    return {path.name.replace("-of-", "/"): path for path in found if (state_folder(path) / "plan.json").is_file()}


def take_slice(manifest: Manifest, out: Path, options: BuildOptions) -> tuple[Manifest, Path, BuildOptions]:
    """What a build of the slice that the options name works on; all as it was where they name none.

    Args:
        manifest: All rows.
        out: The dataset folder.
        options: All options.

    Returns:
        The slice's rows (bad rows are the whole build's), its folder, and options with the store of all slices.
    """
    if (place := options.slice_place) is None or options.slice is None:
        return manifest, out, options
    rows = rows_of_slice(manifest, *place, whole_hosts=options.fetch.egress is None)
    part = Manifest(rows=rows, bad_rows=(), folder=manifest.folder)
    return part, slice_folder(out, options.slice), replace(options, store=options.store or out / "store")


def rows_of_slice(manifest: Manifest, number: int, count: int, *, whole_hosts: bool) -> tuple[ManifestRow, ...]:
    """The rows of one slice, in their order: every row is in one, and all have about as many.

    Args:
        manifest: All rows.
        number: Which slice, from 1.
        count: How many there are.
        whole_hosts: Keep all rows of a host together; else those of an address.
    """
    names = [_together(row, manifest.folder, whole_hosts=whole_hosts) for row in manifest.rows]
    rows_of = Counter(names)
    # The largest first, each to the slice that has fewest.
    loads = [(0, each) for each in range(1, count + 1)]
    home: dict[str, int] = {}
    for name in sorted(rows_of, key=lambda name: -rows_of[name]):
        load, each = loads[0]
        home[name] = each
        heapq.heapreplace(loads, (load + rows_of[name], each))
    return tuple(row for row, name in zip(manifest.rows, names, strict=True) if home[name] == number)


def _together(row: ManifestRow, folder: Path, *, whole_hosts: bool) -> str:
    if not is_remote(row.url):
        return str(local_path(row.url, folder))
    return (host_of(row.url) if whole_hosts else "") or video_address(row.url)


def words_of_slice(part: str, rows: Sequence[ManifestRow], whole: Sequence[ManifestRow], options: BuildOptions) -> str:
    """What a slice is, in a sentence: how many rows of how many, and what stays together."""
    together = "addresses" if options.fetch.egress is not None else "hosts (without --egress)"
    idle = "" if rows else "; there are more slices than these"
    return f"slice {part}: {len(rows)} of {len(whole)} rows, by whole {together}{idle}"


def whole_out(job: Job) -> Path:
    """The dataset folder, also of a slice's build, which has a folder of its own inside it."""
    if job.options.slice is None:
        return job.out
    return next(folder for folder in job.out.parents if slice_folder(folder, job.options.slice) == job.out)


def require_nobody_else(job: Job) -> None:
    """Refuse a build while its slices are at work, and a slice while the whole build is.

    Raises:
        StoreBusyError: Naming who is.
    """
    if job.options.slice is not None:
        if is_locked(state_folder(whole_out(job))):
            raise StoreBusyError(f"a build of all rows is at work in {whole_out(job)}; wait for it, or stop it")
    elif busy := [part for part, folder in begun_slices(job.out).items() if is_locked(state_folder(folder))]:
        raise StoreBusyError(f"slices are at work in {job.out}: {', '.join(busy)}; wait for them, or stop them")
