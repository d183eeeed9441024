"""A web of several sites on loopback that misbehaves on demand, behind a proxy that is the only way to it.

It speaks CONNECT, as the proxy of a company's network does: whatever address is asked for, the answer comes from here.
So addresses of the public internet can be asked without a network, builds run with the rules that hold for strangers,
and what a build asks for that it should not is seen here. The path says how to behave: `/BEHAVIOUR/NAME`.
"""

import contextlib
import functools
import gzip
import http.server
import select
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

RETRY_AFTER_S = 1
_PROMISED = 1 << 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request, as the server saw it.

    Attributes:
        site: Host and port that were asked for.
        path: With the query.
        began_s: When its first line was read, monotonic clock.
        ended_s: When its answer had been sent, or the visitor had gone.
    """

    site: str
    path: str
    began_s: float
    ended_s: float


@dataclass
class Web:
    """What is served, and what was asked.

    Attributes:
        port: Where the proxy listens on 127.0.0.1.
        files: Bytes by name.
        requests: All requests, in the order in which they ended.
        asked: How often each (site, path) was asked.
        busy: Requests that a site is answering now.
        busiest: The most that it ever did at once.
        tunnels: Every address that somebody wanted to connect to.
        released: Set at the end, so that nobody stalls for ever.
    """

    port: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    asked: defaultdict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    busy: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    busiest: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    tunnels: list[str] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60.0
    web: Web
    site = ""
    name = ""
    """What the path asks for after the behaviour."""
    times = 0
    """How often it was asked for, this time included."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def do_CONNECT(self) -> None:
        self.site = self.path
        with self.web.lock:
            self.web.tunnels.append(self.site)
        self.send_response_only(HTTPStatus.OK, "Connection established")
        self.end_headers()
        self.close_connection = False

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        site = self.site or self.headers.get("Host", "")
        began_s = time.monotonic()
        with self.web.lock:
            self.web.asked[site, self.path] += 1
            self.times = self.web.asked[site, self.path]
            self.web.busy[site] += 1
            self.web.busiest[site] = max(self.web.busiest[site], self.web.busy[site])
        try:
            behaviour, _, self.name = urlsplit(self.path).path.lstrip("/").partition("/")
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                BEHAVIOURS.get(behaviour, _status(404))(self)
        finally:
            with self.web.lock:
                self.web.busy[site] -= 1
                ended = Request(site=site, path=self.path, began_s=began_s, ended_s=time.monotonic())
                self.web.requests.append(ended)

    def head(self, status: int, *fields: tuple[str, str], length: int | None) -> None:
        """Send a head; without a length, the end of the connection is the end of the body."""
        self.send_response(status)
        for key, value in fields:
            self.send_header(key, value)
        if length is None:
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def body(self, data: bytes) -> None:
        """Send a body where one is wanted."""
        if self.command != "HEAD":
            self.wfile.write(data)
            self.wfile.flush()

    def whole(self, data: bytes, kind: str = "video/mp4", *fields: tuple[str, str]) -> None:
        """Send all of something, as one should."""
        self.head(200, ("Content-Type", kind), *fields, length=len(data))
        self.body(data)


Behaviour = Callable[[_Handler], None]


def _file(request: _Handler) -> None:
    request.whole(request.web.files[request.name])


def _status(code: int, *fields: tuple[str, str]) -> Behaviour:
    return lambda request: request.head(code, *fields, length=0)


def _at_first(bad: Behaviour) -> Behaviour:
    return lambda request: (_file if request.times > 1 else bad)(request)


def _stall(request: _Handler) -> None:
    request.head(200, ("Content-Type", "video/mp4"), length=_PROMISED)
    request.body(request.web.files[request.name][:2000])
    _until_gone(request)


def _never(request: _Handler) -> None:
    _until_gone(request)


def _until_gone(request: _Handler) -> None:
    """Say nothing until the visitor has enough of it."""
    poll = select.poll()
    poll.register(request.connection, select.POLLRDHUP)
    while not poll.poll(100) and not request.web.released.is_set():
        pass
    request.close_connection = True


