"""Downloads that are tried again, and gone on with."""

import http.server
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fetching import DATA, failure_of, fetcher
from loopback import Loopback

from facevid.failures import FailureCode, Stage
from pipeline.egress.politeness import PROFILES
from pipeline.fetch_errors import FetchError, retry_after_s
from pipeline.store import Store

pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"), pytest.mark.usefixtures("fetching"),
]  # fmt: skip
FINE = (200, {}, DATA)


def partials(folder: Path) -> list[Path]:
    return list((folder / "store" / "partial").glob("*/*/video.bin.part"))


def ranged(
    data: Callable[[], bytes], *, etag: Callable[[], str] | None, cuts: int, ranges: bool = True
) -> Callable[[http.server.BaseHTTPRequestHandler], None]:
    """Serves ranges as RFC 9110 says, and breaks off in the middle of the first answers with a body that is read."""
    left = [cuts]

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        body, begin, status = data(), 0, 200
        version = etag() if etag else None
        asked = request.headers.get("Range")
        if ranges and asked and request.headers.get("If-Range", version) == version:
            begin, status = int(asked.removeprefix("bytes=").rstrip("-")), 206
        request.send_response(status)
        request.send_header("Content-Type", "video/mp4")
        request.send_header("Content-Length", str(len(body) - begin))
        if version:
            request.send_header("ETag", version)
        if status == 206:
            request.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
        request.end_headers()
        broken = left[0] > 0
        left[0] -= 1
        request.wfile.write(body[begin : begin + (len(body) - begin) // 2] if broken else body[begin:])
        request.close_connection = True

    return answer


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again_with_growing_pauses(tmp_path: Path, server: Loopback, status: int) -> None:
    slept: list[float] = []
    url = server.answer("a.mp4", (status, {}, b""), (status, {}, b""), FINE)

    assert fetcher(tmp_path, attempts=3, slept=slept).fetch(url).bytes == len(DATA)
    assert slept == [pytest.approx(0.1), pytest.approx(0.2)]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451, 501])
def test_what_will_not_pass_is_asked_for_once(tmp_path: Path, server: Loopback, status: int) -> None:
    error = failure_of(tmp_path, server.answer("a.mp4", (status, {}, b"")), attempts=3, slept=[])

    assert len(server.requests) == error.attempts == 1


def test_the_tries_of_a_failure_are_counted_on_over_builds(tmp_path: Path, server: Loopback) -> None:
    url = server.answer("a.mp4", (503, {}, b""))
    error = failure_of(tmp_path, url, attempts=3, slept=[])
    store = Store(tmp_path / "store")

    assert (error.code, error.attempts) == (FailureCode.NETWORK, 3)
    for expected in (3, 6):
        store.commit_failure(Stage.FETCH, "k", error.code, error.message, attempts=error.attempts)
        recorded = store.failure("fetch", "k")
        assert recorded is not None
        assert recorded.attempt == expected
        store.forget("fetch", "k")


def test_a_server_is_given_the_time_that_it_asks_for(tmp_path: Path, server: Loopback) -> None:
    slept: list[float] = []
    url = server.answer("a.mp4", (429, {"Retry-After": "2"}, b""), FINE)

    fetcher(tmp_path, attempts=3, slept=slept).fetch(url)

    assert slept == [2.0]


def test_a_server_that_asks_for_more_time_than_is_bearable_is_left_alone(tmp_path: Path, server: Loopback) -> None:
    error = failure_of(tmp_path, server.answer("a.mp4", (429, {"Retry-After": "3600"}, b"")), attempts=3, slept=[])

    assert (error.code, error.attempts) == (FailureCode.RATE_LIMITED, 1)


