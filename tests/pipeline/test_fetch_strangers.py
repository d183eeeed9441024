"""What servers and pages of strangers do to a fetch, and what they must not be able to do."""

import contextlib
import gzip
import http.server
import json
import os
import socket
import ssl
import subprocess
import threading
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fetching import DATA, code_of, failure_of, fetcher
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loopback import Loopback

from facevid.failures import FailureCode
from pipeline.download import bodies
from pipeline.egress.seal import SealError, sealed, unsealed
from pipeline.fetch_errors import FetchError

pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"), pytest.mark.usefixtures("fetching"),
]  # fmt: skip
COOKIES = "# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tsession\ts3cret\n"


def page(server: Loopback) -> bytes:
    return f'<html><body><video src="{server.serve("clip.mp4", DATA)}"></video></body></html>'.encode()


def broken_off(body: bytes, **headers: str) -> Callable[[http.server.BaseHTTPRequestHandler], None]:
    """Sends no length and breaks off, as a process that dies does."""

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\n")
        for name, value in headers.items():
            request.wfile.write(f"{name.replace('_', '-')}: {value}\r\n".encode())
        request.wfile.write(b"\r\n" + body)
        request.wfile.flush()
        request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        request.close_connection = True
        request.connection.close()

    return answer


@pytest.mark.parametrize(("kind", "headers"), [
    ("video/mp4", {"X-Robots-Tag": "noai"}), ("text/html", {"X-Robots-Tag": "nofollow, noindex"}),
    ("text/html", {"TDM-Reservation": "1"}),
])  # fmt: skip
def test_what_its_server_reserves_is_not_fetched_unless_told(
    tmp_path: Path, server: Loopback, kind: str, headers: dict[str, str]
) -> None:
    body = page(server) if kind == "text/html" else DATA
    url = server.answer("x", (200, headers, body), kind=kind)

    error = failure_of(tmp_path, url)

    assert error.code is FailureCode.OPT_OUT
    assert "its server reserves it (" in error.message
    assert fetcher(tmp_path, ignore_opt_out=True).fetch(url).bytes == len(DATA)


def test_a_file_may_be_reserved_where_its_page_is_not(tmp_path: Path, server: Loopback) -> None:
    body = page(server)
    server.answer("clip.mp4", (200, {"X-Robots-Tag": "facevid: noai"}, DATA))

    assert code_of(tmp_path, server.serve("page", body, "text/html")) is FailureCode.OPT_OUT
    assert not (tmp_path / "store" / "videos").exists()


@pytest.mark.parametrize(("coding", "pack"), [
    ("gzip", gzip.compress), ("deflate", zlib.compress), ("deflate", lambda data: zlib.compress(data)[2:-4]),
    ("gzip", lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:])),
    ("gzip", lambda data: gzip.compress(data) + b"junk"),
    ("x-gzip", gzip.compress), ("gzip, gzip", lambda data: gzip.compress(gzip.compress(data))), ("", bytes),
    ("utf-8", bytes),
])  # fmt: skip
def test_pages_may_come_compressed(
    tmp_path: Path, server: Loopback, coding: str, pack: Callable[[bytes], bytes]
) -> None:
    url = server.answer("x", (200, {"Content-Encoding": coding}, pack(page(server))), kind="text/html")

    assert fetcher(tmp_path).fetch(url).bytes == len(DATA)


def test_a_bomb_of_many_members_is_too_large(
    tmp_path: Path, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "LARGEST_PAGE_BYTES", 1_000_000)
    bomb = gzip.compress(b" " * 10_000) * 1000
    url = server.answer("x", (200, {"Content-Encoding": "gzip"}, bomb), kind="text/html")

    assert code_of(tmp_path, url) is FailureCode.TOO_LARGE


def test_a_page_of_members_without_content_is_too_large(tmp_path: Path, server: Loopback) -> None:
    # Each copied what follows it: the time grew with the square of their number, to hours for a page that is allowed.
    url = server.answer("x", (200, {"Content-Encoding": "gzip"}, gzip.compress(b"") * 100_000), kind="text/html")

    assert code_of(tmp_path, url, timeout_s=10.0) is FailureCode.TOO_LARGE


def test_a_body_in_many_codings_is_a_network_failure(tmp_path: Path, server: Loopback) -> None:
    body = page(server)
    for _ in range(4):
        body = gzip.compress(body)
    url = server.answer("x", (200, {"Content-Encoding": ", ".join(["gzip"] * 4)}, body), kind="text/html")

    assert code_of(tmp_path, url) is FailureCode.NETWORK