def _late(request: _Handler) -> None:
    request.web.released.wait(1.0)
    request.whole(request.web.files[request.name])


def _cut(request: _Handler) -> None:
    data = request.web.files[request.name]
    request.head(200, ("Content-Type", "video/mp4"), length=len(data))
    request.body(data[: len(data) // 2])
    request.close_connection = True


def _promises_less(request: _Handler) -> None:
    data = request.web.files[request.name]
    request.head(200, ("Content-Type", "video/mp4"), length=len(data) // 2)
    request.body(data)
    request.close_connection = True


def _endless(request: _Handler) -> None:
    request.head(200, ("Content-Type", "video/mp4"), length=None)
    while not request.web.released.is_set():
        request.body(bytes(1 << 16))
        if request.command == "HEAD":
            return


def _drip(request: _Handler) -> None:
    request.head(200, ("Content-Type", "video/mp4"), length=_PROMISED)
    while not request.web.released.wait(0.2) and request.command != "HEAD":
        request.body(b"\0")


def _reset(request: _Handler) -> None:
    request.close_connection = True


def _garbage(request: _Handler) -> None:
    request.wfile.write(b"\x15\x03\x01\x00\x02\x02\x28 this is no HTTP\r\n\r\n")
    request.close_connection = True


def _large_head(request: _Handler) -> None:
    request.head(200, *((f"X-{n}", "x" * 60_000) for n in range(200)), length=0)


def _redirect(request: _Handler) -> None:
    to = parse_qs(urlsplit(request.path).query).get("to", [request.path])[0]
    request.head(302, ("Location", to), length=0)


def _page(request: _Handler) -> None:
    text = f"<html><head><title>x</title></head><body><video src='/file/{request.name}'></video></body></html>"
    request.whole(text.encode(), "text/html; charset=utf-8")


def _empty_page(request: _Handler) -> None:
    request.whole(b"<html><head><title>x</title></head><body><p>No video here.</p></body></html>", "text/html")


def _playlist(request: _Handler) -> None:
    to = parse_qs(urlsplit(request.path).query)["to"][0]
    lines = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:9", "#EXTINF:9,", to, "#EXT-X-ENDLIST", ""]
    request.whole("\n".join(lines).encode(), "application/vnd.apple.mpegurl")


def _reserved(request: _Handler) -> None:
    request.whole(request.web.files[request.name], "video/mp4", ("X-Robots-Tag", "noai"))


def _bomb(request: _Handler) -> None:
    request.whole(_gzip_bomb(), "text/html", ("Content-Encoding", "gzip"))


@functools.cache
def _gzip_bomb() -> bytes:
    """A page of a gigabyte in a megabyte: a thousand members, each a mebibyte of spaces."""
    return gzip.compress(b" " * (1 << 20)) * (1 << 10)


BEHAVIOURS: dict[str, Behaviour] = {
    "file": _file,
    "403": _status(403),
    "404": _status(404),
    "410": _status(410),
    "451": _status(451),
    "429": _status(429, ("Retry-After", str(RETRY_AFTER_S))),
    "500": _status(500),
    "429-once": _at_first(_status(429, ("Retry-After", str(RETRY_AFTER_S)))),
    "500-once": _at_first(_status(500)),
    "cut-once": _at_first(_cut),
    "stall": _stall,
    "never": _never,
    "late": _late,
    "cut": _cut,
    "promises-less": _promises_less,
    "endless": _endless,
    "drip": _drip,
    "reset": _reset,
    "garbage": _garbage,
    "large-head": _large_head,
    "redirect": _redirect,
    "page": _page,
    "empty-page": _empty_page,
    "playlist": _playlist,
    "reserved": _reserved,
    "bomb": _bomb,
}
"""How a path's first part is answered."""


@contextlib.contextmanager
def running_web() -> Iterator[Web]:
    """Serve in threads of this process for the time of the block."""
    web = Web()
    handler = type("Handler", (_Handler,), {"web": web})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        web.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield web
        finally:
            web.released.set()
            server.shutdown()
            thread.join()
