"""Acquisition: one manifest row to one video file, from a local path or over http(s) with yt-dlp.

yt-dlp is used for what it knows of sites and formats and for nothing else: one file per video (no merging,
so no post-processors), no external programs, no configuration files, cookies, plugins or caches.
`FetchOptions.allow_private` false refuses addresses outside the public internet: before the first request
by resolving the host, and at every connection, so on redirects too (see `pipeline.addresses`). A proxy that
is the only way out, retries with backoff and limits over all workers are not here; the pause between two
downloads from one host holds within one worker.
"""

import http.client
import stat
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import yt_dlp.globals
from yt_dlp.utils import YoutubeDLError

from facevid.failures import FailureCode
from pipeline.addresses import GuardedYoutubeDL, TooLargeError, UnsafeAddressError, require_public_host
from pipeline.config import FetchOptions
from pipeline.fetch_errors import FetchError, classify, machine_trouble, printable
from pipeline.manifest import is_remote, local_path
from pipeline.store import FetchedVideo, Store, file_sha256

_NATIVE_PROTOCOLS = frozenset({None, "http", "https", "m3u8_native", "m3u8", "http_dash_segments"})

_STUMBLES = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, RuntimeError, SyntaxError, TypeError,
    ValueError, zlib.error,
)  # fmt: skip


class Fetcher:
    """Fetches videos one after the other, politely.

    Args:
        options: Options of acquisition.
        store: Where downloads go.
        folder: What relative local paths refer to.
        sleep: Waits for seconds; tests replace it.
        clock: Monotonic seconds; tests replace it.
    """

    def __init__(
        self,
        options: FetchOptions,
        store: Store,
        folder: Path,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._store = store
        self._folder = folder
        self._sleep = sleep
        self._clock = clock
        self._last_s: dict[str, float] = {}

    def fetch(self, url: str) -> FetchedVideo:
        """Fetch one video.

        Args:
            url: The manifest's address or path.

        Raises:
            FetchError: It cannot be had.
            OSError: The machine lacks what every video needs, such as room on the disk.
        """
        return self._download(url) if is_remote(url) else self._local(url)

    def _local(self, url: str) -> FetchedVideo:
        path = local_path(url, self._folder)
        if not self._options.allow_local:
            raise FetchError(FailureCode.DENIED, f"{url} is a local path; --allow-local permits them")
        try:
            seen = path.stat()
            if not stat.S_ISREG(seen.st_mode):
                raise FetchError(FailureCode.UNSUPPORTED_FORMAT, f"{url} is no regular file")
            self._require_size(seen.st_size, url)
            sha256 = file_sha256(path)
        except PermissionError as error:
            raise FetchError(FailureCode.DENIED, f"{url} cannot be read: {error.strerror}") from error
        except OSError as error:
            if machine_trouble(error):
                raise
            raise FetchError(FailureCode.NOT_FOUND, f"there is no file {url}: {error.strerror}") from error
        return FetchedVideo(
            sha256=sha256, path=path, url=url, title=None, uploader=None, licence=None, fetched_at=None,
            bytes=seen.st_size,
        )

    def _download(self, url: str) -> FetchedVideo:
        host = urlsplit(url).netloc.lower()
        self._wait_for(host)
        try:
            with self._store.scratch() as scratch:
                file, info = self._run(url, scratch)
                size = file.stat().st_size
                self._require_size(size, url)
                sha256 = file_sha256(file)
                path = self._store.add_video(file, sha256)
        finally:
            self._last_s[host] = self._clock()
        return FetchedVideo(
            sha256=sha256,
            path=path,
            url=url,
            title=_text(info.get("title")),
            uploader=_text(info.get("uploader") or info.get("channel")),
            licence=_text(info.get("license")),
            fetched_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            bytes=size,
            upload_date=_day(info.get("upload_date")),
            format_id=_text(info.get("format_id")),
            extension=_text(info.get("ext")),
            width_px=_whole(info.get("width")),
            height_px=_whole(info.get("height")),
            fps=_number(info.get("fps")),
            duration_s=_number(info.get("duration")),
        )

    def _wait_for(self, host: str) -> None:
        if host in self._last_s:
            rest_s = self._last_s[host] + self._options.courtesy.pause_s - self._clock()
            if rest_s > 0:
                self._sleep(rest_s)

    def _run(self, url: str, scratch: Path) -> tuple[Path, Mapping[str, Any]]:
        parts = urlsplit(url)
        try:
            if not self._options.allow_private:
                require_public_host(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
            # Plugins are code that someone left in a folder.
            yt_dlp.globals.plugin_dirs.value = []
            with GuardedYoutubeDL(self._parameters(scratch)) as downloader:
                info = _one_video(downloader.extract_info(url, download=False), url)
                downloader.process_ie_result(info, download=True)
        except UnsafeAddressError as error:
            # Without the proxy's address, which may hold a password, and would be published.
            proxy = ", or is the proxy that the environment names" if getproxies().keys() - {"no"} else ""
            message = f"{error.msg}{proxy}; --allow-private permits it"
            raise FetchError(FailureCode.UNSAFE_ADDRESS, message) from error
        except (YoutubeDLError, OSError, UnicodeError, http.client.HTTPException) as error:
            if trouble := machine_trouble(error):
                raise trouble from error
            raise classify(error) from error
        except _STUMBLES as error:
            # What some page makes one of two thousand extractors raise must not stop a build of six thousand videos.
            message = f"yt-dlp stumbled over this page: {type(error).__name__}: {error}"
            raise FetchError(FailureCode.INTERNAL, message) from error
        files = [file for file in scratch.iterdir() if file.is_file() and file.suffix != ".part"]
        if len(files) != 1:
            raise FetchError(FailureCode.NETWORK, f"{url} gave {len(files)} files where one was expected")
        return files[0], info

    def _parameters(self, scratch: Path) -> dict[str, Any]:
        def watch(progress: Mapping[str, Any]) -> None:
            seen = max(progress.get("downloaded_bytes") or 0, progress.get("total_bytes") or 0)
            if seen > self._options.max_bytes:
                raise TooLargeError(f"more than {self._options.max_bytes} bytes")

        return {
            "facevid_allow_private": self._options.allow_private,
            "format": lambda context: choose_format(context["formats"], self._options.min_height_px),
            "outtmpl": {"default": str(scratch / "video.bin")},
            "progress_hooks": [watch],
            "logger": _Silent(),
            "socket_timeout": self._options.timeout_s,
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
            "continuedl": False,
            "overwrites": True,
            "fixup": "never",
            "hls_prefer_native": True,
            # No such program: nothing is handed to an ffmpeg whose network access we do not watch.
            "ffmpeg_location": "/nonexistent",
            "js_runtimes": {},
            "enable_file_urls": False,
            "geo_bypass": False,
        }

    def _require_size(self, size: int, url: str) -> None:
        if size > self._options.max_bytes:
            raise FetchError(
                FailureCode.TOO_LARGE, f"{url} has {size} bytes, more than the limit of {self._options.max_bytes}"
            )
        if size == 0:
            raise FetchError(FailureCode.CORRUPT, f"{url} is empty")


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


def _text(value: object) -> str | None:
    return printable(str(value), 1000) if value else None


def _day(value: object) -> str | None:
    try:
        return datetime.strptime(str(value), "%Y%m%d").replace(tzinfo=UTC).strftime("%Y-%m-%d")
    except ValueError:
        return None


def _number(value: object) -> float | None:
    # Whatever a page says: a number that is none, or none that anything has, was not told.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 < value < 1e9 else None


def _whole(value: object) -> int | None:
    number = _number(value)
    return None if number is None else round(number)
