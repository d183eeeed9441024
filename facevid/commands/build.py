"""Commands on a build: begin or resume it, see how far it is, try its failures again, remove what it kept."""

import difflib
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from facevid.commands.console import say
from facevid.failures import FailureCode
from pipeline.config import BuildOptions

_CLEAR = "\x1b[H\x1b[2J"


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """Build a dataset from a manifest of videos; run it again to resume.

    Columns of the manifest: see manifests/README.md. Beam options go after `--`. A second run keeps what is done and
    leaves failures alone; `facevid retry` tries those again.

    Example: facevid build manifest.csv --out out --allow-local --workers 2

    Many videos, little disk: facevid build manifest.csv --out out --workers 16 --crops-per-s 5

    On the third of eight machines: facevid build manifest.csv --out /shared/out --slice 3/8
    """

    manifest: tyro.conf.Positional[Path]
    """CSV (.csv, .tsv), JSON lines (.jsonl) or Parquet file with one row per video; or a list of addresses or paths,
    one per line (.txt); or a folder of videos."""
    out: Path
    """Folder of the dataset."""
    skip_bad_rows: bool = False
    """Go on without the manifest's bad rows (they are counted as failed) instead of refusing it."""
    dry_run: bool = False
    """Check the manifest, print what would be done, how long it takes and how much room it needs, and do nothing."""
    options: Annotated[BuildOptions, tyro.conf.arg(name="")] = field(default_factory=BuildOptions)

    def run(self, beam_options: Sequence[str]) -> int:
        """Build, print the funnel and what can be done next; 1 where no frame was kept."""
        if self.dry_run:
            from pipeline.forecast import plan_text

            text, would_begin = plan_text(self.manifest, self.out, self.options, skip_bad_rows=self.skip_bad_rows)
            print(text)
            return 0 if would_begin else 1
        from pipeline.build import run_build

        run_build(
            self.manifest,
            self.out,
            self.options,
            beam_options=beam_options,
            skip_bad_rows=self.skip_bad_rows,
            report=say,
        )
        return _told(self.out) if self.options.slice is None else _told_slice(self.out, self.options.slice)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Try failures of a build again, with its own manifest and options, and bring the tables up to date.

    Failures stand until they are tried again. `facevid status DIR` shows their codes.

    Example: facevid retry out --only rate_limited,network
    """

    out: tyro.conf.Positional[Path]
    """Folder of the dataset."""
    only: Annotated[tuple[str, ...], tyro.conf.arg(metavar="CODE[,CODE ...]")] = ()
    """Codes to try again; without it, all that may pass later."""
    workers: int | None = None
    """Worker processes; without it, as many as in the build."""
    slice: str | None = None
    """Only one slice of a build on many machines: I/N, as it was labelled."""
    dry_run: bool = False
    """Print what would be tried again, by code and host, and do nothing."""

    def run(self) -> int:
        """Try again, print the funnel and what can be done next; 1 where no frame was kept."""
        from pipeline.retry import retry_build, retry_text

        out = _place(self.out, self.slice)
        codes = [_code(word) for words in self.only for word in words.split(",") if word]
        if self.dry_run:
            print(retry_text(out, codes, report=say))
            return 0
        retry_build(out, only=codes, workers=self.workers, report=say)
        return _told(out) if self.slice is None else _told_slice(self.out, self.slice)


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Show the funnel, the failures by code, how far a running build is, and what its workers are doing.

    Example: facevid status out --watch
    """

    out: tyro.conf.Positional[Path]
    """Folder of the dataset."""
    json: bool = False
    """Print one JSON object."""
    watch: bool = False
    """Print it again every few seconds until the build ends."""
    slice: str | None = None
    """One slice of a build on many machines: I/N. Without it, and before the tables are written, all of them."""

    def run(self) -> int:
        """Print the status."""
        from pipeline.slice_status import status_of_all
        from pipeline.status import Status as DatasetStatus
        from pipeline.status import render

        out = _place(self.out, self.slice)
        while True:
            began_s = time.monotonic()
            seen = status_of_all(out, report=say)
            if self.watch and not self.json and sys.stdout.isatty():
                print(_CLEAR, end="")
            text = render(seen) if isinstance(seen, DatasetStatus) else seen.render()
            print(seen.to_json() if self.json else text, flush=True)
            if not self.watch or not seen.running:
                return 0
            # A build of a million rows takes a while to look at: no more than half the time goes into it.
            time.sleep(max(_WATCH_EVERY_S, time.monotonic() - began_s))


@dataclass(frozen=True, slots=True, kw_only=True)
class Purge:
    """Remove from the store what was kept for denied rows, and what may go to make room.

    Without a choice it says what may go, and removes nothing. What another row needs stays, of other outputs that use
    the store too. No build may run meanwhile; stopped anywhere, run it again.

    Example: facevid purge out --denied
    """

    out: tyro.conf.Positional[Path]
    """Folder of the dataset."""
    denied: bool = False
    """All that came of rows that a list denies, with any options: videos, crops, fits. Build with the list first."""
    done_videos: bool = False
    """Videos of rows that are done; they are fetched again where other options have to look at them."""
    unreferenced: bool = False
    """What no row needs: results of other options, and of rows that are in the manifest no more."""
    also: tuple[Path, ...] = ()
    """Further datasets whose builds use this store; it knows those that were built with --store since."""
    gone: tuple[Path, ...] = ()
    """Datasets that used this store and are gone for good, or were moved."""
    dry_run: bool = False
    """Say what would be removed, and remove nothing."""

    def run(self) -> int:
        """Remove it and print what went; 1 where something of a denied row is still there."""
        from pipeline.purge import GROUPS, purge
        from pipeline.purge_text import purge_text

        chosen = [group for group in GROUPS if getattr(self, group)]
        dry_run = self.dry_run or not chosen
        done = purge(self.out, chosen, also=self.also, gone=self.gone, dry_run=dry_run, report=say)
        print(purge_text(done, self.out, dry_run=dry_run))
        return 1 if done.stayed else 0


_WATCH_EVERY_S = 5.0


def _place(out: Path, part: str | None) -> Path:
    from pipeline.slices import slice_folder

    if part is None:
        return out
    BuildOptions(slice=part)  # refuses what is none
    return slice_folder(out, part)


def _told_slice(out: Path, part: str) -> int:
    from pipeline.status import render, status

    print(render(status(_place(out, part))))
    print("\nwhen all slices are done, the same `facevid build` without --slice writes the tables")
    return 0


def _told(out: Path) -> int:
    from pipeline.status import kept_frames, render, status

    seen = status(out)
    print(render(seen))
    if kept_frames(seen):
        print(f"\nto look at it: facevid report {shlex.quote(str(out))}")
        return 0
    print("facevid: the dataset is empty: no frame of any video was kept", file=sys.stderr)
    return 1


def _code(word: str) -> FailureCode:
    word = word.strip()
    try:
        return FailureCode(word)
    except ValueError as error:
        near = difflib.get_close_matches(word, list(FailureCode), n=1)
        meant = f" (did you mean {near[0]}?)" if near else ""
        raise ValueError(f"only={word!r} is no failure code{meant}; they are: {', '.join(FailureCode)}") from error