def test_a_host_that_refuses_its_videos_is_asked_for_no_more_of_them(
    tmp_path: Path, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = replace(PROFILES["fast"], breaker_videos=2, breaker_share=1.0, breaker_rest_s=1000.0)
    monkeypatch.setattr("pipeline.config.PROFILES", {"polite": PROFILES["polite"], "fast": strict})
    url = server.answer("a.mp4", (429, {}, b""))
    strained = fetcher(tmp_path)

    for _ in range(3):
        with pytest.raises(FetchError) as caught:
            strained.fetch(url)
        assert caught.value.code is FailureCode.RATE_LIMITED

    assert "is left alone for a time; try rate_limited again later" in caught.value.message
    assert len(server.requests) == 2


@pytest.mark.parametrize(("value", "seconds"), [
    ("120", 120.0), (" 0 ", 0.0), ("Sun, 22 Nov 2026 12:00:30 GMT", 30.0), ("Sun, 22 Nov 2026 11:00:00 GMT", 0.0),
    ("Sun, 22 Nov 2026 12:00:30", 30.0), ("soon", None), ("-5", None), ("1.5", None), ("", None), (None, None),
    ("\u0661", None), ("9" * 40, 999999999999.0), ("Sun, 99 Nov 2026 99:00:00 GMT", None),
    (f"Sun, 22 Nov {'9' * 20} 12:00:00 GMT", None), (f"Sun, 22 Nov 2026 12:00:00 +{'9' * 20}", None),
])  # fmt: skip
def test_retry_after_is_a_number_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after_s(value, now=datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)) == seconds


def test_a_file_that_broke_off_is_gone_on_with(tmp_path: Path, server: Loopback) -> None:
    url = server.route("a.mp4", ranged(lambda: DATA, etag=lambda: '"1"', cuts=2))

    video = fetcher(tmp_path, attempts=3, slept=[]).fetch(url)

    assert video.path.read_bytes() == DATA
    resumed = [headers for headers in server.headers if "Range" in headers]
    assert [(headers["Range"], headers["If-Range"]) for headers in resumed] == [(f"bytes={len(DATA) // 2}-", '"1"')]
    assert partials(tmp_path) == []


def test_the_next_build_goes_on_where_the_last_one_broke_off(tmp_path: Path, server: Loopback) -> None:
    url = server.route("a.mp4", ranged(lambda: DATA, etag=lambda: '"1"', cuts=2))

    assert failure_of(tmp_path, url).code is FailureCode.NETWORK
    assert [path.stat().st_size for path in partials(tmp_path)] == [len(DATA) // 2]
    assert fetcher(tmp_path).fetch(url).path.read_bytes() == DATA
    assert [headers.get("Range") for headers in server.headers][-1] == f"bytes={len(DATA) // 2}-"


def test_a_file_that_changed_meanwhile_is_had_whole(tmp_path: Path, server: Loopback) -> None:
    versions = ['"1"', '"1"', '"2"']
    files = [DATA, DATA, DATA[::-1]]
    place = iter([0, 1, 2])
    now = [0]

    def step() -> bytes:
        now[0] = next(place)
        return files[now[0]]

    url = server.route("a.mp4", ranged(step, etag=lambda: versions[now[0]], cuts=2))

    assert fetcher(tmp_path, attempts=3, slept=[]).fetch(url).path.read_bytes() == DATA[::-1]


@pytest.mark.parametrize(("etag", "ranges"), [(None, True), ('"1"', False)])
def test_without_versions_or_ranges_a_file_is_begun_anew(
    tmp_path: Path, server: Loopback, etag: str | None, ranges: bool
) -> None:
    version = (lambda: etag) if etag else None
    url = server.route("a.mp4", ranged(lambda: DATA, etag=version, cuts=1, ranges=ranges))

    assert fetcher(tmp_path, attempts=3, slept=[]).fetch(url).path.read_bytes() == DATA
    assert any("Range" in headers for headers in server.headers) is (etag is not None)


def test_bytes_of_two_files_are_never_joined(tmp_path: Path, server: Loopback) -> None:
    """A server that takes no notice of If-Range goes on with a file that is another one now."""
    files = [DATA, DATA, DATA[::-1] + b"longer", DATA[::-1] + b"longer"]
    url = server.route("a.mp4", ranged(lambda: files.pop(0), etag=lambda: '"always"', cuts=2))

    assert fetcher(tmp_path, attempts=4, slept=[]).fetch(url).path.read_bytes() == DATA[::-1] + b"longer"


def test_what_will_not_come_leaves_no_part_behind(tmp_path: Path, server: Loopback) -> None:
    url = server.route("a.mp4", ranged(lambda: DATA, etag=lambda: '"1"', cuts=2))
    failure_of(tmp_path, url)
    assert partials(tmp_path) != []

    server.answer("a.mp4", (404, {}, b""))

    assert failure_of(tmp_path, url).code is FailureCode.NOT_FOUND
    assert list((tmp_path / "store" / "partial").glob("*/*")) == []
