"""Fetchers with a proxy of their own; the fixture `fetching` ends the proxies after each test."""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from facevid.failures import FailureCode
from pipeline.addresses import is_public
from pipeline.config import FetchOptions
from pipeline.egress.service import egress_rules, running_egress
from pipeline.fetch import Fetcher
from pipeline.fetch_errors import FetchError
from pipeline.store import Store

DATA = bytes(range(256)) * 400

_proxies = ExitStack()


@contextmanager
def ended_proxies() -> Iterator[None]:
    gc.freeze()  # what was there before need not be looked at: that would take longer than most tests
    try:
        with _proxies:
            yield
        # yt-dlp leaves sockets of refused answers to the garbage collector.
        gc.collect()
    finally:
        gc.unfreeze()


def fetcher(
    folder: Path, *, judge: Callable[[str], bool] = is_public, slept: list[float] | None = None, **options: Any
) -> Fetcher:
    chosen = FetchOptions(
        **{"allow_private": True, "timeout_s": 5.0, "politeness": "fast", "attempts": 1} | options
    )
    store = Store(folder / "store")
    egress = _proxies.enter_context(running_egress(egress_rules(chosen, judge=judge), log=folder / "egress.jsonl"))
    sleep = time.sleep if slept is None else slept.append
    return Fetcher(chosen, store, folder, egress=egress, sleep=sleep, draw=lambda: 0.5)


def failure_of(folder: Path, url: str, **options: Any) -> FetchError:
    with pytest.raises(FetchError) as caught:
        fetcher(folder, **options).fetch(url)
    assert caught.value.message
    assert "\n" not in caught.value.message
    assert list((folder / "store").glob("tmp/*")) == []
    return caught.value


def code_of(folder: Path, url: str, **options: Any) -> FailureCode:
    return failure_of(folder, url, **options).code
