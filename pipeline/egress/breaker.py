"""When a host is left alone: a circuit breaker over the outcomes of its videos."""

import math
from collections import deque

from facevid.failures import FailureCode
from pipeline.egress.politeness import Politeness

# What a host says to a visitor rather than of a video. Not 403: stores of files say that of files they do not have.
REFUSALS = frozenset({FailureCode.RATE_LIMITED, FailureCode.LOGIN_REQUIRED})

_LONGEST_REST = 8  # times the first one


class Breaker:
    """One host's breaker: closed, open for a time, then half open until one video has been tried.

    Args:
        politeness: The profile.
    """

    def __init__(self, politeness: Politeness) -> None:
        self._first_rest_s = self._rest_s = politeness.breaker_rest_s
        self._refused: deque[bool] = deque(maxlen=politeness.breaker_videos)
        self._enough = math.ceil(politeness.breaker_share * politeness.breaker_videos)
        self._open_until_s: float | None = None

    def rest_s(self, now_s: float) -> float:
        """For how long the host is to be left alone from now on, seconds; 0 where it is not."""
        return 0.0 if self._open_until_s is None else max(0.0, self._open_until_s - now_s)

    def record(self, code: FailureCode | None, now_s: float) -> None:
        """Note how a video ended: its failure code, or None where it was had."""
        refused = code in REFUSALS
        self._refused.append(refused)
        if self._open_until_s is not None:  # half open: this was the trial
            if refused:
                self._rest_s = min(self._rest_s * 2, self._first_rest_s * _LONGEST_REST)
                self._open_until_s = now_s + self._rest_s
            else:
                self._refused.clear()
                self._rest_s, self._open_until_s = self._first_rest_s, None
        elif sum(self._refused) >= self._enough:
            self._open_until_s = now_s + self._rest_s
