"""yt-dlp's way to the network: one HTTP handler, ours, whose connections are made by the video's lease.

Whatever stands in the environment or in a page, there is no other scheme than http(s) and no other proxy.
What is read at once is bounded, see `pipeline.download.bodies`.
"""

import functools
import http.client
import io
import urllib.request
import urllib.response
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from yt_dlp import YoutubeDL
from yt_dlp.networking import _urllib
from yt_dlp.networking.exceptions import RequestError, TransportError

from facevid.failures import FailureCode
from pipeline.download.bodies import CODINGS, RefusedAnswerError, inflated, read_bounded
from pipeline.download.opt_out import reserved, speaks_of_a_work
from pipeline.download.partial import PartialFile
from pipeline.egress.client import Lease
from pipeline.egress.wire import RefusedError

_MOST_CODINGS = 3


class RefusedConnectionError(OSError):
    """The proxy's refusal, as what http.client knows; see `refused`."""

    def __init__(self, refused: RefusedError) -> None:
        super().__init__(refused.message)
        self.refused = refused


@dataclass(slots=True, kw_only=True)
class Session:
    """One try at one video.

    Attributes:
        lease: Makes the connections.
        partial: What there is of the file.
        timeout_s: Longest silence of a server.
        ignore_opt_out: Take what is reserved.
        room_bytes: Room that is left for the file, or None.
        fetching_file: Whether requests are for the file itself, not for pages and playlists.
        opted_out: What the server reserves, once seen.
        last_error: What the handler raised last: yt-dlp's downloaders pass on its words alone.
    """

    lease: Lease
    partial: PartialFile
    timeout_s: float
    ignore_opt_out: bool
    room_bytes: int | None = None
    fetching_file: bool = False
    opted_out: RefusedError | None = None
    last_error: BaseException | None = None


class HeldYoutubeDL(YoutubeDL):  # type: ignore[misc]  # yt-dlp has no types
    """yt-dlp with our handler and no other.

    Args:
        parameters: yt-dlp's.
        session: The try.
    """

    def __init__(self, parameters: dict[str, Any], session: Session) -> None:
        self._session = session
        super().__init__(parameters)

    def build_request_director(self, handlers: Any, preferences: Any = None) -> Any:  # noqa: ARG002
        """Put our handler in the place of all that yt-dlp knows."""
        director = super().build_request_director([LeaseRH], preferences)
        for handler in director.handlers.values():
            handler.session = self._session
        return director


