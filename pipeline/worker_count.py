"""How many workers the machine's memory is enough for.

With too many, each row would go beyond its worker's share, be ended, and run again alone at the end: right, and slow.
"""

from collections.abc import Callable

from pipeline.config import BuildOptions
from pipeline.usage import memory_per_worker_bytes

WORKER_BYTES = 700_000_000
"""What a worker needs with its decoder: 430 MB were seen with one face in pictures of 1080 lines (proportional set
size, two workers); the tracks of a long span, and a batch of them to be fitted, come on top."""


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
