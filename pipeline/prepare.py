"""From a user's options to a `Job`, and a job at work: under the lock of its output, with its one way out."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from facevid import assets, storage
from facevid.failures import FailureCode
from fitting.face_model import DEFAULT_MODEL_PATH, FaceModel, load_face_model
from pipeline.config import BuildOptions
from pipeline.driver import BuildError
from pipeline.egress.service import build_egress
from pipeline.faces.landmarks import detector_sha256
from pipeline.job import Job, state_folder
from pipeline.lock_check import require_locks
from pipeline.manifest import Manifest
from pipeline.output_lock import build_lock
from pipeline.places import check_places
from pipeline.pruning import keep_filter
from pipeline.rejects import read_rejects, unknown_rejects
from pipeline.slices import require_nobody_else, whole_out
from pipeline.source_lists import keep_lists
from pipeline.stop import full_disk
from pipeline.store_users import using_store
from pipeline.waves import BuildSummary, Waves


def make_job(rows: Manifest, out: Path, options: BuildOptions, networks: Path | None) -> tuple[Job, FaceModel]:
    """The job of a build, and its face model.

    Args:
        rows: The manifest.
        out: The dataset folder.
        options: All options.
        networks: Folder with the landmark networks; None for a job that is only to be reckoned with, to which what was
            found with any network is unknown.

    Raises:
        ValueError: The face model does not know the landmark scheme, or is no face model; or `keep` or the reject
            list cannot be read; or a folder cannot be written.
    """
    keep_filter(options.prune)
    check_places(out, options)
    options = _with_absolute_paths(options)
    model_path = options.model or DEFAULT_MODEL_PATH.absolute()
    model = load_face_model(model_path)
    model.embedding(options.faces.scheme)
    job = Job(
        out=out.absolute(),
        manifest_folder=rows.folder,
        networks=(networks or assets.cache_folder()).absolute(),
        options=options,
        detector_sha256=detector_sha256(options.faces, networks) if networks else "",
        model_path=model_path,
        model_sha256=model.sha256,
        rejects=() if options.reject_list is None else read_rejects(options.reject_list),
    )
    return job, model


def _with_absolute_paths(options: BuildOptions) -> BuildOptions:
    # The plan keeps them for `status` and `retry`, which may be run in another folder.
    def absolute(path: Path | None) -> Path | None:
        return None if path is None else path.absolute()

    fetch = options.fetch
    return replace(
        options, model=absolute(options.model), store=absolute(options.store),
        reject_list=absolute(options.reject_list),
        fetch=replace(
            fetch, cookies=absolute(fetch.cookies), allow_list=absolute(fetch.allow_list),
            deny_list=absolute(fetch.deny_list),
        ),
    )  # fmt: skip


def run_job(
    job: Job,
    model: FaceModel,
    rows: Manifest,
    *,
    retry: Collection[FailureCode] = (),
    beam_options: Sequence[str] = (),
    report: Callable[[str], None],
) -> BuildSummary:
    """Label and assemble.

    Args:
        job: The build.
        model: Its face model.
        rows: The manifest.
        retry: Failures with these codes are tried again.
        beam_options: Further options of Beam, checked.
        report: Receives progress lines, one every few seconds at most.

    Raises:
        ValueError: Locks do not work where it writes.
        StoreBusyError: Another build is at work on this output, or slices of it are; or what is not needed is removed
            from the store.
        BuildError: Something broke that is not one video's fault.
    """
    if job.options.slice is None and (unknown := unknown_rejects(job.rejects, rows.rows)):  # the list is for all rows
        report(f"entries of the reject list that name no video of the manifest: {len(unknown)}, such as {unknown[0]!r}")
    try:
        storage.make_private_folder(state_folder(whole_out(job)))
        for folder in (job.state, job.store_folder):
            storage.make_private_folder(folder)
            require_locks(folder)
        require_nobody_else(job)
        with build_lock(job.state) as lock, using_store(job), build_egress(job.options.fetch, job.state):
            keep_lists(job.options.fetch, job.state)
            return Waves(
                job, rows, model, beam_options=beam_options, retry=frozenset(retry), report=report, lock=lock
            ).run()
    except OSError as error:
        if reason := full_disk(error, [job.store_folder, job.out]):
            raise BuildError(f"the build has stopped: {reason}") from error
        raise
