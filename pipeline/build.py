"""`facevid build`: the way in, and the only place that starts Beam.

Beam's local runner is pinned to FnApiRunner: the default one may download another engine at run time. It runs
in a child process of its own, `python -m pipeline.build --wave FILE`; see `pipeline.driver` and `pipeline.waves`.
"""

import argparse
import os
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from facevid import assets
from facevid.failures import FailureCode
from fitting.face_model import DEFAULT_MODEL_PATH, FaceModel, load_face_model
from pipeline.config import BuildOptions
from pipeline.driver import Wave
from pipeline.egress.service import build_egress
from pipeline.faces.landmarks import detector_sha256
from pipeline.job import Job, state_folder
from pipeline.manifest import Manifest, is_remote
from pipeline.manifest_files import read_manifest
from pipeline.marks import set_apart_the_dead
from pipeline.processes import DRIVER_VARIABLE, end_with, leave_when_a_worker_dies
from pipeline.source_lists import keep_lists
from pipeline.store import build_lock
from pipeline.waves import BuildSummary, Waves

_NEVER_OTHERWISE = frozenset({FailureCode.BAD_ROW, FailureCode.FIT_DIVERGED})
_REMARKS_SHOWN = 20
_OURS = ("--runner", "--direct_running_mode", "--direct_num_workers")


def run_build(
    manifest: Path,
    out: Path,
    options: BuildOptions,
    *,
    beam_options: Sequence[str] = (),
    skip_bad_rows: bool = False,
    retry: Collection[FailureCode] = (),
    report: Callable[[str], None],
) -> BuildSummary:
    """Build a dataset, or resume, or bring it up to date with a changed manifest or changed options.

    Results are looked up in the store first; a second run over the same input does nothing. Failures are
    results too, and stand until they are named in `retry`.

    Args:
        manifest: A CSV, JSON lines or Parquet file, see `manifests/README.md`.
        out: The dataset folder.
        options: All options.
        beam_options: Further options of Beam.
        skip_bad_rows: Turn bad rows into failures instead of refusing the manifest.
        retry: Failures with these codes are tried again.
        report: Receives progress lines, one every few seconds at most.

    Raises:
        ManifestError: The manifest is bad; all bad rows are named.
        ValueError: Unknown or forbidden Beam options, codes that cannot be tried again, or a face model that does
            not fit.
        AssetError: The landmark networks cannot be had.
        StoreBusyError: Another build is at work on this output.
        BuildError: Something broke that is not one video's fault.
    """
    check_beam_options(beam_options)
    if vain := sorted(_NEVER_OTHERWISE.intersection(retry)):
        raise ValueError(f"retry={', '.join(vain)}: only another manifest or other options change that")
    rows = read_manifest(manifest)
    if not skip_bad_rows:
        rows.require_all_good()
    job, model = _job(rows, out, options)
    for remark in rows.remarks[:_REMARKS_SHOWN]:
        report(f"manifest: {remark}")
    if (more := len(rows.remarks) - _REMARKS_SHOWN) > 0:
        report(f"manifest: {more} more of the kind")
    with build_lock(job.state) as lock, build_egress(options.fetch, job.state):
        keep_lists(options.fetch, job.state)
        return Waves(
            job, rows, model, beam_options=beam_options, retry=frozenset(retry), report=report, lock=lock
        ).run()


def plan_build(manifest: Path, out: Path, options: BuildOptions, *, skip_bad_rows: bool = False) -> str:
    """Say what a build would do, without doing anything.

    Raises:
        ManifestError: The manifest is bad; all bad rows are named.
    """
    rows = read_manifest(manifest)
    if not skip_bad_rows:
        rows.require_all_good()
    hosts = Counter(urlsplit(row.url).netloc.lower() for row in rows.rows if is_remote(row.url))
    local = len(rows.rows) - sum(hosts.values())
    lines = [
        f"{len(rows.rows)} rows, {len(rows.bad_rows)} bad rows left out",
        f"{local} local files" + ("" if options.fetch.allow_local or not local else ", refused without --allow-local"),
        *(f"{count} from {host}" for host, count in hosts.most_common()),
        f"{options.workers} workers, {options.shards} shards per table, into {out}",
    ]
    if hosts:
        longest_s = max(hosts.values()) * options.fetch.courtesy.mean_pause_s / options.workers
        lines.append(f"pauses between downloads alone take at least {longest_s:.0f} s, if nothing is in the store yet")
    return "\n".join(lines)


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


def _job(rows: Manifest, out: Path, options: BuildOptions) -> tuple[Job, FaceModel]:
    model_path = (options.model or DEFAULT_MODEL_PATH).absolute()
    model = load_face_model(model_path)
    model.embedding(options.faces.scheme)
    networks = assets.fetch_landmark_networks()
    job = Job(
        out=out.absolute(),
        manifest_folder=rows.folder,
        networks=networks.absolute(),
        options=options,
        detector_sha256=detector_sha256(options.faces, networks),
        model_path=model_path,
        model_sha256=model.sha256,
    )
    return job, model


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
        _ = rows | "Label" >> LabelRows(wave.out, wave.fit_batch)
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
