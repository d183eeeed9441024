"""A real HTTP server on loopback that serves bytes and misbehaves on demand."""

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

STATUS_PATHS = {f"/status/{code}": code for code in (401, 403, 404, 410, 418, 429, 451, 500, 503)}


@dataclass
class Loopback:
    """A running server: where it is, what it serves, and what it was asked.

    `routes` answer by themselves, with what they get of `http.server`.
    """

    address: str
    files: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    routes: dict[str, Callable[[http.server.BaseHTTPRequestHandler], None]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def serve(self, name: str, data: bytes, kind: str = "video/mp4") -> str:
        self.files[f"/{name}"] = (kind, data)
        return f"{self.address}/{name}"

    def route(self, name: str, answer: Callable[[http.server.BaseHTTPRequestHandler], None]) -> str:
        self.routes[f"/{name}"] = answer
        return f"{self.address}/{name}"

    def answer(
        self, name: str, *answers: tuple[int, dict[str, str], bytes], kind: str = "video/mp4"
    ) -> str:
        """Give these answers (status, headers, body), one after the other, the last one for ever."""
        left = list(answers)

        def give(request: http.server.BaseHTTPRequestHandler) -> None:
            status, headers, body = left.pop(0) if len(left) > 1 else left[0]
            request.send_response(status)
            for key, value in ({"Content-Type": kind, "Content-Length": str(len(body))} | headers).items():
                request.send_header(key, value)
            request.end_headers()
            request.wfile.write(body)
            request.close_connection = True

        return self.route(name, give)


@contextmanager
def loopback_server() -> Iterator[Loopback]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            state.requests.append(self.path)
            state.headers.append(dict(self.headers))
            try:
                answer(self)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

    def answer(request: Handler) -> None:
        parts = urlsplit(request.path)
        if parts.path in state.routes:
            state.routes[parts.path](request)
        elif parts.path in state.files:
            kind, data = state.files[parts.path]
            send(request, kind, data)
        elif parts.path in STATUS_PATHS:
            request.send_response(STATUS_PATHS[parts.path])
            request.send_header("Content-Length", "0")
            request.end_headers()
        elif parts.path == "/redirect":
            request.send_response(302)
            request.send_header("Location", parse_qs(parts.query)["to"][0])
            request.send_header("Content-Length", "0")
            request.end_headers()
        elif parts.path == "/stall.mp4":
            send(request, "video/mp4", b"\0" * 100, promise=100_000)
            state.released.wait()
            request.close_connection = True
        elif parts.path == "/truncated.mp4":
            send(request, "video/mp4", b"\0" * 5000, promise=100_000)
            request.close_connection = True
        elif parts.path in {"/endless.mp4", "/endless.html"}:
            video = parts.path.endswith("mp4")
            send(request, "video/mp4" if video else "text/html", b"" if video else b"<html>", promise=None)
            while not state.released.is_set():
                request.wfile.write(b"\0" * 65536)
        else:
            request.send_response(404)
            request.send_header("Content-Length", "0")
            request.end_headers()

    def send(request: Handler, kind: str, data: bytes, promise: int | None = -1) -> None:
        request.send_response(200)
        request.send_header("Content-Type", kind)
        if promise is None:
            request.close_connection = True
        else:
            request.send_header("Content-Length", str(len(data) if promise < 0 else promise))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(data)
            request.wfile.flush()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        state = Loopback(address=f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield state
        finally:
            state.released.set()
            server.shutdown()
            thread.join()
