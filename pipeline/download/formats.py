"""Which of a page's formats is taken."""

from collections.abc import Iterator
from typing import Any

_NATIVE_PROTOCOLS = frozenset({None, "http", "https", "m3u8_native", "m3u8", "http_dash_segments"})


def choose_format(formats: list[dict[str, Any]], min_height_px: int) -> Iterator[dict[str, Any]]:
    """Among a page's formats, the cheapest single file with a picture that is high enough.

    Args:
        formats: yt-dlp's formats.
        min_height_px: Wanted height.

    Yields:
        The format with the smallest height of at least `min_height_px`, of the lowest bit rate among these;
        else the highest; else (heights unknown, as for direct links) the last one, which yt-dlp thinks best.
    """
    usable = [f for f in formats if f.get("vcodec") != "none" and f.get("protocol") in _NATIVE_PROTOCOLS]
    enough = [f for f in usable if (f.get("height") or 0) >= min_height_px]
    if enough:
        yield min(enough, key=lambda f: (f["height"], f.get("acodec") != "none", f.get("tbr") or 0.0))
    elif known := [f for f in usable if f.get("height")]:
        yield max(known, key=lambda f: (f["height"], -(f.get("tbr") or 0.0)))
    elif usable:
        yield usable[-1]
