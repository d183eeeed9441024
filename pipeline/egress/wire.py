"""What is said between a worker and the proxy: heads of HTTP/1.1, and one method of our own.

    CONNECT host:port     a tunnel, for anyone who knows the token (RFC 9110, section 9.3.6)
    GET http://...        any method on an absolute address, for ordinary clients of proxies (RFC 9112, section 3.2.2)
    LEASE host:port       begin a video; the connection is the lease, and ends it however it ends

A refusal has a status that ordinary clients understand and our failure code in a header.
"""

import asyncio
import base64
import hmac
import ipaddress
import re
import socket
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from facevid.failures import FailureCode

LEASE_HEADER = "X-FaceVid-Lease"
URL_HEADER = "X-FaceVid-Url"
CODE_HEADER = "X-FaceVid-Code"
MESSAGE_HEADER = "X-FaceVid-Message"
PASSING_HEADER = "X-FaceVid-Passing"
REST_HEADER = "X-FaceVid-Rest"

LARGEST_HEAD_BYTES = 65536

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NO_HOST = frozenset(" /?#@\\<>^|[]\"'`{}")

_STATUS = {
    FailureCode.UNSAFE_ADDRESS: "403 Forbidden",
    FailureCode.DENIED: "403 Forbidden",
    FailureCode.RATE_LIMITED: "503 Service Unavailable",
    FailureCode.TIMEOUT: "504 Gateway Timeout",
}


class WireError(Exception):
    """What came is not what this protocol has; the message says what was wrong."""


class RefusedError(Exception):
    """The proxy will not, or cannot, do what it was asked.

    Args:
        code: The failure code to record.
        message: One sentence for a person.
        passing: Whether it may be tried again in a moment.
        rest_s: For how long its host is left alone, where nothing was asked of it for that reason.
    """

    def __init__(
        self, code: FailureCode, message: str, *, passing: bool = False, rest_s: float | None = None
    ) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.passing = passing
        self.rest_s = rest_s

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The head of a request or an answer.

    Attributes:
        start: The words of its first line.
        fields: Names as sent, and values.
    """

    start: tuple[str, str, str]
    fields: tuple[tuple[str, str], ...]

    def get(self, name: str) -> str | None:
        """The first value of a header, whatever the case of its name."""
        return next((value for own, value in self.fields if own.lower() == name.lower()), None)


def parse_head(data: bytes) -> Head:
    """Parse a head with the empty line at its end.

    Raises:
        WireError: It is none.
    """
    first, *lines = data.decode("latin-1").rstrip("\r\n").split("\r\n")
    # Others take a bare CR, LF or NUL for the end of a line or a word (RFC 9112, section 2.2; RFC 9110, section 5.5).
    if any(_CONTROL.search(line) for line in (first, *lines)):
        raise WireError("the head holds control characters")
    words = first.split(" ", 2)
    if len(words) < 2:
        raise WireError("the first line is no request and no status")
    fields = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise WireError(f"{line[:80]!r} is no header")
        fields.append((name, value.strip()))
    return Head(start=(words[0], words[1], words[2] if len(words) > 2 else ""), fields=tuple(fields))


async def read_head(reader: asyncio.StreamReader) -> Head:
    """Read the head that comes next.

    Raises:
        WireError: It is none, too long, or cut short.
    """
    try:
        return parse_head(await reader.readuntil(b"\r\n\r\n"))
    except asyncio.IncompleteReadError as error:
        raise WireError("the connection ended before the head did") from error
    except asyncio.LimitOverrunError as error:
        raise WireError(f"the head is longer than {LARGEST_HEAD_BYTES} bytes") from error


def request_head(method: str, target: str, **fields: str) -> bytes:
    """A request; underscores in names of fields become hyphens."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name.replace('_', '-')}: {value}" for name, value in fields.items())]
    return _encoded(lines)


def answer_head(status: str, **fields: str) -> bytes:
    """An answer without a body."""
    return _encoded([f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in fields.items())])


