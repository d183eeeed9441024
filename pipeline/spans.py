"""Spans: the parts of a long video that are worked on by themselves, at once, by different workers.

A video is cut at multiples of `FacesOptions.span_s` on its own clock (from the clip's start, where the manifest asks
for a clip); the last span lasts between half and one and a half times as long. So the borders depend on the file, the
row and that option alone, never on who works where, and what a worker needs of memory does not grow with the video.

A face that shows at a border would be found and parted by two workers. So a span's worker also reads the seconds before
its first frame, its lead: what it finds there it shares with the span before, and `seams` joins what is the same.
"""

import math
from dataclasses import dataclass

LEAD_S = 3.0
"""Of each span but the first. What a follower knows of the time before is forgotten after fewer frames, and dissolves
are shorter."""
CLIP_TOLERANCE_S = 1.0
"""A clip may end this much after the video: containers round, and so do people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The frames with `start_s <= pts_s < end_s`.

    Attributes:
        start_s: First moment, seconds on the file's clock; None for the file's beginning.
        end_s: First moment that is no more in it; None for the file's end.
        lead_s: How much is read before `start_s`; it belongs to the span before.
    """

    start_s: float | None = None
    end_s: float | None = None
    lead_s: float = 0.0

    @property
    def read_from_s(self) -> float | None:
        """Where its worker begins to read; None for the file's beginning."""
        return None if self.start_s is None else self.start_s - self.lead_s

    def words(self) -> str:
        """Which part of a video it is, for a message; empty for all of it."""
        if self.end_s is None:
            return "" if self.start_s is None else f"from {self.start_s:g} s on"
        return f"from {self.start_s or 0.0:g} s to {self.end_s:g} s"

    def length_s(self, duration_s: float | None) -> float:
        """How many seconds of a video of this duration it holds; 0 where nobody can tell."""
        ends_s = [end_s for end_s in (self.end_s, duration_s) if end_s is not None]
        return max(0.0, min(ends_s) - (self.start_s or 0.0)) if ends_s else 0.0


def spans_of(
    *, start_s: float | None, end_s: float | None, duration_s: float | None, span_s: float, min_track_s: float = 0.0
) -> tuple[Span, ...]:
    """Cut a video, or a clip of it, into spans.

    Args:
        start_s: Start of the clip, or None.
        end_s: End of the clip, or None.
        duration_s: Duration of the file, None where it does not tell: then there is one span only.
        span_s: Length of a span.
        min_track_s: A lead is longer than this: what is too short for a track before a border is found behind it.

    Returns:
        At least one span; together they are the clip.
    """
    begin_s = start_s or 0.0
    length_s = 0.0
    if duration_s is not None:
        length_s = (duration_s if end_s is None else min(end_s, duration_s)) - begin_s
    count = max(1, math.floor(length_s / span_s + 0.5))
    borders = [begin_s + number * span_s for number in range(1, count)]
    lead_s = min(span_s, LEAD_S + min_track_s)
    return tuple(
        Span(start_s=start, end_s=end, lead_s=lead_s if number else 0.0)
        for number, (start, end) in enumerate(zip([start_s, *borders], [*borders, end_s], strict=True))
    )


def outside(*, start_s: float | None, end_s: float | None, duration_s: float | None) -> str | None:
    """What is wrong with a clip of a video of this duration, in words; None where nothing is, or nobody can tell."""
    if duration_s is None:
        return None
    for name, at_s, most_s in (("begins", start_s, duration_s), ("ends", end_s, duration_s + CLIP_TOLERANCE_S)):
        if at_s is not None and (at_s > most_s or (name == "begins" and at_s == most_s)):
            return f"the clip {name} at {at_s:g} s, but the video lasts {duration_s:.2f} s"
    return None
