"""How far a prediction is, said every few seconds."""

import time
from collections.abc import Callable

_REPORT_EVERY_S = 5.0


class PredictionProgress:
    """Says how many are done, at what rate, and how long it will take.

    Args:
        report: Receives the lines.
        what: What is counted, in the plural.
        expected: How many there will be; None where nobody knows.
        about: Whether that is an estimate.
        clock: Monotonic seconds; tests replace it.
    """

    def __init__(
        self, report: Callable[[str], None], what: str, expected: int | None, *, about: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._report, self._what, self._expected, self._clock = report, what, expected, clock
        self._of = "" if expected is None else f" of {'about ' if about else ''}{expected}"
        self._began_s = self._said_s = clock()

    def say(self, done: int) -> None:
        """So many are done; nothing is said until the last time was long enough ago."""
        now_s = self._clock()
        if now_s - self._said_s < _REPORT_EVERY_S:
            return
        self._said_s = now_s
        rate = done / (now_s - self._began_s)
        left_s = None if self._expected is None or not done else max(0, self._expected - done) / rate
        left = "" if left_s is None else f", about {left_s:.0f} s left"
        self._report(f"predict: {done}{self._of} {self._what}, {rate:.1f}/s{left}")
