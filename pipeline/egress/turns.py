"""Whose turn it is: one holder per key, and one video per host with pauses between them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager

from facevid.failures import FailureCode
from pipeline.egress.breaker import Breaker
from pipeline.egress.politeness import Politeness
from pipeline.egress.wire import RefusedError


class Turns:
    """One holder per key at a time; the others wait in the order in which they came."""

    def __init__(self) -> None:
        self._locks: dict[Hashable, asyncio.Lock] = {}
        self._wanted: Counter[Hashable] = Counter()

    @asynccontextmanager
    async def turn(self, key: Hashable) -> AsyncIterator[None]:
        """Wait for the turn, and hold it in the block."""
        lock = self._locks.setdefault(key, asyncio.Lock())
        self._wanted[key] += 1
        try:
            async with lock:
                yield
        finally:
            self._wanted[key] -= 1
            if not self._wanted[key]:
                del self._wanted[key], self._locks[key]


class Hosts:
    """Paces the videos of each host; the clock and the sleeper are the tests' to replace.

    Args:
        politeness: The profile.
        clock: Monotonic seconds.
        sleep: Waits for seconds.
        draw: Random numbers in [0, 1).
    """

    def __init__(
        self,
        politeness: Politeness,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        draw: Callable[[], float],
    ) -> None:
        self._politeness = politeness
        self._clock, self._sleep, self._draw = clock, sleep, draw
        self._turns = Turns()
        self._breakers: dict[str, Breaker] = {}
        self._free_s: dict[str, float] = {}

    @asynccontextmanager
    async def video(self, host: str) -> AsyncIterator[None]:
        """Wait until a video of this host may be begun; the block is the video.

        Raises:
            RefusedError: `rate_limited`: the host is being left alone for a time.
        """
        async with self._turns.turn(host):
            self._require_closed(host)
            if (wait_s := self._free_s.get(host, float("-inf")) - self._clock()) > 0:
                await self._sleep(wait_s)
            try:
                yield
            finally:
                self._free_s[host] = self._clock() + self._politeness.next_pause_s(self._draw)

    def record(self, host: str, code: FailureCode | None) -> None:
        """Note how a video of this host ended; call it inside the block."""
        self._breakers.setdefault(host, Breaker(self._politeness)).record(code, self._clock())

    def _require_closed(self, host: str) -> None:
        breaker = self._breakers.get(host)
        if breaker is not None and (rest_s := breaker.rest_s(self._clock())):
            raise RefusedError(
                FailureCode.RATE_LIMITED,
                f"{host} refused too many of its latest videos (429, login or bot check) and is left alone for a time; "
                "try rate_limited again later",
                rest_s=rest_s,
            )
