"""What worker processes tell their parent while they work: counters. What they have in hand is in `pipeline.marks`.

Both are small files in the build's state folder, one writer each, so they need no locks, outlive a worker
that is killed, and can be read by anyone at any time.
"""

import json
import os
import secrets
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.damage import intact

_FLUSH_EVERY_S = 0.5


class Counters:
    """Counts of one process, written to a file of its own every half second.

    Names in use: `videos` (rows done with), `fetched`, `read` (searched for faces, or not to be had; of rows with
    several spans each span counts as its share), `decoded_frames`, `fitted_tracks`, `fitted_frames`; `begun` rows
    with `video_s` seconds of video to search, of which `searched_s` are; `fetch_s`, `faces_s`, `fit_s` for the time
    spent; `listed` rows and `assembled_frames` when tables are written; and `tracked_frames` and `tracked_STEP_s`
    for the steps of the faces stage (`pipeline.faces.tracks.StageSeconds`) in videos that had faces.

    Args:
        state: The build's state folder.
        clock: Monotonic seconds; tests replace it.
    """

    def __init__(self, state: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        folder = state / "progress"
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{os.getpid()}-{secrets.token_hex(4)}.json"
        self._clock = clock
        self._counts: defaultdict[str, float] = defaultdict(float)
        self._written_s = float("-inf")

    def add(self, name: str, amount: int | float = 1) -> None:  # noqa: PYI041  # beartype tells them apart
        """Add to one count."""
        self._counts[name] += amount
        if self._clock() - self._written_s >= _FLUSH_EVERY_S:
            self.flush()

    def flush(self) -> None:
        """Write the file now."""
        partial = self._path.with_suffix(".partial")
        partial.write_text(json.dumps(self._counts))
        partial.replace(self._path)
        self._written_s = self._clock()

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the seconds of a block to a count, and write the file at its end."""
        start_s = self._clock()
        try:
            yield
        finally:
            self._counts[name] += self._clock() - start_s
            self.flush()


def total_counts(state: Path) -> defaultdict[str, float]:
    """The sum of the counts of all processes of this build so far; 0 for what nobody counted."""
    total: defaultdict[str, float] = defaultdict(float)
    for path in (state / "progress").glob("*.json"):
        try:
            data = path.read_bytes()
        except FileNotFoundError:  # a new build began just now
            continue
        with intact(path, "remove it: it only says how fast the build was"):
            for name, amount in json.loads(data).items():
                total[name] += float(amount)
    return total


def clear_progress(state: Path) -> None:
    """Forget counts and marks of earlier builds."""
    for name in ("progress", "in_hand"):
        shutil.rmtree(state / name, ignore_errors=True)
