"""How hosts are treated, as data: pauses, tries, and when a host is left alone. Standard library only."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

PolitenessName = Literal["polite", "fast"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Politeness:
    """What one host may be asked for. Over all workers: one video, and one connection, at a time.

    Attributes:
        pause_s: Shortest pause between two videos from one host.
        pause_spread_s: Up to this much is added to each pause, evenly distributed.
        attempts: Tries per video; only what may pass (429, 5xx, broken connections, silence) is tried again.
        backoff_s: Mean pause before the second try; it doubles with each further one.
        longest_backoff_s: No pause before a try is longer. A server that asks for more (Retry-After) is left alone.
        leave_s: A server that is left in the middle of an answer gets this long to notice, before the next connection.
        breaker_videos: A host is judged by this many of its latest videos.
        breaker_share: The host is left alone once this share of them was refused (429, login or bot check).
        breaker_rest_s: For so long; then one video is tried, and if it is refused too, twice as long.
    """

    pause_s: float
    pause_spread_s: float
    attempts: int
    backoff_s: float
    longest_backoff_s: float
    leave_s: float
    breaker_videos: int
    breaker_share: float
    breaker_rest_s: float

    @property
    def mean_pause_s(self) -> float:
        """The pause between two videos from one host to be reckoned with, seconds."""
        return self.pause_s + self.pause_spread_s / 2

    def next_pause_s(self, draw: Callable[[], float]) -> float:
        """A pause between two videos; `draw` gives numbers in [0, 1)."""
        return self.pause_s + self.pause_spread_s * draw()

    def next_backoff_s(self, tried: int, asked_s: float | None, draw: Callable[[], float]) -> float | None:
        """The pause before a further try ("equal jitter": half of it is fixed, half is drawn).

        Args:
            tried: Tries so far, at least 1.
            asked_s: What the server asked for (Retry-After), or None.
            draw: Gives numbers in [0, 1).

        Returns:
            Seconds, or None where there must be no further try now.
        """
        if tried >= self.attempts or (asked_s is not None and asked_s > self.longest_backoff_s):
            return None
        # 2.0**tried would overflow for a very patient user long after the bound is reached.
        mean_s = min(self.backoff_s * 2.0 ** min(tried - 1, 60), self.longest_backoff_s / 1.5)
        return max(mean_s * (0.5 + draw()), asked_s or 0.0)


PROFILES: Mapping[PolitenessName, Politeness] = MappingProxyType({
    # Guests of the largest video site are asked for 5 to 10 s between videos (yt-dlp's wiki), about 300 an hour.
    "polite": Politeness(
        pause_s=5.0, pause_spread_s=5.0, attempts=4, backoff_s=5.0, longest_backoff_s=120.0, leave_s=1.0,
        breaker_videos=10, breaker_share=0.5, breaker_rest_s=600.0,
    ),
    "fast": Politeness(
        pause_s=0.0, pause_spread_s=0.0, attempts=3, backoff_s=0.1, longest_backoff_s=2.0, leave_s=0.2,
        breaker_videos=20, breaker_share=0.9, breaker_rest_s=5.0,
    ),
})  # fmt: skip