@pytest.mark.parametrize("levels", [1, 2])
def test_a_page_that_unpacks_to_more_than_pages_have_is_too_large(
    tmp_path: Path, server: Loopback, monkeypatch: pytest.MonkeyPatch, levels: int
) -> None:
    monkeypatch.setattr(bodies, "LARGEST_PAGE_BYTES", 1_000_000)
    bomb = b"\0" * 50_000_000
    for _ in range(levels):
        bomb = gzip.compress(bomb, 1)
    url = server.answer("x", (200, {"Content-Encoding": ", ".join(["gzip"] * levels)}, bomb), kind="text/html")

    assert code_of(tmp_path, url) is FailureCode.TOO_LARGE


def test_a_length_beside_chunks_does_not_bound_a_page(
    tmp_path: Path, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "LARGEST_PAGE_BYTES", 100_000)
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in [b"<p>" * 10_000] * 20) + b"0\r\n\r\n"
    headers = {"Content-Length": "10", "Transfer-Encoding": "chunked"}
    url = server.answer("x", (200, headers, chunks), kind="text/html")

    assert code_of(tmp_path, url) is FailureCode.TOO_LARGE


@pytest.mark.parametrize(
    "body", [b"this is no gzip", gzip.compress(b"<html>" * 1000)[:-20]], ids=["plain text", "cut off"]
)
def test_a_page_that_does_not_unpack_is_a_network_failure(tmp_path: Path, server: Loopback, body: bytes) -> None:
    url = server.answer("x", (200, {"Content-Encoding": "gzip"}, body), kind="text/html")

    assert code_of(tmp_path, url) is FailureCode.NETWORK


@pytest.mark.parametrize("headers", [
    {"Content-Length": "many"}, {"Content-Length": "-5"}, {"Content-Length": "9" * 5000}, {"X": "y" * 70_000},
    {f"X-{number}": "y" for number in range(200)},
])  # fmt: skip
def test_headers_that_nobody_sends_are_network_failures(
    tmp_path: Path, server: Loopback, headers: dict[str, str]
) -> None:
    assert code_of(tmp_path, server.answer("a.mp4", (200, headers, DATA))) is FailureCode.NETWORK


def test_a_body_without_a_length_that_breaks_off_is_not_taken_for_whole(tmp_path: Path, server: Loopback) -> None:
    assert code_of(tmp_path, server.route("a.mp4", broken_off(DATA))) is FailureCode.NETWORK
    chunk = b"%x\r\n%s\r\n" % (len(DATA), DATA)
    chunked = server.route("b.mp4", broken_off(chunk, Transfer_Encoding="chunked"))
    assert code_of(tmp_path, chunked) is FailureCode.NETWORK
    assert not (tmp_path / "store" / "videos").exists()


def test_a_server_that_does_not_begin_to_answer_is_timed_out(tmp_path: Path, server: Loopback) -> None:
    url = server.route("a.mp4", lambda _: server.released.wait() and None)

    assert code_of(tmp_path, url, timeout_s=0.5) is FailureCode.TIMEOUT


