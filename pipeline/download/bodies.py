"""Bodies of answers that are read at once, such as pages, playlists and what is compressed: bounded, as memory is."""

import zlib
from collections.abc import Callable

from yt_dlp.networking.exceptions import RequestError, TransportError

from facevid.failures import FailureCode
from pipeline.egress.wire import RefusedError

LARGEST_PAGE_BYTES = 64_000_000
CODINGS = {"gzip": zlib.MAX_WBITS | 16, "x-gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}
"""Content codings of HTTP, and what zlib calls them."""

_PIECE_BYTES = 1 << 14
_MEMBER_COST_BYTES = 1 << 12


class RefusedAnswerError(RequestError):  # type: ignore[misc]  # yt-dlp has no types
    """An answer that we do not take; see `refused`."""

    def __init__(self, refused: RefusedError) -> None:
        super().__init__(refused.message)
        self.refused = refused


def read_bounded(read: Callable[..., bytes], length: int | None, amt: int | None = None) -> bytes:
    """Read a body, or so many bytes of it; videos are read in pieces, and what is read at once is held in memory.

    Args:
        read: Reads up to so many bytes, or with None all of them.
        length: How many the server promised, or None.
        amt: How many are wanted; None for all.

    Raises:
        RefusedAnswerError: It is too large.
    """
    if amt is not None or (length is not None and length <= LARGEST_PAGE_BYTES):
        return read(amt)  # read(None) also notices a body that is cut short
    parts: list[bytes] = []
    left = LARGEST_PAGE_BYTES
    while left > 0 and (part := read(min(left, 1 << 20))):
        parts.append(part)
        left -= len(part)
    if left <= 0:
        raise _too_large()
    return b"".join(parts)


def inflated(data: bytes, coding: str) -> bytes:
    """A body that was sent in one of `CODINGS`.

    Raises:
        RefusedAnswerError: It is too large.
        TransportError: It is broken.
    """
    parts: list[bytes] = []
    left = LARGEST_PAGE_BYTES
    bits = CODINGS[coding]
    begin = 0
    while begin < len(data):
        try:
            part, begin = _inflated_member(data, begin, bits, left)
        except zlib.error as error:
            if coding == "deflate" and bits > 0:
                bits = -zlib.MAX_WBITS  # some servers send it without its header
                continue
            if parts:
                break  # what follows the compressed body is not part of it
            raise TransportError(f"the server sends a broken {coding} body: {error}") from None  # no mistake of ours
        parts.append(part)
        # Gzip may come in several members; those without content are no way to go on for ever.
        left -= len(part) + _MEMBER_COST_BYTES
        if left <= 0:
            raise _too_large()
    return b"".join(parts)


def _inflated_member(data: bytes, begin: int, bits: int, left: int) -> tuple[bytes, int]:
    # In pieces, as what follows the member's end is copied when it is met.
    inflate = zlib.decompressobj(bits)
    parts: list[bytes] = []
    while not inflate.eof:
        piece = data[begin : begin + _PIECE_BYTES]
        if not piece:
            raise TransportError("the server's compressed body ends too early")
        parts.append(inflate.decompress(piece, left))
        left -= len(parts[-1])
        if left <= 0:
            raise _too_large()
        begin += len(piece) - len(inflate.unused_data)
    return b"".join(parts), begin


def _too_large() -> RefusedAnswerError:
    message = f"a page or playlist of more than {LARGEST_PAGE_BYTES} bytes"
    return RefusedAnswerError(RefusedError(FailureCode.TOO_LARGE, message))
