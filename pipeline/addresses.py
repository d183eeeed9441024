"""Which network addresses may be asked: a guard at the moment of connecting, inside yt-dlp's own HTTP handler.

Judging the address that a socket is about to connect to, not the name in a URL, covers redirects, playlists
and names that resolve differently from one moment to the next. It covers what goes through this handler,
which is all that we let yt-dlp use; it does not cover other programs (none are started), nor proxies named
by the environment (the address judged is then the proxy's). An egress proxy closes these.
"""

import functools
import http.client
import ipaddress
import socket
import urllib.request
from collections.abc import Callable
from typing import Any

from yt_dlp import YoutubeDL
from yt_dlp.networking import _helper, _urllib
from yt_dlp.networking.exceptions import RequestError
from yt_dlp.utils import DownloadCancelled

_LARGEST_PAGE_BYTES = 64_000_000


class TooLargeError(DownloadCancelled):  # type: ignore[misc]  # yt-dlp has no types
    """A download or a page grew beyond the limit; yt-dlp lets cancellations through."""


class UnsafeAddressError(RequestError):  # type: ignore[misc]  # yt-dlp has no types
    """An address that is not on the public internet. A RequestError, so that yt-dlp passes it on."""


def is_public(address: str) -> bool:
    """Whether an IP address is on the public internet: not loopback, private, link-local, multicast or reserved.

    Raises:
        ValueError: It is no IP address.
    """
    parsed: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        # These carry an IPv4 address, to which a gateway on the way may connect.
        inner = parsed.ipv4_mapped or parsed.sixtofour or (parsed.teredo[1] if parsed.teredo else None)
        if inner is not None:
            parsed = inner
        elif parsed in ipaddress.ip_network("64:ff9b::/96"):
            parsed = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
    return parsed.is_global and not parsed.is_multicast


def require_public_host(host: str, port: int) -> None:
    """Check a host before the first request to it.

    Raises:
        UnsafeAddressError: It resolves to an address that is not public.
        OSError: It does not resolve.
    """
    for _, _, _, _, target in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        _refuse_private(str(target[0]), host)


class GuardedYoutubeDL(YoutubeDL):  # type: ignore[misc]  # yt-dlp has no types
    """yt-dlp with one HTTP handler, ours: no other scheme than http(s), and no private address unless allowed."""

    def build_request_director(self, handlers: Any, preferences: Any = None) -> Any:  # noqa: ARG002
        """Put our handler in the place of all that yt-dlp knows."""
        chosen = AnyAddressRH if self.params.get("facevid_allow_private") else PublicAddressRH
        return super().build_request_director([chosen], preferences)


class AnyAddressRH(_urllib.UrllibRH):  # type: ignore[misc]  # yt-dlp has no types
    """yt-dlp's handler for http(s) alone; the parent also opens ftp: and data: addresses."""

    _SUPPORTED_URL_SCHEMES = ("http", "https")
    RH_NAME = "facevid"

    def _create_instance(self, proxies: Any, cookiejar: Any, legacy_ssl_support: Any = None) -> Any:
        opener = super()._create_instance(proxies, cookiejar, legacy_ssl_support)
        # The schemes above are asked of the first address only; a redirect goes to whatever the opener knows.
        for scheme in set(opener.handle_open) - {"http", "https", "unknown"}:
            del opener.handle_open[scheme]
        return opener

    def _send(self, request: Any) -> Any:
        response = super()._send(request)
        response.read = functools.partial(_read_bounded, response.read, response.headers.get("Content-Length"))
        return response


class PublicAddressRH(AnyAddressRH):
    """The same, which connects to nothing but the public internet."""

    def _create_instance(self, proxies: Any, cookiejar: Any, legacy_ssl_support: Any = None) -> Any:
        opener = super()._create_instance(proxies, cookiejar, legacy_ssl_support)
        guarded = _GuardedHTTPHandler(
            context=self._make_sslcontext(legacy_ssl_support=legacy_ssl_support), source_address=self.source_address
        )
        for scheme in ("http", "https"):
            opener.handle_open[scheme] = [
                guarded if isinstance(handler, _urllib.HTTPHandler) else handler
                for handler in opener.handle_open[scheme]
            ]
        guarded.add_parent(opener)
        return opener


class _GuardedHTTPHandler(_urllib.HTTPHandler):  # type: ignore[misc]  # yt-dlp has no types
    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(functools.partial(_guarded_connection, http.client.HTTPConnection), req)

    def https_open(self, req: urllib.request.Request) -> Any:
        connection = functools.partial(_guarded_connection, http.client.HTTPSConnection)
        return self.do_open(connection, req, context=self._context)


def _guarded_connection(kind: type[http.client.HTTPConnection], *args: Any, **kwargs: Any) -> Any:
    connection: Any = kind(*args, **kwargs)
    connection._create_connection = functools.partial(  # yt-dlp's handler replaces the same one
        _helper.create_connection, _create_socket_func=_connect_if_public
    )
    return connection


def _read_bounded(read: Callable[[int | None], bytes], length: str | None, amt: int | None = None) -> bytes:
    # Videos are read in pieces; what is read at once is a page or a playlist, which is held in memory.
    if amt is not None or (length and length.isdecimal() and int(length) <= _LARGEST_PAGE_BYTES):
        return read(amt)  # read(None) also notices a body that is cut short
    parts: list[bytes] = []
    left = _LARGEST_PAGE_BYTES
    while left > 0 and (part := read(min(left, 1 << 20))):
        parts.append(part)
        left -= len(part)
    if left <= 0:
        raise TooLargeError(f"a page or playlist of more than {_LARGEST_PAGE_BYTES} bytes")
    return b"".join(parts)


def _connect_if_public(target: Any, timeout: Any, source_address: Any) -> Any:
    _refuse_private(str(target[4][0]), str(target[4][0]))
    return _helper._socket_connect(target, timeout, source_address)  # what it would call itself


def _refuse_private(address: str, host: str) -> None:
    if not is_public(address):
        raise UnsafeAddressError(f"{host} resolves to {address}, which is not on the public internet")
