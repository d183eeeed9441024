"""What a row's address names: the same for every spelling of it that is known to be one video.

A link is spelled anew when it is signed again (`facevid.signed_links`), and one video of YouTube has a dozen addresses:
of the page, shared, on a phone, with the moment to begin at, with the list that it was found in. Rows are fetched under
the address that the manifest has; by this one they are known.
"""

import functools
import re
from urllib.parse import parse_qsl, urlsplit

from facevid.signed_links import unsigned_url

_YOUTUBE = re.compile(
    r"https?://(?:(?:www\.|m\.|music\.)?youtube\.com|(?:www\.)?youtube-nocookie\.com|(?:www\.)?youtu\.be)[/?]",
    re.IGNORECASE,
)
# What stands for a list, or for whatever a channel shows now, is as long as an id.
_IN_PATH = re.compile(r"/(?:shorts|live|embed|v|e)/(?!(?:videoseries|live_stream)(?:/|$))([^/]+)/?")
_ID = re.compile(r"[A-Za-z0-9_-]{11}")


@functools.lru_cache(maxsize=64)  # asked several times for each of many rows
def video_address(url: str) -> str:
    """One address for all spellings of a video's: not signed, and of YouTube as `https://www.youtube.com/watch?v=ID`.

    Args:
        url: The manifest's address or path; a path is returned as it is.
    """
    url = unsigned_url(url)
    if not _YOUTUBE.match(url):
        return url
    parts = urlsplit(url)
    if "youtu.be" in parts.netloc.lower():
        name = parts.path.strip("/")
    elif parts.path.rstrip("/") == "/watch":
        name = dict(reversed(parse_qsl(parts.query))).get("v", "")
    else:
        found = _IN_PATH.fullmatch(parts.path)
        name = found[1] if found else ""
    return f"https://www.youtube.com/watch?v={name}" if _ID.fullmatch(name) else url
