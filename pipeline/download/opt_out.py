"""What servers reserve: X-Robots-Tag (noai and the like) and the TDM Reservation Protocol."""

import re
from collections.abc import Iterable
from email.message import Message

ROBOT = "facevid"
"""The name by which a server may address us in X-Robots-Tag."""

# noai and noimageai: DeviantArt's convention, which crawlers for training honour; noindex, noimageindex, none: Google's
# robots meta tag specification, read here as it is by img2dataset: who is not to be found is not to be trained on.
_RESERVING = frozenset({"noai", "noimageai", "noindex", "noimageindex", "none"})
# Directives of that specification that have a colon of their own: not names of robots.
_VALUED = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})
_ADDRESSED = re.compile(r"\s*([A-Za-z0-9_-]+)\s*:(.*)", re.DOTALL)


def reserved(headers: Iterable[tuple[str, str]]) -> str | None:
    """What an answer's headers reserve, in their own words, or None.

    `X-Robots-Tag: noai` holds for everyone, `X-Robots-Tag: facevid: noai` for us; a name holds for the directives
    that follow it in the same header. `TDM-Reservation: 1` is the W3C community group's protocol (TDMRep, 2024).

    Args:
        headers: Names and values; a name may come several times.
    """
    for name, value in headers:
        if name.lower() == "x-robots-tag":
            addressee, directives = _addressed(value)
            if addressee in {None, ROBOT} and (found := sorted(directives & _RESERVING)):
                return f"X-Robots-Tag: {', '.join(found)}"
        elif name.lower() == "tdm-reservation" and value.strip() == "1":
            return "TDM-Reservation: 1"
    return None


def speaks_of_a_work(headers: Message) -> bool:
    """Whether an answer is a page, a playlist or a video, as opposed to a script or an interface's data."""
    kind = (headers.get("Content-Type") or "").partition(";")[0].strip().lower()
    return kind in _WORKS or kind.startswith(("video/", "audio/"))


_WORKS = frozenset({
    "", "text/html", "application/xhtml+xml", "application/octet-stream", "application/dash+xml",
    "application/x-mpegurl", "application/vnd.apple.mpegurl", "application/mp4", "application/ogg",
})  # fmt: skip


def _addressed(value: str) -> tuple[str | None, set[str]]:
    match = _ADDRESSED.fullmatch(value)
    addressee = None
    if match and match[1].lower() not in _VALUED:
        addressee, value = match[1].lower(), match[2]
    return addressee, {part.strip().lower() for part in value.split(",")}
