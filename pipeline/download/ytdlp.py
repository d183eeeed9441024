"""One try at one video with yt-dlp.

yt-dlp is used for what it knows of sites and formats and for nothing else: one file per video (no merging,
so no post-processors), no external programs, no configuration files, plugins or caches, no tries of its own.
"""

import http.client
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yt_dlp.globals
from yt_dlp.utils import YoutubeDLError

from facevid.failures import FailureCode
from pipeline.config import FetchOptions
from pipeline.download.formats import choose_format
from pipeline.download.handler import HeldYoutubeDL, Session
from pipeline.download.partial import FILE_NAME
from pipeline.egress.seal import sealed
from pipeline.fetch_errors import STUMBLES, FetchError, TooLargeError, classify, machine_trouble, our_mistake
from pipeline.store import StoreFullError


def download(url: str, session: Session, options: FetchOptions, cookies: str | None) -> tuple[Path, dict[str, Any]]:
    """Try once to have a video's file.

    Args:
        url: Its address, or that of its page.
        session: The try; the file comes into its folder.
        options: Options of acquisition.
        cookies: Text of a cookies file, or None.

    Returns:
        The file, and what yt-dlp knows of it.

    Raises:
        FetchError: It cannot be had.
        EgressError: The proxy is gone.
        OSError: The machine lacks what every video needs, such as room on the disk.
    """
    try:
        # Plugins are code that someone left in a folder.
        yt_dlp.globals.plugin_dirs.value = []
        with sealed(), HeldYoutubeDL(_parameters(session, options, cookies), session) as downloader:
            info = _one_video(downloader.extract_info(url, download=False), url)
            session.fetching_file = info.get("protocol") in {None, "http", "https"}
            session.partial.begin(_identity(info))
            downloader.process_ie_result(info, download=True)
    except (YoutubeDLError, OSError, UnicodeError, http.client.HTTPException) as error:
        if bug := our_mistake(error):
            raise bug from error
        if trouble := machine_trouble(error):
            raise trouble from error
        _require_permission(session)
        said = session.last_error
        raise classify(error, said if said is not None and str(said) in str(error) else None) from error
    except STUMBLES as error:
        if our_mistake(error):
            raise
        # What some page makes an extractor raise must not stop a build of six thousand videos.
        message = f"yt-dlp stumbled over this page: {type(error).__name__}: {error}"
        raise FetchError(FailureCode.INTERNAL, message) from error
    _require_permission(session)
    file = session.partial.folder / FILE_NAME
    if not file.is_file():
        raise FetchError(FailureCode.NETWORK, f"{url} gave no file")
    return file, info


def _identity(info: Mapping[str, Any]) -> str:
    # Queries hold signatures, which are others at each visit, and one file may be had from several hosts.
    return json.dumps([str(info.get("format_id")), urlsplit(str(info.get("url"))).path])


def _require_permission(session: Session) -> None:
    if session.opted_out is not None:
        raise FetchError(FailureCode.OPT_OUT, session.opted_out.message)


def _parameters(session: Session, options: FetchOptions, cookies: str | None) -> dict[str, Any]:
    def watch(progress: Mapping[str, Any]) -> None:
        seen = max(progress.get("downloaded_bytes") or 0, progress.get("total_bytes") or 0)
        if seen > options.max_bytes:
            raise TooLargeError(f"more than {options.max_bytes} bytes")
        if session.room_bytes is not None and seen > session.room_bytes:
            limit = options.max_store_bytes or 0
            raise StoreFullError(session.partial.folder, limit - session.room_bytes + seen, limit)

    return {
        "format": lambda context: choose_format(context["formats"], options.min_height_px),
        "outtmpl": {"default": str(session.partial.folder / FILE_NAME)},
        "progress_hooks": [watch],
        "logger": _Silent(),
        "socket_timeout": options.timeout_s,
        "http_headers": {"User-Agent": options.user_agent} if options.user_agent else {},
        # A copy in memory: yt-dlp writes what sites set into it, and to disk if it were a file.
        "cookiefile": io.StringIO(cookies) if cookies else None,
        # No proxy of the environment; connections come from the lease.
        "proxy": "",
        # Trying again is a decision over all workers, not one that each connection takes by itself.
        "retries": 0,
        "extractor_retries": 0,
        "fragment_retries": 0,
        "file_access_retries": 0,
        # The default leaves holes in a video and calls it done.
        "skip_unavailable_fragments": False,
        "noplaylist": True,
        # Two are enough to see that there is more than one.
        "playlist_items": "1,2",
        "quiet": True,
        "noprogress": True,
        "no_warnings": True,
        "cachedir": False,
        "updatetime": False,
        "continuedl": True,
        "overwrites": True,
        "fixup": "never",
        "hls_prefer_native": True,
        # No such program: nothing is handed to an ffmpeg whose network access we do not watch.
        "ffmpeg_location": "/nonexistent",
        "js_runtimes": {},
        "enable_file_urls": False,
        "geo_bypass": False,
    }


class _Silent:
    """yt-dlp's messages go nowhere: the exception carries what matters."""

    def debug(self, message: str) -> None:
        """Drop it."""

    def info(self, message: str) -> None:
        """Drop it."""

    def warning(self, message: str) -> None:
        """Drop it."""

    def error(self, message: str) -> None:
        """Drop it."""


def _one_video(info: Any, url: str) -> dict[str, Any]:
    entries = info.get("entries") if isinstance(info, dict) else None
    if entries is None:
        if not isinstance(info, dict):
            raise FetchError(FailureCode.UNSUPPORTED_FORMAT, f"{url} names no video")
        return info
    found = [entry for entry in entries if isinstance(entry, dict)]
    if len(found) != 1:
        count = "no video" if not found else "more than one video; give each a row of its own"
        raise FetchError(FailureCode.UNSUPPORTED_FORMAT, f"{url} names {count}")
    return found[0]