def test_a_server_that_trickles_for_longer_than_max_fetch_s_is_timed_out(tmp_path: Path, server: Loopback) -> None:
    def trickle(request: http.server.BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: 100000\r\n\r\n")
        while not server.released.wait(0.01):
            request.wfile.write(b"x")

    error = failure_of(tmp_path, server.route("a.mp4", trickle), max_fetch_s=0.5, attempts=3, slept=[])

    assert (error.code, error.attempts) == (FailureCode.TIMEOUT, 1)
    assert "max_fetch_s" in error.message


def test_a_circle_of_redirects_ends(tmp_path: Path, server: Loopback) -> None:
    url = server.answer("a.mp4", (302, {"Location": "/a.mp4"}, b""))

    error = failure_of(tmp_path, url, attempts=3, slept=[])

    assert (error.code, error.attempts) == (FailureCode.NETWORK, 1)
    assert "in a circle" in error.message
    assert len(server.requests) < 25


def test_a_playlist_of_segments_is_one_video_and_its_private_ones_are_refused(tmp_path: Path, server: Loopback) -> None:
    def playlist(name: str, *segments: str) -> str:
        lines = "".join(f"#EXTINF:1,\n{segment}\n" for segment in segments)
        text = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-PLAYLIST-TYPE:VOD\n{lines}#EXT-X-ENDLIST\n"
        return server.serve(name, text.encode(), "application/vnd.apple.mpegurl")

    server.serve("1.ts", DATA)
    server.serve("2.ts", DATA)
    inside = server.address.replace("127.0.0.1", "127.0.0.2")
    guarded = {"allow_private": False, "judge": lambda address: address == "127.0.0.1"}

    video = fetcher(tmp_path, **guarded).fetch(playlist("good.m3u8", "1.ts", "/2.ts"))
    assert video.path.read_bytes() == DATA + DATA
    code = code_of(tmp_path, playlist("bad.m3u8", "1.ts", f"{inside}/2.ts"), **guarded)
    assert code is FailureCode.UNSAFE_ADDRESS


@contextlib.contextmanager
def tls_server(folder: Path) -> Iterator[int]:
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
         "-subj", "/CN=localhost", "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    made, _ = listener.accept()
                except OSError:
                    return
                try:
                    with made, context.wrap_socket(made, server_side=True):
                        pass
                except OSError:
                    continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_certificate_of_nobody_is_a_network_failure_that_is_not_tried_again(tmp_path: Path) -> None:
    with tls_server(tmp_path) as port:
        error = failure_of(tmp_path, f"https://localhost:{port}/a.mp4", attempts=3, slept=[])

    assert (error.code, error.attempts) == (FailureCode.NETWORK, 1)
    assert "certificate" in error.message.lower()


def test_a_server_that_speaks_no_tls_is_a_network_failure(tmp_path: Path, server: Loopback) -> None:
    assert code_of(tmp_path, server.address.replace("http:", "https:") + "/a.mp4") is FailureCode.NETWORK


def test_a_file_much_shorter_than_its_source_says_is_not_taken(tmp_path: Path, server: Loopback, clip: bytes) -> None:
    def url(duration: str) -> str:
        about = {"@context": "https://schema.org", "@type": "VideoObject", "name": "x", "duration": duration}
        told = json.dumps(about | {"contentUrl": server.serve("clip.mp4", clip)})
        return server.serve("page", f'<script type="application/ld+json">{told}</script><html>'.encode(), "text/html")

    error = failure_of(tmp_path, url("PT60S"))

    assert error.code is FailureCode.NETWORK
    assert "lasts 2.0 s where its source says 60.0 s" in error.message
    assert fetcher(tmp_path).fetch(url("PT3S")).duration_s == 3.0


def test_cookies_go_to_their_host_alone_and_nowhere_else(tmp_path: Path, server: Loopback) -> None:
    cookies = tmp_path / "cookies.txt"
    cookies.write_text(COOKIES)
    server.answer("a.mp4", (200, {"Set-Cookie": "new=1; Max-Age=999"}, DATA))
    other = server.address.replace("127.0.0.1", "127.0.0.2")
    body = f'<html><body><video src="{other}/b.mp4"></video></body></html>'.encode()
    server.serve("b.mp4", DATA)

    fetcher(tmp_path, cookies=cookies).fetch(f"{server.address}/a.mp4")
    # Nobody listens there; what counts is what would be said.
    assert code_of(tmp_path, server.serve("page", body, "text/html"), cookies=cookies) is FailureCode.NETWORK
    fetcher(tmp_path, user_agent="FaceVid test").fetch(f"{server.address}/a.mp4")

    sent = [headers.get("Cookie", "") for headers in server.headers]
    assert ["s3cret" in cookie for cookie in sent] == [True, True, False]
    assert {headers["User-Agent"] for headers in server.headers[-1:]} == {"FaceVid test"}
    assert cookies.read_text() == COOKIES
    cookies.unlink()
    kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert kept
    assert not any(b"s3cret" in data for data in kept)


@pytest.mark.parametrize("bad", [
    lambda *_, **__: socket.create_connection(("127.0.0.1", 9)),
    lambda *_, **__: urllib.request.urlopen("http://127.0.0.1:9/"),
    lambda *_, **__: socket.getaddrinfo("example.org", 80),
    lambda *_, **__: subprocess.run(["/bin/true"], check=True),
    lambda *_, **__: os.system("/bin/true"),  # noqa: S605
    lambda *_, **__: os.posix_spawn("/bin/true", ["true"], {}),
])  # fmt: skip
def test_an_extractor_that_goes_past_our_handler_gets_nowhere(
    tmp_path: Path, server: Loopback, monkeypatch: pytest.MonkeyPatch, bad: Callable[..., Any]
) -> None:
    monkeypatch.setattr("yt_dlp.extractor.generic.GenericIE._real_extract", bad)

    error = failure_of(tmp_path, server.serve("a.mp4", DATA))

    assert error.code is FailureCode.UNSUPPORTED_FORMAT
    assert "is not permitted" in error.message
    assert server.requests == []


def test_the_seal_is_on_one_thread_and_comes_off() -> None:
    def permitted() -> bool:
        try:
            socket.getaddrinfo("127.0.0.1", 80)
        except SealError:
            return False
        return True

    seen: list[bool] = []
    with ThreadPoolExecutor(1) as other, sealed():
        seen.append(permitted())
        with unsealed():
            seen.append(other.submit(permitted).result())
        with unsealed():
            seen.append(permitted())
        seen.append(permitted())
    seen.append(permitted())

    assert seen == [False, True, True, False, True]


@pytest.mark.parametrize("where", [
    "pipeline.download.ytdlp.choose_format", "pipeline.download.handler.reserved",
    "pipeline.download.handler.read_bounded",
])  # fmt: skip
@pytest.mark.parametrize("kind", [KeyError, TypeError, AttributeError, ValueError, RuntimeError])
def test_a_mistake_of_our_own_is_not_taken_for_a_pages_fault(
    tmp_path: Path, server: Loopback, monkeypatch: pytest.MonkeyPatch, where: str, kind: type[Exception]
) -> None:
    def mistake(*_: Any, **__: Any) -> Any:
        raise kind("ours")

    mistake.__globals__["__name__"], before = "pipeline.x", mistake.__globals__["__name__"]
    monkeypatch.setattr(where, mistake)
    try:
        with pytest.raises(kind, match="ours"):
            fetcher(tmp_path).fetch(server.serve("a.mp4", DATA))
    finally:
        mistake.__globals__["__name__"] = before


_SNIPPETS = st.sampled_from([
    b"<html>", b"<video src=", b'"/a.mp4"', b'"file:///etc/passwd"', b"></video>", b"#EXTM3U\n", b"#EXTINF:1,\n",
    b"#EXT-X-KEY:METHOD=AES-128,URI=\"file:///etc/passwd\"\n", b"<?xml version='1.0'?>", b"<rss><channel><item>",
    b"<MPD>", b'<script type="application/ld+json">', b'{"@type": "VideoObject", "contentUrl": ', b"</script>", b"\0",
    b"<meta property='og:video' content='http://[::1'>", b"\xff\xfe", b"<iframe src='//127.0.0.1:1/embed'>", b"1e999",
    b"<!DOCTYPE x [<!ENTITY a '&b;'>]>", b"null", b"}", b"\n",
])  # fmt: skip
_KINDS = st.sampled_from(["video/mp4", "text/html", "application/x-mpegurl", "application/dash+xml", "text/html;\xff"])
_HEADERS = st.dictionaries(
    st.sampled_from(["Content-Encoding", "X-Robots-Tag", "Retry-After", "Content-Range", "ETag", "Last-Modified",
                     "Set-Cookie", "Location", "Content-Disposition"]),
    st.sampled_from(["gzip", "deflate", "noai", "999999999999999", "bytes 5-1/x", '"a', "soon", "a=b; Domain=[",
                     "http://[", "\xe9", "attachment; filename*=utf-8''%ff", "//", ""]),
    max_size=2,
)  # fmt: skip


@settings(max_examples=25, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    status=st.sampled_from([200, 200, 200, 206, 204, 302, 416, 429, 503, 999]),
    headers=_HEADERS, kind=_KINDS, body=st.lists(_SNIPPETS | st.binary(max_size=20), max_size=8),
)  # fmt: skip
def test_whatever_a_server_answers_is_a_video_or_a_fetch_error(
    tmp_path: Path, server: Loopback, *, status: int, headers: dict[str, str], kind: str, body: list[bytes]
) -> None:
    url = server.answer("x", (status, headers, b"".join(body)), kind=kind)

    with contextlib.suppress(FetchError):
        assert fetcher(tmp_path).fetch(url).path.is_file()


def test_what_a_page_makes_us_say_holds_no_secrets_of_ours() -> None:
    error = FetchError(FailureCode.UNSUPPORTED_FORMAT, "Unsupported URL: https://x.org/" + "a" * 460 + "?token=s3cr3t")

    assert "s3cr3t" not in error.message
    assert len(error.message) == 500
    assert "?token=" in error.message