class LeaseRH(_urllib.UrllibRH):  # type: ignore[misc]  # yt-dlp has no types
    """yt-dlp's handler over the standard library, with connections from the lease.

    For a direct link yt-dlp asks once to see what it is, and again for the file. The first answer, of which nothing
    was read, is the file: it is given out again, and the server is asked once.
    """

    _SUPPORTED_URL_SCHEMES = ("http", "https")
    RH_NAME = "facevid"
    session: Session
    _opened: tuple[str, Any] | None = None

    def _create_instance(self, proxies: Any, cookiejar: Any, legacy_ssl_support: Any = None) -> Any:  # noqa: ARG002
        opener = urllib.request.OpenerDirector()
        context = self._make_sslcontext(legacy_ssl_support=legacy_ssl_support)
        for handler in (
            _LeaseHandler(self.session, context),
            urllib.request.HTTPCookieProcessor(cookiejar),
            urllib.request.UnknownHandler(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            _urllib.RedirectHandler(),
        ):
            opener.add_handler(handler)
        opener.addheaders = []
        return opener

    def _prepare_headers(self, _: Any, headers: Any) -> None:
        headers.setdefault("Accept-Encoding", "gzip, deflate")

    def _send(self, request: Any) -> Any:
        with self._noted():
            return self._sent(request)

    @contextmanager
    def _noted(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.session.last_error = error
            raise

    def _sent(self, request: Any) -> Any:
        ranges = request.headers.get("Range")
        whole = request.method == "GET" and ranges is None
        opened, self._opened = self._opened, None
        if opened is not None and self.session.fetching_file and whole and opened[0] == request.url:
            self.session.partial.note(opened[1].headers)
            return opened[1]
        version = self.session.partial.version_for(ranges) if self.session.fetching_file else None
        if version is not None:
            request.headers["If-Range"] = version
        response = super()._send(request)
        try:
            length = self._checked(response)
            if version is not None and response.status == 206 and not self.session.partial.goes_on(response.headers):
                self.session.partial.drop()
                raise TransportError("the server goes on with another file than the one that was begun")
        except RequestError:
            response.close()
            raise
        if self.session.fetching_file and (response.status == 200 or (ranges or "").startswith("bytes=0-")):
            self.session.partial.note(response.headers)
        response.read = functools.partial(self._read, response.read, length)
        if not self.session.fetching_file and whole and response.status == 200:
            self._opened = request.url, response
        return response

    def _read(self, read: Callable[..., bytes], length: int | None, amt: int | None = None) -> bytes:
        self._opened = None
        with self._noted():
            return read_bounded(read, length, amt)

    def _checked(self, response: Any) -> int | None:
        length = response.headers.get("Content-Length")
        # Python reads no integer of more than a few thousand digits.
        if length is not None and not (length.isascii() and length.strip().isdecimal() and len(length) < 20):
            raise TransportError(f"the server sends {length[:40]!r} for a Content-Length")
        told = None if self.session.ignore_opt_out else reserved(response.headers.items())
        if told and speaks_of_a_work(response.headers):
            refused = RefusedError(FailureCode.OPT_OUT, f"its server reserves it ({told})")
            # Extractors go on without what they cannot get; the owner's word holds for the whole video.
            self.session.opted_out = refused
            raise RefusedAnswerError(refused)
        # What comes in chunks is as long as these, whatever stands beside them (RFC 9112, section 6.3).
        return None if length is None or "Transfer-Encoding" in response.headers else int(length)


class _LeaseHandler(_urllib.HTTPHandler):  # type: ignore[misc]  # yt-dlp has no types
    def __init__(self, session: Session, context: Any) -> None:
        super().__init__(context=context)
        self._session = session

    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(functools.partial(self._connection, http.client.HTTPConnection), req)

    def https_open(self, req: urllib.request.Request) -> Any:
        connection = functools.partial(self._connection, http.client.HTTPSConnection)
        return self.do_open(connection, req, context=self._context)

    def http_response(self, req: urllib.request.Request, resp: Any) -> Any:  # noqa: ARG002  # urllib's signature
        codings = [part.strip().lower() for part in (resp.headers.get("Content-Encoding") or "").split(",")]
        if len(codings) > _MOST_CODINGS:  # each is the whole body once more
            raise TransportError(f"the server sends a body in {len(codings)} codings")
        for coding in reversed(codings):
            if coding in CODINGS:
                plain = io.BytesIO(inflated(read_bounded(resp.read, None), coding))
                decoded = urllib.response.addinfourl(plain, resp.headers, resp.url, resp.code)
                decoded.msg = resp.msg  # type: ignore[attr-defined]  # as the original has
                # Of the body as sent; what reads this one would miss its end.
                resp = decoded
        return resp

    https_response = http_response

    def _connection(self, kind: type[http.client.HTTPConnection], *args: Any, **kwargs: Any) -> Any:
        connection: Any = kind(*args, **kwargs)
        connection._create_connection = self._connect  # yt-dlp's handler replaces the same one
        return connection

    def _connect(self, address: tuple[str, int], timeout: object, source_address: object) -> Any:  # noqa: ARG002
        try:
            made = self._session.lease.connect(*address)
        except RefusedError as refused:
            raise RefusedConnectionError(refused) from refused
        made.settimeout(self._session.timeout_s)
        return made
