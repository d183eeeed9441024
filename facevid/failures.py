"""What can go wrong with one item, as a closed list: stages, codes, and the row that records it."""

import enum
from collections.abc import Hashable
from dataclasses import dataclass


class Stage(enum.StrEnum):
    """The stages of the line, in order. The unit that each counts is in `facevid.schema`'s funnel."""

    MANIFEST = "manifest"
    FETCH = "fetch"
    FACES = "faces"
    FIT = "fit"
    ASSEMBLE = "assemble"


class FailureCode(enum.StrEnum):
    """Every way in which one item can fail. Closed: a reader may match on all members."""

    BAD_ROW = "bad_row"
    REMOVED = "removed"
    PRIVATE = "private"
    GEO_BLOCKED = "geo_blocked"
    AGE_GATED = "age_gated"
    LOGIN_REQUIRED = "login_required"
    RATE_LIMITED = "rate_limited"
    NOT_FOUND = "not_found"
    NETWORK = "network"
    TIMEOUT = "timeout"
    TOO_LARGE = "too_large"
    UNSUPPORTED_FORMAT = "unsupported_format"
    CORRUPT = "corrupt"
    NO_VIDEO_STREAM = "no_video_stream"
    OUTSIDE_VIDEO = "outside_video"
    NO_FACE = "no_face"
    TRACK_TOO_SHORT = "track_too_short"
    FIT_DIVERGED = "fit_diverged"
    OUT_OF_MEMORY = "out_of_memory"
    WORKER_DIED = "worker_died"
    DENIED = "denied"
    OPT_OUT = "opt_out"
    UNSAFE_ADDRESS = "unsafe_address"
    INTERNAL = "internal"

    @property
    def retryable(self) -> bool:
        """Whether the same item may succeed when tried again later, unchanged."""
        return self in _RETRYABLE


_RETRYABLE = frozenset({
    FailureCode.RATE_LIMITED,
    FailureCode.NETWORK,
    FailureCode.TIMEOUT,
    FailureCode.LOGIN_REQUIRED,
    FailureCode.OUT_OF_MEMORY,
    FailureCode.WORKER_DIED,
    FailureCode.INTERNAL,
})


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One row of the failures table.

    Attributes:
        video_id: The manifest's id of the video.
        track: Index of the face track within the video, or None where the whole video failed.
        url: The manifest's address or path.
        stage: Where it failed.
        code: Why.
        attempt: 1 for the first try of this item.
        message: One sentence for a person; what to do next where that is known.
    """

    video_id: str
    track: int | None
    url: str
    stage: Stage
    code: FailureCode
    attempt: int
    message: str


MOST_EXAMPLES = 3
"""Of failures of one kind, so many are shown."""


class FailureExamples:
    """Of each kind of failure the first few of which something else was said; what is said again is only counted."""

    def __init__(self) -> None:
        self._said: dict[Hashable, dict[str, str]] = {}

    def add(self, kind: Hashable, message: str, who: str = "") -> None:
        """Take a failure of some kind: what was said of it, and of whom, where the message does not say so itself."""
        said = self._said.setdefault(kind, {})
        if len(said) < MOST_EXAMPLES:
            said.setdefault(message, f"{who}: {message}" if who else message)

    def of(self, kind: Hashable) -> tuple[str, ...]:
        """The examples of a kind, in the order in which they came."""
        return tuple(self._said.get(kind, {}).values())
