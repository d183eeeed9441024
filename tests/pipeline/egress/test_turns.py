import asyncio
from dataclasses import replace

import pytest

from facevid.failures import FailureCode
from pipeline.egress.politeness import PROFILES, Politeness
from pipeline.egress.turns import Hosts, Turns
from pipeline.egress.wire import RefusedError

POLITE = PROFILES["polite"]


class FakeTime:
    """Time passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def clock(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
        self.now_s += seconds

    def hosts(self, politeness: Politeness = POLITE) -> Hosts:
        return Hosts(politeness, clock=self.clock, sleep=self.sleep, draw=lambda: 0.5)


def test_a_key_has_one_holder_and_those_who_wait_are_served_in_order() -> None:
    turns = Turns()
    order: list[int] = []
    holders = most = 0

    async def hold(number: int) -> None:
        nonlocal holders, most
        async with turns.turn("example.org"):
            holders += 1
            most = max(most, holders)
            order.append(number)
            await asyncio.sleep(0)
            holders -= 1

    async def run() -> None:
        await asyncio.gather(*(hold(number) for number in range(20)))

    asyncio.run(run())
    assert (most, order) == (1, list(range(20)))


def test_two_keys_do_not_wait_for_each_other() -> None:
    async def run() -> None:
        turns = Turns()
        async with turns.turn(("a", 80)), asyncio.timeout(5), turns.turn(("a", 443)):
            pass

    asyncio.run(run())


def test_who_goes_away_while_waiting_leaves_the_turn_to_the_next() -> None:
    async def run() -> None:
        turns = Turns()

        async def hold() -> None:
            async with turns.turn("a"):
                pass

        async with turns.turn("a"):
            gone, stays = asyncio.ensure_future(hold()), asyncio.ensure_future(hold())
            await asyncio.sleep(0)
            gone.cancel()
        async with asyncio.timeout(5):
            await stays

    asyncio.run(run())


def test_videos_of_one_host_keep_their_pause_whoever_asks() -> None:
    time = FakeTime()
    begun: list[float] = []

    async def run() -> None:
        hosts = time.hosts()

        async def fetch() -> None:
            async with hosts.video("example.org:443"):
                begun.append(time.now_s)
                await time.sleep(2.0)

        await asyncio.gather(*(fetch() for _ in range(3)))

    asyncio.run(run())
    # Each lasts 2 s, and 7.5 s pass from the end of one to the beginning of the next.
    assert begun == [1000.0, 1009.5, 1019.0]


def test_hosts_do_not_pause_for_each_other() -> None:
    time = FakeTime()

    async def run() -> None:
        hosts = time.hosts()
        async with hosts.video("a:443"):
            pass
        async with hosts.video("b:443"):
            assert time.now_s == 1000.0

    asyncio.run(run())


def test_a_host_that_refuses_is_left_alone_and_its_videos_fail_at_once() -> None:
    time = FakeTime()

    async def run() -> None:
        hosts = time.hosts(replace(POLITE, breaker_videos=2, breaker_share=1.0, breaker_rest_s=60.0))

        async def fetch(code: FailureCode | None) -> None:
            async with hosts.video("a:443"):
                hosts.record("a:443", code)

        await fetch(FailureCode.RATE_LIMITED)
        await fetch(FailureCode.RATE_LIMITED)
        before_s = time.now_s
        with pytest.raises(RefusedError, match="a:443 refused too many of its latest videos") as caught:
            await fetch(None)
        assert caught.value.code is FailureCode.RATE_LIMITED
        assert time.now_s == before_s
        time.now_s += 60.0
        await fetch(None)
        await fetch(FailureCode.RATE_LIMITED)

    asyncio.run(run())
