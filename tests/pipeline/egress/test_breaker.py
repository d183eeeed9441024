from dataclasses import replace

from facevid.failures import FailureCode
from pipeline.egress.breaker import Breaker
from pipeline.egress.politeness import PROFILES

POLITENESS = replace(PROFILES["polite"], breaker_videos=4, breaker_share=0.5, breaker_rest_s=100.0)
BOT = FailureCode.LOGIN_REQUIRED
BUSY = FailureCode.RATE_LIMITED


def breaker(*codes: FailureCode | None) -> Breaker:
    made = Breaker(POLITENESS)
    for code in codes:
        made.record(code, 0.0)
    return made


def test_it_opens_at_its_share_of_refusals_and_not_before() -> None:
    assert not breaker(BUSY, None, None, None).rest_s(0.0)
    assert breaker(BUSY, None, None, BOT).rest_s(0.0)
    assert breaker(BUSY, BUSY).rest_s(0.0)


def test_only_its_latest_videos_count() -> None:
    assert not breaker(BUSY, None, None, None, None, BUSY).rest_s(0.0)


def test_what_is_said_of_a_video_does_not_open_it() -> None:
    others = set(FailureCode) - {BUSY, BOT}

    assert not breaker(*others).rest_s(0.0)


def test_after_its_rest_one_success_closes_it() -> None:
    made = breaker(BUSY, BUSY)
    assert made.rest_s(99.0)
    assert not made.rest_s(100.0)

    made.record(None, 101.0)
    made.record(BUSY, 102.0)

    assert not made.rest_s(102.0)


def test_a_trial_that_fails_doubles_the_rest_up_to_eight_times() -> None:
    made = breaker(BUSY, BUSY)
    now_s, rests_s = 100.0, []
    for _ in range(5):
        made.record(BOT, now_s)
        rest_s = next(rest_s for rest_s in (100.0, 200.0, 400.0, 800.0, 1600.0) if not made.rest_s(now_s + rest_s))
        rests_s.append(rest_s)
        now_s += rest_s

    assert rests_s == [200.0, 400.0, 800.0, 800.0, 800.0]


def test_a_trial_that_ends_in_another_way_closes_it() -> None:
    made = breaker(BUSY, BUSY)

    made.record(FailureCode.NOT_FOUND, 100.0)

    assert not made.rest_s(100.0)
