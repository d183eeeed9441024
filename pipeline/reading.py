"""How a fetched file is read: what it says of itself, and from which copy.

What a file says of its duration decides for good how it is cut into spans; so what could not be asked is never taken
for something that it does not say.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from pipeline.faces.errors import (
    CorruptVideoError,
    DecoderInterruptedError,
    DecoderMemoryError,
    DecoderTimeoutError,
    VideoError,
)
from pipeline.faces.indexed import copy_with_index
from pipeline.faces.limits import DecodeLimits
from pipeline.faces.probe import probe
from pipeline.fetched_video import FetchedVideo
from pipeline.job import Job, fetch_keys, index_key
from pipeline.manifest import ManifestRow
from pipeline.store import Store

_Answer = TypeVar("_Answer")

# Facts of a file are the same whatever a build permits.
_ANY_SIZE: dict[str, Any] = {"max_duration_s": 1e12, "max_frames": 1 << 60, "max_pixels": 1 << 40}
# Of `decoder_stall_s`: a busy machine is no fault of the file's.
_PATIENCE = 5
_COPY = "video.mkv"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """What decides how a file is read.

    Attributes:
        duration_s: Its duration, seconds; None where it does not tell.
        indexed: Whether reading may begin in its middle.
    """

    duration_s: float | None = None
    indexed: bool = True


def asked_twice(ask: Callable[[], _Answer]) -> _Answer:
    """What ffmpeg tells, asked again where it was ended.

    Schedulers that end a job may end ffmpeg before the process that asks it, which does not come to an answer then.

    Raises:
        CorruptVideoError: It ended as if it had been asked to, twice, which is the file's fault.
    """
    try:
        return ask()
    except DecoderInterruptedError:
        pass
    try:
        return ask()
    except DecoderInterruptedError as error:
        raise CorruptVideoError(f"{error}, twice") from error


def file_facts(path: Path, limits: DecodeLimits, *, patience: int = _PATIENCE) -> FileFacts:
    """What a file says of itself, as far as it is a video (the next stage says what else it is).

    Args:
        path: The file.
        limits: Of these, those on ffmpeg hold.
        patience: How many times `decoder_stall_s` to wait.

    Raises:
        DecoderTimeoutError: ffmpeg cannot tell in time.
        DecoderMemoryError: Nor with the memory that there is.
    """
    try:
        patient = replace(limits, decoder_stall_s=patience * limits.decoder_stall_s, **_ANY_SIZE)
        info = asked_twice(lambda: probe(path, patient))
    except (DecoderTimeoutError, DecoderMemoryError):
        raise
    except (VideoError, FileNotFoundError):
        return FileFacts()
    return FileFacts(duration_s=info.duration_s, indexed=info.seekable)


def path_to_read(
    row: ManifestRow,
    video: FetchedVideo,
    job: Job,
    store: Store,
    *,
    from_start: bool,
    on_wait: Callable[[], None] = lambda: None,
) -> Path:
    """The file to read a part of a video from: its own, or a copy with an index, which is made where it is missing.

    Args:
        row: The manifest's row.
        video: Its video.
        job: The build.
        store: Where copies are kept.
        from_start: The part begins with the file, and is the only one of this row.
        on_wait: Called now and then while another worker makes the copy, and when it is done.

    Raises:
        VideoError: The copy takes too long or too much memory, or somebody ended it.
    """
    if video.indexed or from_start:
        return video.path
    key = index_key(video.sha256)
    with store.alone("index", key, on_wait=on_wait):
        if (found := store.find("index", key)) is None:
            before = fetch_keys(row, job)
            with store.scratch() as folder:
                target = folder / _COPY
                if not copy_with_index(video.path, target, job.options.limits):
                    target.unlink(missing_ok=True)  # an empty result says that it has been tried
                if fetch_keys(row, job) != before:
                    return video.path  # these are not the bytes of this key any more; who reads them says so
                found = store.adopt("index", key, folder)
    copy = found / _COPY
    return copy if copy.exists() else video.path
