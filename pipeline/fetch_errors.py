"""Why a download failed, as one code of the closed list: a table over yt-dlp's exceptions and messages."""

import errno
import http.client
import re
import socket
import ssl
import traceback
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from yt_dlp.networking.exceptions import HTTPError, IncompleteRead, RequestError, SSLError, TransportError
from yt_dlp.utils import (
    ContentTooShortError,
    DownloadCancelled,
    GeoRestrictedError,
    UnsupportedError,
)

from facevid.failures import FailureCode
from facevid.public_urls import without_secrets
from pipeline.egress.client import EgressError
from pipeline.egress.seal import SealError
from pipeline.egress.wire import RefusedError


class TooLargeError(DownloadCancelled):  # type: ignore[misc]  # yt-dlp has no types
    """A download grew beyond the limit; yt-dlp lets cancellations through."""


class FetchError(Exception):
    """A video cannot be had.

    Args:
        code: The failure code that the dataset records.
        message: One sentence for a person; it may hold what a stranger's page says.
        passing: Whether it may be tried again in a moment, within the same fetch.
        retry_after_s: How long the server asked to wait (Retry-After), or None.
        rest_s: For how long its host is left alone, where nothing was asked of it for that reason; else None.

    Attributes:
        attempts: How often it was tried.
    """

    def __init__(
        self,
        code: FailureCode,
        message: str,
        *,
        passing: bool = False,
        retry_after_s: float | None = None,
        rest_s: float | None = None,
    ) -> None:
        message = printable(without_secrets(message), 500)
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.passing = passing
        self.retry_after_s = retry_after_s
        self.rest_s = rest_s
        self.attempts = 1

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


_STATUS = {
    401: FailureCode.LOGIN_REQUIRED,
    # "Forbidden" without a reason: to robots, to this network, or to all the world. Sites that give a reason are
    # told by their message.
    403: FailureCode.DENIED,
    404: FailureCode.NOT_FOUND,
    407: FailureCode.LOGIN_REQUIRED,
    408: FailureCode.TIMEOUT,
    410: FailureCode.REMOVED,
    413: FailureCode.TOO_LARGE,
    415: FailureCode.UNSUPPORTED_FORMAT,
    425: FailureCode.RATE_LIMITED,
    429: FailureCode.RATE_LIMITED,
    451: FailureCode.GEO_BLOCKED,
    504: FailureCode.TIMEOUT,
}
# What sites say in words, from the messages of yt-dlp's extractors; the first match wins.
_MESSAGES = tuple(
    (re.compile(pattern, re.IGNORECASE), code)
    for pattern, code in (
        (r"private (video|track|content|access)|is private", FailureCode.PRIVATE),
        (r"confirm your age|age.?(restricted|gated|verif)|inappropriate for some users", FailureCode.AGE_GATED),
        (r"not (made )?(this video )?available in your (country|region|location)|geo.?restrict",
         FailureCode.GEO_BLOCKED),
        (r"not a bot|captcha|cloudflare|log ?in|sign in|logged in|members.only|premium|cookies|registered users",
         FailureCode.LOGIN_REQUIRED),
        (r"rate.?limit|too many requests", FailureCode.RATE_LIMITED),
        (r"removed|terminated|deleted|no longer available|taken down|copyright", FailureCode.REMOVED),
        (r"video unavailable|does not exist|not found", FailureCode.NOT_FOUND),
        (r"requested format is not available|no video formats|drm|unsupported url|no m3u header",
         FailureCode.UNSUPPORTED_FORMAT),
        (r"timed out|timeout", FailureCode.TIMEOUT),
        (r"did not get any data blocks|downloaded \d+ bytes, expected|connection|resolve|unreachable",
         FailureCode.NETWORK),
    )
)
# The later in this list, the less it says.
_TYPES: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], FailureCode], ...] = (
    (TooLargeError, FailureCode.TOO_LARGE),
    (SealError, FailureCode.UNSUPPORTED_FORMAT),
    (GeoRestrictedError, FailureCode.GEO_BLOCKED),
    (UnsupportedError, FailureCode.UNSUPPORTED_FORMAT),
    (TimeoutError, FailureCode.TIMEOUT),
    # A host name that cannot be one, such as a label of more than 63 characters.
    (UnicodeError, FailureCode.NOT_FOUND),
    ((ContentTooShortError, IncompleteRead, SSLError, TransportError, ssl.SSLError, http.client.HTTPException,
      ConnectionError, socket.gaierror), FailureCode.NETWORK),
)
_PASSING = frozenset({FailureCode.NETWORK, FailureCode.TIMEOUT, FailureCode.RATE_LIMITED})
STUMBLES = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, RuntimeError, SyntaxError, TypeError,
    ValueError, zlib.error,
)  # fmt: skip
"""What some page makes one of two thousand extractors raise."""
_MACHINE = frozenset({
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM,
})  # fmt: skip


def printable(text: str, longest: int) -> str:
    """A stranger's text as one line of at most `longest` characters that any file can hold."""
    whole = text.encode("utf-8", "replace").decode()  # half a character, as JSON may have it, becomes "?"
    return " ".join("".join(char if char.isprintable() else " " for char in whole).split())[:longest]


