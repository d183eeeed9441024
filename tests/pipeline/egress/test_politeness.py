from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import FetchOptions
from pipeline.egress.politeness import PROFILES

POLITE = PROFILES["polite"]
TRIES = replace(POLITE, attempts=50, backoff_s=4.0, longest_backoff_s=100.0)


def test_the_polite_profile_pauses_between_5_and_10_seconds() -> None:
    assert POLITE.next_pause_s(lambda: 0.0) == 5.0
    assert POLITE.next_pause_s(lambda: 1.0) == 10.0
    assert POLITE.mean_pause_s == 7.5


def test_back_off_doubles_around_its_mean() -> None:
    assert [TRIES.next_backoff_s(tried, None, lambda: 0.5) for tried in (1, 2, 3)] == [4.0, 8.0, 16.0]
    assert TRIES.next_backoff_s(1, None, lambda: 0.0) == 2.0


@given(st.integers(1, 49), st.floats(0, 1, exclude_max=True), st.none() | st.floats(0, 100))
def test_back_off_is_bounded_and_never_shorter_than_asked(tried: int, drawn: float, asked_s: float | None) -> None:
    pause_s = TRIES.next_backoff_s(tried, asked_s, lambda: drawn)

    assert pause_s is not None
    assert (asked_s or 2.0) <= pause_s <= 100.0


def test_a_server_that_asks_for_too_much_and_too_many_tries_end_it() -> None:
    assert TRIES.next_backoff_s(1, 100.5, lambda: 0.0) is None
    assert TRIES.next_backoff_s(50, None, lambda: 0.0) is None
    assert TRIES.next_backoff_s(49, 100.0, lambda: 0.0) == 100.0


def test_options_change_the_profile() -> None:
    assert FetchOptions().courtesy == POLITE
    changed = FetchOptions(politeness="fast", pause_s=3.0, attempts=1).courtesy
    assert changed == replace(PROFILES["fast"], pause_s=3.0, pause_spread_s=0.0, attempts=1)
    with pytest.raises(ValueError, match=r"attempts=0 must be at least 1"):
        FetchOptions(attempts=0)
    with pytest.raises(ValueError, match=r"pause_s=-1.0"):
        FetchOptions(pause_s=-1.0)
