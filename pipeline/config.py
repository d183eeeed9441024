"""Every option of a build, in one place. Standard library only: the command line imports it."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from fitting.options import FitOptions
from pipeline.egress.politeness import PROFILES, Politeness, PolitenessName
from pipeline.faces.limits import DecodeLimits
from pipeline.faces.options import FacesOptions

_RESTS = 6
_SLICE = re.compile(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})")


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchOptions:
    """Options of acquisition."""

    allow_local: bool = False
    """Accept paths of local files in the manifest's url column."""
    allow_private: bool = False
    """Accept addresses that resolve to loopback, private or link-local ranges (for tests and demos)."""
    min_height_px: int = 360
    """Among a page's formats, the smallest with at least this height is taken."""
    max_bytes: int = 2_000_000_000
    """Larger files are not fetched."""
    timeout_s: float = 30.0
    """Longest silence of a server."""
    politeness: PolitenessName = "polite"
    """How hosts are treated; `fast` is for servers of your own. Always one video at a time per host."""
    pause_s: float | None = None
    """Exact pause between two videos from one host, instead of the 5 to 10 s of the polite profile."""
    patience_s: float | None = None
    """Videos of a host that is left alone, as it refused too many, are put off within the build. For so long in all it
    waits for such hosts with nothing else to do; what is left then fails as rate_limited. The default is an hour in the
    polite profile, half a minute in the fast one."""
    attempts: int | None = None
    """Tries per video, instead of the profile's; only what may pass is tried again."""
    max_fetch_s: float = 3600.0
    """Longest time that a video may be connected, over all its tries; waiting for its turn does not count."""
    max_bytes_per_s: int | None = None
    """Cap on the bandwidth of all workers together."""
    max_store_bytes: int | None = None
    """The build stops, to be resumed, before its store's videos grow beyond this."""
    user_agent: str | None = None
    """What to say to servers; without it, what yt-dlp says."""
    cookies: Path | None = None
    """File with cookies (Netscape format) of a visitor who is logged in. It is read only, and never kept or logged."""
    allow_list: Path | None = None
    """File: only its hosts, addresses, `id:VIDEO_ID` and `subject:ID` are fetched. One per line; hosts stand for all
    below them."""
    deny_list: Path | None = None
    """File of the same kind: these are never fetched, nor asked for on the way, and leave the dataset."""
    ignore_opt_out: bool = False
    """Fetch what its server reserves (X-Robots-Tag noai and the like, TDM-Reservation). For servers of your own."""
    upstream_proxy: str | None = None
    """http://HOST:PORT of a proxy to go through; FACEVID_UPSTREAM_AUTHORIZATION in the environment is its password."""
    egress: str | None = None
    """HOST:PORT of `facevid egress`, the one way out of all slices of a build; its token is in FACEVID_EGRESS_TOKEN."""

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        _at_least(
            self, min_height_px=1, max_bytes=1, timeout_s=0.1, pause_s=0.0, attempts=1, max_fetch_s=0.1, patience_s=0.0,
            max_bytes_per_s=1, max_store_bytes=0,
        )  # fmt: skip
        if self.politeness not in PROFILES:
            raise ValueError(f"politeness={self.politeness!r} is none of {', '.join(PROFILES)}")

    @property
    def rests_s(self) -> float:
        """How long to wait in all for hosts that are left alone."""
        return _RESTS * self.courtesy.breaker_rest_s if self.patience_s is None else self.patience_s

    @property
    def courtesy(self) -> Politeness:
        """The profile with the changes that the user made to it."""
        profile = PROFILES[self.politeness]
        if self.pause_s is not None:
            profile = replace(profile, pause_s=self.pause_s, pause_spread_s=0.0)
        return profile if self.attempts is None else replace(profile, attempts=self.attempts)


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneOptions:
    """The paper's pruning. Pruned tracks stay in the tables with `kept = false` and a reason."""

    max_identity_norm: float = 14.0
    """Largest Euclidean norm of the identity coefficients (the paper's automatic criterion). Drawn from the prior of 80
    components it is 8.9 +- 0.7; good fits of real videos were seen from 5 to 13."""
    max_reprojection_error: float = 0.05
    """Largest track reprojection error, as a fraction of the outer-eye distance."""
    keep: str = ""
    """Keep only frames for which this holds, such as "abs(yaw_deg) < 60 and sharpness > 0.1". The columns and their
    values: `facevid schema DIR --table frames`. Nothing is decoded or fitted again when it changes."""

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        _at_least(self, max_identity_norm=0.0, max_reprojection_error=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitOptions(DecodeLimits):
    """What one video may cost. One that goes beyond fails with a code; a changed limit tries it again."""

    fetch_s: float = 2 * 3600.0
    """Longest time for a row's download with all pauses between tries; then it fails as timeout, seconds. Waiting for
    its host's turn does not count."""
    fetch_cpu_s: float = 300.0
    """Longest time that a row's download may compute; then it fails as timeout, seconds. Downloads need little, but a
    page may be made so that looking for its video takes for ever."""
    faces_s: float = 2 * 3600.0
    """Longest time for finding the faces of one span of a video; then the video fails as timeout, seconds."""
    fit_s: float = 3600.0
    """Longest time for fitting the tracks of one span; then the video fails as timeout, seconds."""
    stall_s: float = 600.0
    """Longest time without a frame from a worker that reads a video; then the video fails as timeout, seconds."""
    worker_memory_bytes: int | None = None
    """Memory of one worker and its decoder (proportional set size); a video that needs more fails as out_of_memory. The
    default is an even share of 90 % of the machine's memory; a second try, where a video runs alone, has all of it."""

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        DecodeLimits.__post_init__(self)
        _at_least(self, fetch_s=1.0, fetch_cpu_s=1.0, faces_s=1.0, fit_s=1.0, stall_s=1.0)
        if self.worker_memory_bytes is not None:
            _at_least(self, worker_memory_bytes=1 << 28)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """Options of `facevid build`."""

    fetch: FetchOptions = field(default_factory=FetchOptions)
    faces: FacesOptions = field(default_factory=FacesOptions)
    fit: FitOptions = field(default_factory=FitOptions)
    prune: PruneOptions = field(default_factory=PruneOptions)
    limits: LimitOptions = field(default_factory=LimitOptions)
    model: Path | None = None
    """Face model file; the default is FaceVid-CC0."""
    reject_list: Path | None = None
    """File of what is not to be kept, after a look at the report: VIDEO_ID or VIDEO_ID:TRACK, one per line. Its rows
    stay in the tables as rejected. Nothing is fetched, decoded or fitted again when it changes."""
    store: Path | None = None
    """Where videos and per-stage results are kept; the default is `store` inside the output folder."""
    workers: int = 1
    """Worker processes; 1 runs in the driver's child process. No more are started than there are parts of work; a
    video still to be downloaded may be long: it starts them all. Where CUDA is used, they share the machine's GPUs, or
    those that CUDA_VISIBLE_DEVICES names: one each, over and over."""
    wave: int = 256
    """Videos per Beam run on the local runner; each run starts its worker processes anew, and fits when all of its
    videos are searched."""
    fit_batch: int = 8
    """Parts of videos (of `faces.span_s`) whose tracks are fitted together, at most; fewer where they have many frames.
    Does not change results."""
    shards: int = 16
    """Shards per table."""
    slice: str | None = None
    """I/N, such as 3/8: on the third of eight machines, label about an eighth of the rows into the store, which all
    machines must reach, and write no tables; the same build without --slice does that when all are done."""

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        _at_least(self, workers=1, wave=1, fit_batch=1, shards=1)
        if (place := self.slice_place) is not None and not place[0] <= place[1]:
            raise ValueError(f"slice={self.slice!r} must be I/N with I from 1 to N, such as 3/8")

    @property
    def slice_place(self) -> tuple[int, int] | None:
        """The slice's number, from 1, and how many there are; None for the whole build."""
        if self.slice is None:
            return None
        if (match := _SLICE.fullmatch(self.slice)) is None:
            raise ValueError(f"slice={self.slice!r} must be I/N with I from 1 to N, such as 3/8")
        return int(match[1]), int(match[2])


def _at_least(options: object, **lowest: int | float) -> None:  # noqa: PYI041  # beartype tells them apart
    for name, low in lowest.items():
        value = getattr(options, name)
        if value is not None and not value >= low:  # also refuses NaN
            raise ValueError(f"{name}={value!r} must be at least {low}")


def stable_hash(value: object) -> str:
    """sha256 of a dataclass or plain value, independent of field order and process."""
    plain = asdict(value) if hasattr(value, "__dataclass_fields__") else value  # type: ignore[call-overload]
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()
