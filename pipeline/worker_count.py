"""How many workers to start: as many as the machine's memory is enough for, and as there are parts of work.

With too many for the memory, each row would go beyond its worker's share, be ended, and run again alone at the end:
right, and slow.
"""

import math
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from dataclasses import replace
from pathlib import Path

from facevid.failures import Stage
from pipeline.config import BuildOptions
from pipeline.faces.errors import DecoderMemoryError, DecoderTimeoutError
from pipeline.faces.limits import DecodeLimits
from pipeline.job import Job
from pipeline.manifest import ManifestRow, is_remote, local_path
from pipeline.reading import FileFacts, file_facts
from pipeline.row_state import row_state
from pipeline.spans import spans_of
from pipeline.store import Store
from pipeline.usage import memory_per_worker_bytes

WORKER_BYTES = 700_000_000
"""What a worker needs with its decoder: 430 MB were seen with one face in pictures of 1080 lines (proportional set
size, two workers); the tracks of a long span, and a batch of them to be fitted, come on top."""

_ASKED_FOR_S = 3.0
"""How long a file is asked for its duration here, where nothing is lost by a guess, nobody is told, and nobody watches.
The worker that fetches it is more patient."""


def workers_at_once(
    options: BuildOptions, *, share: Callable[[int], int] | None = None
) -> tuple[int, str | None]:
    """How many workers to use of those that were asked for, and why fewer, in a sentence; None where it is all.

    Who says what a worker may have (`LimitOptions.worker_memory_bytes`) is taken at their word.

    Args:
        options: The build's.
        share: The even share of the machine's memory among so many workers, bytes; tests replace it.
    """
    asked, told = options.workers, options.limits.worker_memory_bytes
    memory_bytes = (share or memory_per_worker_bytes)(1)
    if told is not None or memory_bytes >= asked * WORKER_BYTES:
        return asked, None
    enough = max(1, memory_bytes // WORKER_BYTES)
    sizes = f"{asked} x {WORKER_BYTES / 1e9:.1f} GB > {memory_bytes / 1e9:.1f} GB of memory"
    return enough, f"workers: {sizes}, using {enough}; --worker-memory-bytes says otherwise"


def workers_for(
    rows: Iterable[ManifestRow],
    job: Job,
    store: Store,
    *,
    most: int,
    known_s: MutableMapping[Path, float | None] | None = None,
    facts_of: Callable[[Path, DecodeLimits], FileFacts] | None = None,
) -> int:
    """How many workers have something to do in a wave: the spans of one video are worked on by several.

    How long a video of the web is shows when it is downloaded; until then it may be long enough for all, unless the
    manifest asks for a clip of it. So may be a local file that does not tell at once; no other is asked after it.

    Args:
        rows: The wave's.
        job: The build.
        store: Where results are.
        most: No more than this many; as soon as there is work for so many, no further row is looked at.
        known_s: Durations of local files that have been asked, from wave to wave; those that are asked here are added.
        facts_of: Tells what a local file says of itself; ffmpeg where it is left out.
    """
    known_s = {} if known_s is None else known_s
    parts = 0
    for row in rows:
        if parts >= most:
            break
        state = row_state(row, job, store)
        if state.next_stage is not Stage.FETCH:
            parts += sum(span.next_stage is not None for span in state.spans)
            continue
        end_s = row.end_s
        if end_s is None:
            if is_remote(row.url):
                return max(1, most)
            path = local_path(row.url, job.manifest_folder)
            if path not in known_s:
                known_s[path] = _duration_s(path, job, facts_of or _facts_at_once)
            end_s = known_s[path]
        span_s = job.options.faces.span_s
        if end_s is not None:  # whatever a file says, the spans that are counted are few
            end_s = min(end_s, (row.start_s or 0.0) + (most + 1) * span_s)
        parts += len(spans_of(start_s=row.start_s, end_s=end_s, duration_s=end_s, span_s=span_s))
    return max(1, min(parts, most))


def is_one_of_unknown_length(rows: Sequence[ManifestRow], job: Job, store: Store) -> bool:
    """Whether there is but one row, whose video is on the web and not fetched yet: most are short.

    Args:
        rows: A wave's.
        job: The build.
        store: Where results are.
    """
    if len(rows) != 1 or not is_remote(rows[0].url) or rows[0].end_s is not None:
        return False
    return row_state(rows[0], job, store).next_stage is Stage.FETCH


def _duration_s(path: Path, job: Job, facts_of: Callable[[Path, DecodeLimits], FileFacts]) -> float | None:
    """What a local file says of its duration: None for nothing, or if it may not be asked; endless if not at once."""
    limits = job.options.limits
    try:
        if not job.options.fetch.allow_local or not path.is_file():
            return None
        return facts_of(path, replace(limits, decoder_stall_s=min(_ASKED_FOR_S, limits.decoder_stall_s))).duration_s
    except DecoderTimeoutError:
        return math.inf
    except (OSError, DecoderMemoryError):
        return None  # the worker that fetches it says what is wrong with it


def _facts_at_once(path: Path, limits: DecodeLimits) -> FileFacts:
    return file_facts(path, limits, patience=1)