def refusal_head(refused: RefusedError) -> bytes:
    """The answer to what is refused or failed."""
    status = _STATUS.get(refused.code, "502 Bad Gateway")
    return answer_head(status, Connection="close", Content_Length="0", **refusal_fields(refused))


def refusal_fields(refused: RefusedError) -> dict[str, str]:
    """A refusal as headers."""
    passing = {PASSING_HEADER: "1"} if refused.passing else {}
    rest = {} if refused.rest_s is None else {REST_HEADER: f"{refused.rest_s:.3f}"}
    return {CODE_HEADER: refused.code.value, MESSAGE_HEADER: refused.message, **passing, **rest}


def refusal_of(head: Head) -> RefusedError | None:
    """The refusal that an answer carries, if it does."""
    code = head.get(CODE_HEADER)
    if code is None:
        return None
    message = head.get(MESSAGE_HEADER) or code
    rest = head.get(REST_HEADER)
    return RefusedError(
        FailureCode(code), message, passing=head.get(PASSING_HEADER) is not None,
        rest_s=None if rest is None else float(rest),
    )  # fmt: skip


def _encoded(lines: list[str]) -> bytes:
    # No value may begin a line of its own, whoever wrote it.
    plain = ("".join(char if char.isprintable() else " " for char in line) for line in lines)
    return ("\r\n".join(plain) + "\r\n\r\n").encode("latin-1", "replace")


def plain_host(host: str) -> str:
    """The one spelling of a host's name or address: whoever is one host has one turn.

    Lower case, non-ASCII names as IDNA has them, no dot at the end (it only says that the name is complete), and
    addresses as the resolver reads them: `127.1` and `0x7f000001` are 127.0.0.1.

    Args:
        host: A name or an address, without brackets.

    Raises:
        WireError: There can be no such host.
    """
    name = host if ":" in host else unquote(host)  # as browsers do, and Python's urllib
    try:
        name = (name if name.isascii() else name.encode("idna").decode()).lower().removesuffix(".")
    except UnicodeError as error:
        raise WireError(f"{host[:80]!r} cannot be the name of a host") from error
    if not all(char.isprintable() and char not in _NO_HOST for char in name):
        raise WireError(f"{host[:80]!r} cannot be the name of a host")
    return _plain_address(name)


def _plain_address(name: str) -> str:
    if ":" in name:
        address, percent, zone = name.partition("%")
        try:
            return f"{ipaddress.IPv6Address(address)}{percent}{zone}"
        except ValueError as error:
            raise WireError(f"{name[:80]!r} is no address") from error
    if "%" in name or not all(name.split(".")):
        raise WireError(f"{name[:80]!r} cannot be the name of a host")
    try:
        return socket.inet_ntoa(socket.inet_aton(name)) if name[:1].isdecimal() else name
    except OSError:
        return name


def split_authority(text: str, default_port: int | None = None) -> tuple[str, int]:
    """Host (in its one spelling, see `plain_host`, no brackets) and port of `host:port`.

    Raises:
        WireError: It names no host, or no port where there is no default.
    """
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port if parts.port is not None else default_port
    except ValueError as error:
        raise WireError(f"{text[:80]!r} is no host and port") from error
    if not host or port is None or parts.path or parts.query or parts.fragment or "@" in text:
        raise WireError(f"{text[:80]!r} is no host and port")
    return plain_host(host), port


def join_authority(host: str, port: int) -> str:
    """The inverse of `split_authority`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def credentials(token: str) -> str:
    """The value of Proxy-Authorization for a token."""
    return "Basic " + base64.b64encode(f"facevid:{token}".encode()).decode()


def is_authorised(head: Head, token: str) -> bool:
    """Whether a request carries the token."""
    given = head.get("Proxy-Authorization") or ""
    return hmac.compare_digest(given.encode("latin-1", "replace"), credentials(token).encode())
