"""`facevid build`: the way in. Beam runs in child processes, see `pipeline.driver` and `pipeline.waves`."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from facevid import assets
from pipeline.config import BuildOptions
from pipeline.manifest_files import read_manifest
from pipeline.places import check_places, check_rows
from pipeline.prepare import make_job, run_job
from pipeline.slices import take_slice, words_of_slice
from pipeline.waves import BuildSummary

_REMARKS_SHOWN = 20
_OURS = ("--runner", "--direct_running_mode", "--direct_num_workers")


def run_build(
    manifest: Path,
    out: Path,
    options: BuildOptions,
    *,
    beam_options: Sequence[str] = (),
    skip_bad_rows: bool = False,
    report: Callable[[str], None],
) -> BuildSummary:
    """Build a dataset, or resume, or bring it up to date with a changed manifest or changed options.

    Results are looked up in the store first; a second run over the same input does nothing. Failures are
    results too, and stand until `retry_build` tries them again.

    Args:
        manifest: A CSV, JSON lines or Parquet file, see `manifests/README.md`.
        out: The dataset folder.
        options: All options.
        beam_options: Further options of Beam.
        skip_bad_rows: Turn bad rows into failures instead of refusing the manifest.
        report: Receives progress lines, one every few seconds at most.

    Raises:
        ManifestError: The manifest is bad; all bad rows are named.
        ValueError: Unknown or forbidden Beam options, a face model that does not fit, a `keep` that cannot be read, a
            folder that cannot be written, or local files alone where they are not permitted.
        AssetError: The landmark networks cannot be had.
        StoreBusyError: Another build is at work on this output, or slices of it are.
        BuildError: Something broke that is not one video's fault.
    """
    check_beam_options(beam_options)
    rows = read_manifest(manifest, skip_bad_rows=skip_bad_rows)
    if not skip_bad_rows:
        rows.require_all_good()
    check_rows(rows.rows, options.fetch)
    check_places(out, options)
    whole = rows
    rows, out, options = take_slice(whole, out, options)
    job, model = make_job(rows, out, options, assets.fetch_landmark_networks())
    if options.slice is not None:
        report(words_of_slice(options.slice, rows.rows, whole.rows, options))
    for remark in rows.remarks[:_REMARKS_SHOWN]:
        report(f"manifest: {remark}")
    if (more := len(rows.remarks) - _REMARKS_SHOWN) > 0:
        report(f"manifest: {more} more of the kind")
    return run_job(job, model, rows, beam_options=beam_options, report=report)


def check_beam_options(beam_options: Sequence[str]) -> None:
    """Refuse options that Beam does not know, and those that we set ourselves.

    Raises:
        ValueError: Naming them.
    """
    if not beam_options:
        return
    if ours := [given for given in beam_options if given.split("=")[0] in _OURS]:
        raise ValueError(f"beam_options={ours} are set by the build itself; use --workers, or --slice")
    from apache_beam.options.pipeline_options import PipelineOptions

    parser: Any = _Parser(add_help=False, allow_abbrev=False)
    for kind in PipelineOptions.__subclasses__():
        kind._add_argparse_args(parser)  # the one way to learn what Beam knows
    _, unknown = parser.parse_known_args(list(beam_options))
    if unknown:
        raise ValueError(f"beam_options={unknown} are no options of Beam")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(f"beam_options: {message}")
