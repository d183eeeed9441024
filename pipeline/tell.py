"""What a build says while it works: one line every few seconds, with rate and time left."""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from facevid.counted import counted
from pipeline.marks import Mark, read_marks
from pipeline.progress import total_counts

REPORT_EVERY_S = 5.0
_LOOKS_PER_CLOCK = 256


@dataclass(slots=True)
class _Step:
    """One step of writing the tables.

    Attributes:
        what: What it counts, in words.
        counter: The name of the count, see `progress.Counters`.
        total: How many there are.
        before: What stood in the count when the step began: work of an attempt that died.
        began_s: When it began, as far as is known.
    """

    what: str
    counter: str
    total: int
    before: float
    began_s: float

    def line(self, counts: Mapping[str, float], now_s: float) -> str:
        done = min(counts.get(self.counter, 0) - self.before, self.total)
        line = f"assemble: {done:.0f} of {self.total} {self.what}"
        if done <= 0:
            self.began_s = now_s  # processes start
            return line
        rate = done / max(now_s - self.began_s, 1e-9)
        return f"{line}, {rate:.0f}/s, about {duration_text((self.total - done) / rate)} left"


class Teller:
    """Says how far a build is.

    Args:
        state: The build's state folder.
        report: Receives the lines.
        clock: Monotonic seconds; tests replace it.

    Attributes:
        todo: Videos that this run has to do.
        found: Those of them that were read before, and lack their fit.
    """

    def __init__(
        self, state: Path, report: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._state, self._report, self._clock = state, report, clock
        self._started_s = self._told_s = clock()
        self._told_frames = 0
        self._assembling: tuple[_Step, ...] = ()
        self.todo = 0
        self.found = 0

    @property
    def elapsed_s(self) -> float:
        """Seconds since the build began."""
        return self._clock() - self._started_s

    def assemble(self, *, rows: int, frames: int) -> None:
        """From now on the tables are written, from their beginning.

        Args:
            rows: Rows of the manifest, bad ones too.
            frames: Rows of the frames table.
        """
        counts, now_s = total_counts(self._state), self._clock()
        steps = (("rows listed", "listed", rows), ("frames written", "assembled_frames", frames))
        self._assembling = tuple(
            _Step(what=what, counter=counter, total=total, before=counts[counter], began_s=now_s)
            for what, counter, total in steps
        )

    def tell(self) -> None:
        """Say it, if the last line was long enough ago."""
        now_s = self._clock()
        told_s = self._told_s
        if now_s - told_s < REPORT_EVERY_S:
            return
        self._told_s = now_s
        counts = total_counts(self._state)
        if self._assembling:
            # All rows are listed before the first frame is written.
            listing, writing = (step.line(counts, now_s) for step in self._assembling)
            self._report(writing if counts["assembled_frames"] > self._assembling[1].before else listing)
            return
        frames = int(counts["decoded_frames"])
        rate = (frames - self._told_frames) / max(now_s - told_s, 1e-9)
        self._told_frames = frames
        marks = read_marks(self._state)
        line = progress_line(
            counts, marks, todo=self.todo, found=self.found, elapsed_s=self.elapsed_s, frames_per_s=rate, now_s=now_s
        )
        self._report(line)


class LookTeller:
    """Says how far a look at all rows of a build is, where that takes long.

    Args:
        what: What is done with them: a build looks at its rows several times.
        rows: How many there are.
        report: Receives the lines.
        unit: What they are, where it is not rows that are looked at.
        clock: Monotonic seconds; tests replace it.
    """

    def __init__(
        self,
        what: str,
        rows: int,
        report: Callable[[str], None],
        *,
        unit: str = "rows",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what, self._rows, self._unit, self._report, self._clock = what, rows, unit, report, clock
        self._began_s = self._told_s = clock()
        self._seen = 0

    def seen(self) -> None:
        """One more row was looked at."""
        self._seen += 1
        if self._seen % _LOOKS_PER_CLOCK:
            return
        now_s = self._clock()
        if now_s - self._told_s < REPORT_EVERY_S:
            return
        self._told_s = now_s
        rate = self._seen / (now_s - self._began_s)
        left = duration_text((self._rows - self._seen) / rate)
        self._report(f"{self._what}: {self._seen} of {self._rows} {self._unit}, {rate:.0f} a second, about {left} left")


def progress_line(
    counts: Mapping[str, float],
    marks: Sequence[Mark] = (),
    *,
    todo: int,
    found: int = 0,
    elapsed_s: float,
    frames_per_s: float,
    now_s: float = 0.0,
) -> str:
    """One line on how far labelling is: videos, frames per second, time left or what keeps everybody waiting.

    Args:
        counts: See `progress.Counters`.
        marks: What is in hand, the longest first.
        todo: Videos that this run has to do.
        found: Those of them that were read before, and lack their fit.
        elapsed_s: Seconds since it began.
        frames_per_s: Frames decoded per second since the line before.
        now_s: The clock of the marks, seconds.
    """
    done, read, frames = _whole(counts, "videos"), _whole(counts, "read"), _whole(counts, "decoded_frames")
    read = min(max(read + found, done), todo)
    line = f"label: {read:,} of {counted(todo, 'video')} read, {done:,} done, {counted(frames, 'frame')}"
    if frames_per_s >= 0.5:  # none are read while processes start, and while a wave is fitted
        line += f", {frames_per_s:.0f}/s"
    if fitted := _whole(counts, "fitted_frames"):
        line += f", {fitted} fitted"
    since_s = quiet_s([now_s - mark.since_s for mark in marks])
    if (left_s := time_left_s(counts, todo=todo, elapsed_s=elapsed_s, since_s=since_s)) is not None:
        line += f", about {duration_text(left_s)} left"
    elif marks:
        first = marks[0]
        more = f" and {len(first.video_ids) - 1} more" if len(first.video_ids) > 1 else ""
        which = "in hand" if len(marks) == 1 else "longest in hand"
        line += f", {which}: {first.video_ids[0]}{more} ({first.stage}, {duration_text(now_s - first.since_s)})"
    return line


def quiet_s(in_hand_s: Iterable[float]) -> float:
    """For how long nothing was finished, given how long each thing has been in hand: who finishes begins another."""
    return max(min(in_hand_s, default=0.0), 0.0)


def time_left_s(
    counts: Mapping[str, float], *, todo: int, elapsed_s: float, since_s: float = 0.0
) -> float | None:
    """How long labelling will go on, seconds, if it goes on as before.

    None where nothing is known or left, and where what is in hand takes longer than all that is left should have taken:
    how long one video takes says nothing of when it ends.

    Args:
        counts: See `progress.Counters`.
        todo: Videos that this run has to do.
        elapsed_s: Seconds since it began.
        since_s: Seconds for which these counts have stood, see `quiet_s`.
    """
    if not todo:
        return None
    done = counts.get("videos", 0) / todo
    begun, video_s = counts.get("begun", 0), counts.get("video_s", 0)
    if begun and video_s:
        # By seconds of video: one of two hours among short ones is most of the work. Those to come are like these.
        searched = counts.get("searched_s", 0) / (video_s * max(todo / begun, 1))
    else:
        searched = max(counts.get("read", 0) / todo, done)
    # Searching takes most of the time; a wave is fitted when all of it is searched.
    share = min(0.9 * searched + 0.1 * min(done, searched), 1.0)
    if not 0 < share < 0.999999:
        return None
    left_s = (elapsed_s - since_s) * (1 - share) / share - since_s
    return left_s if left_s > 0 else None


def duration_text(seconds: float) -> str:
    """A duration as people say it."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def size_text(size_bytes: float) -> str:
    """A size as people say it."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9)):
        if size_bytes >= scale:
            return f"{size_bytes / scale:.1f} {unit}"
    return f"{size_bytes / 1e6:.0f} MB" if size_bytes >= 1e6 else f"{size_bytes / 1e3:.0f} kB"


def _whole(counts: Mapping[str, float], name: str) -> int:
    # Thirds of a video add up to a whole one, but for the last digit.
    return math.floor(counts.get(name, 0) + 1e-6)
