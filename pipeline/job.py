"""What all rows of a build share, and under which keys their results lie in the store (`row_state` looks them up).

A key is the hash of everything that goes into a result. Change what a stage makes, and raise its version here, or
builds go on with what the old code made; `tests/pipeline/test_stage_versions.py` notices.
"""

import functools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from facevid.failures import FailureCode
from facevid.video_address import video_address
from fitting.options import FitOptions
from pipeline.config import BuildOptions, FetchOptions, LimitOptions, PruneOptions, stable_hash
from pipeline.faces.options import FacesOptions
from pipeline.fetched_video import FetchedVideo
from pipeline.manifest import ManifestRow, is_remote, local_path
from pipeline.spans import Span

FETCH_VERSION = 3
INDEX_VERSION = 1
FACES_VERSION = 8
FIT_VERSION = 9
ASSEMBLE_VERSION = 6

_FETCH_PATHS = ("cookies", "allow_list", "deny_list")

_BY_LIMITS = frozenset({
    FailureCode.TOO_LARGE, FailureCode.TIMEOUT, FailureCode.OUT_OF_MEMORY, FailureCode.WORKER_DIED,
})  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One build, as every worker needs to know it. Small: it travels to them.

    Attributes:
        out: The dataset folder.
        manifest_folder: What relative paths in the manifest refer to.
        networks: Folder with the landmark networks.
        options: The user's options.
        detector_sha256: sha256 over the detector's weight files.
        model_path: The face model file.
        model_sha256: Its sha256.
        rejects: Entries of the reject list, see `pipeline.rejects`.
    """

    out: Path
    manifest_folder: Path
    networks: Path
    options: BuildOptions
    detector_sha256: str
    model_path: Path
    model_sha256: str
    rejects: tuple[str, ...] = ()

    @property
    def state(self) -> Path:
        """The folder of the build's own affairs: lock, plan, progress, logs."""
        return state_folder(self.out)

    @property
    def without_lists(self) -> "Job":
        """The same without an allow and a deny list: what is denied may have results all the same."""
        fetch = replace(self.options.fetch, allow_list=None, deny_list=None)
        return replace(self, options=replace(self.options, fetch=fetch))

    @property
    def store_folder(self) -> Path:
        """Where videos and results are kept."""
        return self.options.store or self.out / "store"

    def to_plain(self) -> dict[str, Any]:
        """As values that JSON holds."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        return plain

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "Job":
        """The inverse of `to_plain`."""
        paths = {name: Path(plain[name]) for name in ("out", "manifest_folder", "networks", "model_path")}
        options = dict(plain["options"])
        fetch = options["fetch"]
        options["fetch"] = fetch | {name: Path(fetch[name]) for name in _FETCH_PATHS if fetch[name] is not None}
        for name, kind in (("fetch", FetchOptions), ("faces", FacesOptions), ("fit", FitOptions),
                           ("prune", PruneOptions), ("limits", LimitOptions)):
            options[name] = kind(**options[name])
        for name in ("model", "store", "reject_list"):
            options[name] = Path(options[name]) if options.get(name) is not None else None
        return cls(
            **paths,
            options=BuildOptions(**options),
            detector_sha256=plain["detector_sha256"],
            model_sha256=plain["model_sha256"],
            rejects=tuple(plain.get("rejects", ())),
        )


def state_folder(out: Path) -> Path:
    """The folder inside a dataset for the build's own affairs."""
    return out / ".build"


def fetch_keys(row: ManifestRow, job: Job) -> tuple[str, str]:
    """The keys of a success and of a failure of a row's fetch.

    A video is the same under whichever spelling of its address it was had; what failed may have failed for the
    signature in it.
    """
    options = job.options.fetch
    spelled: list[str] = []
    source: list[object]
    if is_remote(row.url):
        address = video_address(row.url)
        spelled = [row.url] if row.url != address else []
        source = [address, options.min_height_px, options.allow_private, options.ignore_opt_out]
    else:
        path = local_path(row.url, job.manifest_folder)
        # As `make` does: a file of the same size and time is taken for the same, and not read for its hash again.
        try:
            seen = path.stat()
        except OSError:
            source = [str(path), None, options.allow_local]
        else:
            source = [str(path), seen.st_mode, seen.st_size, seen.st_mtime_ns, options.allow_local]
    success = stable_hash(["fetch", FETCH_VERSION, *source])
    return success, stable_hash([success, options.max_bytes, *spelled])


def stricter_success_keys(row: ManifestRow, job: Job) -> tuple[str, ...]:
    """The keys that a success of a row's fetch has where less is permitted: it would be one here as well."""
    options = job.options.fetch
    if not is_remote(row.url):
        return ()
    return tuple(
        fetch_keys(row, replace(job, options=replace(job.options, fetch=fetch)))[0]
        for allow_private in sorted({False, options.allow_private})
        for ignore_opt_out in sorted({False, options.ignore_opt_out})
        if (fetch := replace(options, allow_private=allow_private, ignore_opt_out=ignore_opt_out)) != options
    )


def partial_key(url: str, options: FetchOptions) -> str:
    """Names the folder in which what has come of a download is kept; a link that is signed anew goes on with it."""
    return stable_hash([video_address(url), options.min_height_px])


def index_key(sha256: str) -> str:
    """The key of the copy of a video that can be read from any moment on."""
    return stable_hash(["index", INDEX_VERSION, sha256])


def faces_key(fetched: FetchedVideo, span: Span, job: Job) -> str:
    """The key of the face tracks of one span of a video."""
    return stable_hash(
        ["faces", FACES_VERSION, fetched.sha256, span.start_s, span.end_s, span.lead_s,
         _options_hash(job.options.faces), job.detector_sha256]
    )  # fmt: skip


def fit_key(faces: Sequence[str], number: int, job: Job) -> str:
    """The key of the fitted tracks that begin in one span. Pruning is not in it: it is applied when rows are made.

    Args:
        faces: The keys of the face tracks of all spans: a track goes on in the next one.
        number: Place of the span among them.
        job: The build.
    """
    return stable_hash(["fit", FIT_VERSION, *faces, number, _options_hash(job.options.fit), job.model_sha256])


@functools.lru_cache(maxsize=64)
def _options_hash(options: FacesOptions | FitOptions | LimitOptions) -> str:
    # Asked several times for each of many rows.
    return stable_hash(options)


def limited_key(key: str, job: Job) -> str:
    """The key of a failure that a limit caused: results stand under any limits, such failures only under their own."""
    return stable_hash([key, _options_hash(job.options.limits)])


def failure_key(key: str, code: FailureCode, job: Job) -> str:
    """The key under which a failure of a stage is to be committed, given the key of the stage's result."""
    return limited_key(key, job) if code in _BY_LIMITS else key


def result_config(job: Job) -> dict[str, Any]:
    """The options that went into a dataset: all that can change a byte of it, and nothing else."""
    fetch = job.options.fetch
    # The hash alone: a release drops the rows, and must not name them after all.
    rejects = {"rejects_sha256": stable_hash(job.rejects)} if job.rejects else {}
    return rejects | {
        "fetch": {
            "min_height_px": fetch.min_height_px, "max_bytes": fetch.max_bytes, "ignore_opt_out": fetch.ignore_opt_out,
        },
        "faces": asdict(job.options.faces),
        "fit": asdict(job.options.fit),
        "prune": asdict(job.options.prune),
        "limits": {name: getattr(job.options.limits, name) for name in ("max_duration_s", "max_frames", "max_pixels")},
        "shards": job.options.shards,
    }
