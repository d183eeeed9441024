"""`facevid build`: the way in, and the only place that starts Beam.

Beam's local runner is pinned to FnApiRunner: the default one may download another engine at run time. It runs
in a child process of its own, `python -m pipeline.build --wave FILE`; see `pipeline.driver` and `pipeline.waves`.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from facevid import assets
from pipeline.config import BuildOptions
from pipeline.driver import Wave
from pipeline.job import state_folder
from pipeline.manifest_files import read_manifest
from pipeline.marks import set_apart_the_dead
from pipeline.prepare import make_job, run_job
from pipeline.processes import DRIVER_VARIABLE, end_with, leave_when_a_worker_dies
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
        ValueError: Unknown or forbidden Beam options, a face model that does not fit, or a `keep` that cannot be read.
        AssetError: The landmark networks cannot be had.
        StoreBusyError: Another build is at work on this output.
        BuildError: Something broke that is not one video's fault.
    """
    check_beam_options(beam_options)
    rows = read_manifest(manifest)
    if not skip_bad_rows:
        rows.require_all_good()
    job, model = make_job(rows, out, options, assets.fetch_landmark_networks())
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
        raise ValueError(f"beam_options={ours} are set by the build itself; use --workers")
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


def drive(wave_file: Path) -> None:
    """Run one wave in this process, which a parent made for it; it ends with that parent."""
    wave = Wave.read(wave_file)
    end_with(wave.parent_pid)
    leave_when_a_worker_dies(lambda: set_apart_the_dead(state_folder(wave.out)))
    os.environ[DRIVER_VARIABLE] = str(os.getpid())
    _bind_to_loopback()

    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

    from pipeline.transforms import AssembleShards, LabelRows

    mode = "multi_processing" if wave.workers > 1 else "in_memory"
    options = PipelineOptions(
        [*wave.beam_options, f"--direct_running_mode={mode}", f"--direct_num_workers={wave.workers}"]
    )
    pipeline = beam.Pipeline(runner=FnApiRunner(), options=options)
    rows = pipeline | "Rows" >> beam.Create(list(wave.rows))
    if wave.kind == "label":
        _ = rows | "Label" >> LabelRows(wave.out, wave.fit_batch, wave_file if wave.hosts else None)
    else:
        _ = rows | "Assemble" >> AssembleShards(wave.out)
    pipeline.run().wait_until_finish()


def _bind_to_loopback() -> None:
    # Beam's local runner opens its unauthenticated ports on all interfaces and has no option for it.
    import grpc

    make = grpc.server

    def server(*args: Any, **kwargs: Any) -> Any:
        made = make(*args, **kwargs)
        add = made.add_insecure_port
        made.add_insecure_port = lambda address: add(address.replace("[::]", "localhost"))
        return made

    grpc.server = server


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the child process: `python -m pipeline.build --wave FILE`."""
    parser = argparse.ArgumentParser(description="one Beam run of a build; started by `facevid build`")
    parser.add_argument("--wave", type=Path, required=True, help="the file that says what to run")
    drive(parser.parse_args(arguments).wave)


if __name__ == "__main__":
    main()
