"""Acquisition: one manifest row to one video file, from a local path, a bucket, or the web.

What comes from the web comes with yt-dlp through the build's egress proxy: a video waits for its host's turn, and
is tried again, with growing pauses, where that may help. See `pipeline.egress` and `pipeline.download`.
"""

import random
import stat
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from facevid.failures import FailureCode
from pipeline.config import FetchOptions
from pipeline.download.buckets import copy_object
from pipeline.download.cookies import read_cookies
from pipeline.download.handler import Session
from pipeline.download.partial import FILE_NAME, PartialFile, forget_partial, partial_file
from pipeline.download.ytdlp import download
from pipeline.egress.client import Lease, video_lease
from pipeline.egress.service import EgressAddress
from pipeline.egress.wire import RefusedError
from pipeline.faces.errors import VideoError
from pipeline.faces.probe import probe
from pipeline.fetch_errors import FetchError, machine_trouble, printable
from pipeline.fetched_video import FetchedVideo
from pipeline.job import partial_key
from pipeline.manifest import is_bucket, is_remote, local_path
from pipeline.reading import asked_twice
from pipeline.store import Store, StoreFullError, file_sha256

# A file may be this much shorter than its source says: pages round, and count credits.
_SHORTER_S = 2.0
_SHORTER_SHARE = 0.1


class Fetcher:
    """Fetches videos one after the other.

    Args:
        options: Options of acquisition.
        store: Where downloads go.
        folder: What relative local paths refer to.
        egress: The proxy; without it, there is no way to the web.
        on_wait: Called now and then while a host's turn is waited for, and when it has come.
        sleep: Waits for seconds between tries; tests replace it.
        draw: Random numbers in [0, 1); tests replace it.
    """

    def __init__(
        self,
        options: FetchOptions,
        store: Store,
        folder: Path,
        *,
        egress: EgressAddress | None = None,
        on_wait: Callable[[], None] = lambda: None,
        sleep: Callable[[float], None] = time.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._options = options
        self._store = store
        self._folder = folder
        self._egress = egress
        self._on_wait = on_wait
        self._sleep = sleep
        self._draw = draw
        self._cookies = read_cookies(options.cookies) if options.cookies else None

    def fetch(self, url: str) -> FetchedVideo:
        """Fetch one video.

        Args:
            url: The manifest's address or path.

        Raises:
            FetchError: It cannot be had.
            EgressError: The proxy is gone.
            StoreFullError: There is no room under `max_store_bytes`.
            OSError: The machine lacks what every video needs, such as room on the disk.
        """
        if not is_remote(url):
            return self._local(url)
        self._room_bytes()
        return self._bucket(url) if is_bucket(url) else self._web(url)

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

    def _bucket(self, url: str) -> FetchedVideo:
        with self._store.scratch() as folder:
            file = folder / FILE_NAME
            attempts = 0
            while True:
                attempts += 1
                try:
                    copy_object(url, file, max_bytes=self._options.max_bytes)
                    self._require_size(file.stat().st_size, url)
                except FetchError as error:
                    error.attempts = attempts
                    pause_s = self._options.courtesy.next_backoff_s(attempts, None, self._draw)
                    if not error.passing or pause_s is None:
                        raise
                    self._sleep(pause_s)
                else:
                    return self._kept(url, file, {"ext": url.rpartition("/")[2].rpartition(".")[2]})

    def _web(self, url: str) -> FetchedVideo:
        if self._egress is None:
            raise RuntimeError(f"{url} cannot be fetched without an egress proxy")
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        key = partial_key(url, self._options)
        with self._store.scratch() as spare, partial_file(self._store.root, key, spare) as partial:
            try:
                with video_lease(self._egress, host, port, url, on_wait=self._on_wait) as lease:
                    file, info = self._try(url, lease, partial)
                video = self._kept(url, file, info)
            except RefusedError as refused:
                raise FetchError(refused.code, refused.message, rest_s=refused.rest_s) from refused
            except FetchError as error:
                if not error.code.retryable:
                    forget_partial(partial)
                raise
            forget_partial(partial)
        return video

    def _try(self, url: str, lease: Lease, partial: PartialFile) -> tuple[Path, Mapping[str, Any]]:
        attempts = 0
        while True:
            attempts += 1
            partial.prepare()
            session = Session(
                lease=lease, partial=partial, timeout_s=self._options.timeout_s,
                ignore_opt_out=self._options.ignore_opt_out, room_bytes=self._room_bytes(),
            )  # fmt: skip
            try:
                file, info = download(url, session, self._options, self._cookies)
                self._require_size(file.stat().st_size, url)
                _require_duration(file, info)
            except FetchError as raised:
                error = raised
                if stopped := lease.stopped():
                    error = FetchError(stopped.code, stopped.message)
                error.attempts = attempts
                pause_s = self._options.courtesy.next_backoff_s(attempts, error.retry_after_s, self._draw)
                if not error.passing or pause_s is None:
                    lease.end(error.code)
                    raise error from raised
                self._sleep(pause_s)
                lease.again()
            else:
                lease.end(None)
                return file, info

    def _room_bytes(self) -> int | None:
        limit = self._options.max_store_bytes
        if limit is None:
            return None
        used = self._store.video_bytes()
        if used >= limit:
            raise StoreFullError(self._store.root, used, limit)
        return limit - used

    def _kept(self, url: str, file: Path, info: Mapping[str, Any]) -> FetchedVideo:
        size = file.stat().st_size
        sha256 = file_sha256(file)
        return FetchedVideo(
            sha256=sha256,
            path=self._store.add_video(file, sha256),
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

    def _require_size(self, size: int, url: str) -> None:
        if size > self._options.max_bytes:
            raise FetchError(
                FailureCode.TOO_LARGE, f"{url} has {size} bytes, more than the limit of {self._options.max_bytes}"
            )
        if size == 0:
            raise FetchError(FailureCode.CORRUPT, f"{url} is empty")


def _require_duration(file: Path, info: Mapping[str, Any]) -> None:
    told_s = _number(info.get("duration"))
    if told_s is None:
        return
    try:
        came_s = asked_twice(lambda: probe(file)).duration_s
    except VideoError:
        return  # what is wrong with it is for the next stage to say
    if came_s is not None and came_s < told_s - max(_SHORTER_S, _SHORTER_SHARE * told_s):
        message = f"the file lasts {came_s:.1f} s where its source says {told_s:.1f} s"
        raise FetchError(FailureCode.NETWORK, message, passing=True)


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
