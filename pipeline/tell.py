"""What a build says while it works: one line every few seconds, with rate and time left."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline.progress import total_counts

REPORT_EVERY_S = 5.0


class Teller:
    """Says how far a build is.

    Args:
        state: The build's state folder.
        report: Receives the lines.
        clock: Monotonic seconds; tests replace it.
    """

    def __init__(
        self, state: Path, report: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._state, self._report, self._clock = state, report, clock
        self._started_s = self._told_s = clock()
        self._told_frames = 0
        self.todo = 0
        self.assembling = False

    @property
    def elapsed_s(self) -> float:
        """Seconds since the build began."""
        return self._clock() - self._started_s

    def tell(self) -> None:
        """Say it, if the last line was long enough ago."""
        now_s = self._clock()
        told_s = self._told_s
        if now_s - told_s < REPORT_EVERY_S:
            return
        self._told_s = now_s
        if self.assembling:
            self._report(f"assemble: {self.elapsed_s:.0f} s since the start")
            return
        counts = total_counts(self._state)
        frames = int(counts["decoded_frames"])
        rate = (frames - self._told_frames) / max(now_s - told_s, 1e-9)
        self._told_frames = frames
        self._report(progress_line(counts, todo=self.todo, elapsed_s=self.elapsed_s, frames_per_s=rate))


def progress_line(counts: Mapping[str, float], *, todo: int, elapsed_s: float, frames_per_s: float) -> str:
    """One line on how far labelling is: videos, frames per second, time left.

    Args:
        counts: See `progress.Counters`.
        todo: Videos that this run has to do.
        elapsed_s: Seconds since it began.
        frames_per_s: Frames decoded per second since the line before.
    """
    done, frames = int(counts.get("videos", 0)), int(counts.get("decoded_frames", 0))
    read = max(int(counts.get("read", 0)), done)
    line = f"label: {read} of {todo} videos read, {done} done, {frames} frames"
    if frames_per_s >= 0.5:  # none are read while processes start, and while a wave is fitted
        line += f", {frames_per_s:.0f}/s"
    # Reading takes most of the time; a wave is fitted when all of it is read.
    share = (9 * read + done) / (10 * todo) if todo else 1.0
    if 0 < share < 1:
        left_s = elapsed_s * (1 - share) / share
        line += f", about {left_s:.0f} s left" if left_s < 120 else f", about {left_s / 60:.0f} min left"
    return line