def classify(error: BaseException, said: BaseException | None = None) -> FetchError:
    """The code and a one-line message of an exception out of yt-dlp.

    HTTP's status decides first, then the types of the exception and of all its causes, then the words.

    Args:
        error: What was raised.
        said: What it was made from, where only its words were passed on.

    Returns:
        The error to record; an unknown one is `internal`, so that it is looked at.
    """
    chain = [*_chain(error), *(_chain(said) if said is not None else ())]
    message = _one_line(str(error))
    # What we refused, or a host did not grant us, matters more than what the extractor made of it.
    for cause in chain:
        if isinstance(cause, RefusedError):
            return FetchError(cause.code, cause.message, passing=cause.passing)
    for kind, code in _TYPES[:2]:
        if any(isinstance(cause, kind) for cause in chain):
            return FetchError(code, message)
    for cause in chain:
        if isinstance(cause, HTTPError):
            return _of_answer(cause, message)
    for kind, code in _TYPES[2:]:
        if any(isinstance(cause, kind) for cause in chain):
            refused = any(isinstance(cause, ssl.SSLCertVerificationError) for cause in chain)
            return FetchError(code, message, passing=code in _PASSING and not refused)
    for pattern, code in _MESSAGES:
        if pattern.search(message):
            return FetchError(code, message, passing=code in _PASSING)
    if any(isinstance(cause, RequestError) for cause in chain):
        return FetchError(FailureCode.NETWORK, message)
    return FetchError(FailureCode.INTERNAL, message)


def our_mistake(error: BaseException) -> BaseException | None:
    """What went wrong in our own code while yt-dlp was running it, if that is the cause: a bug, to stop for.

    An error of ours and one of an extractor have the same types. They differ in where they were raised: in the
    deepest of the frames that are ours or yt-dlp's.
    """
    for cause in _chain(error):
        if isinstance(cause, STUMBLES) and not isinstance(cause, UnicodeError):
            deepest = ""
            for frame, _ in traceback.walk_tb(cause.__traceback__):
                package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
                deepest = package if package in {"pipeline", "yt_dlp"} else deepest
            if deepest == "pipeline":
                return cause
        if isinstance(cause, EgressError):
            return cause
    return None


def machine_trouble(error: BaseException) -> OSError | None:
    """What this machine lacks (a full disk, no more files), if that is the cause: it would fail every video."""
    found = (cause for cause in _chain(error) if isinstance(cause, OSError) and cause.errno in _MACHINE)
    return next(found, None)


def _of_answer(error: HTTPError, message: str) -> FetchError:
    if error.redirect_loop:
        return FetchError(FailureCode.NETWORK, f"the server redirects in a circle: {message}")
    code = _of_status(error.status, message)
    if code is FailureCode.DENIED:
        message += " (it does not say why; cookies, or another network, may help)"
    wait_s = retry_after_s(error.response.headers.get("Retry-After"), now=datetime.now(UTC))
    # Other than 429, 5xx says nothing about us; 501 and 505 will not change.
    passing = code is FailureCode.RATE_LIMITED or (error.status >= 500 and error.status not in {501, 505})
    return FetchError(code, message, passing=passing or error.status == 408, retry_after_s=wait_s)


def retry_after_s(value: str | None, *, now: datetime) -> float | None:
    """The seconds that a Retry-After header asks for (RFC 9110, section 10.2.3: a number or a date), or None."""
    text = (value or "").strip()
    if text.isascii() and text.isdecimal():
        return float(text[:12])
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # the latter for a year, or a zone, of twenty digits
        return None
    # A date without a zone is one in UTC (RFC 5322, section 3.3).
    return max(0.0, ((date if date.tzinfo else date.replace(tzinfo=UTC)) - now).total_seconds())


def _of_status(status: int, message: str) -> FailureCode:
    if status == 403:
        for pattern, code in _MESSAGES:
            if code is not FailureCode.NOT_FOUND and pattern.search(message.replace("Forbidden", "")):
                return code
    if status in _STATUS:
        return _STATUS[status]
    # 5xx: the server's trouble, which may pass. Other 4xx: it will not give this to us, however often we ask.
    return FailureCode.NETWORK if status >= 500 else FailureCode.NOT_FOUND


def _chain(error: BaseException) -> Iterator[BaseException]:
    waiting: list[object] = [error]
    seen: set[int] = set()
    while waiting:
        cause = waiting.pop(0)
        if not isinstance(cause, BaseException) or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        # yt-dlp keeps causes in fields of its own beside Python's.
        info = getattr(cause, "exc_info", None)
        waiting += [getattr(cause, "cause", None), getattr(cause, "reason", None), cause.__cause__]
        waiting += [] if cause.__suppress_context__ else [cause.__context__]
        waiting += list(info) if isinstance(info, tuple) else []
        waiting += list(getattr(cause, "unexpected_errors", []))
        waiting += [getattr(cause, "refused", None)]


def _one_line(text: str) -> str:
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    plain = re.sub(r"^ERROR:\s*", "", plain)
    # yt-dlp asks readers to report a bug to its authors; a dead link is none.
    plain = re.sub(r"; please report this issue on.*", "", plain, flags=re.DOTALL)
    return re.sub(r"^\[[\w:+-]+\] (\S+: )?|\s*\(caused by .*\)\s*$", "", plain, flags=re.DOTALL)
