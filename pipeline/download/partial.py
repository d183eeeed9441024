"""Files that came in part: kept from one try, or one build, to the next, and gone on with if they are the same."""

import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from pathlib import Path

FILE_NAME = "video.bin"
"""What the download is called; yt-dlp adds `.part` while it is not whole."""

_LOCK = "lock"
_KEPT_S = 14 * 24 * 3600.0
_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e]*"')


class PartialFile:
    """A download's folder, and what its server said of the file that comes into it.

    A file may be gone on with where the server named its version (a strong ETag, or Last-Modified); the request
    says so in If-Range, and gets the whole file if that has changed (RFC 9110, section 13.1.5).

    Args:
        folder: Where the download is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._part = folder / f"{FILE_NAME}.part"
        self._version_file = folder / "version"

    def prepare(self) -> None:
        """Before a try: remove what cannot be gone on with."""
        keep = {self._part, self._version_file} if self._version() and self._part.is_file() else set()
        for path in self.folder.iterdir():
            if path not in keep and path.name != _LOCK:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def version_for(self, ranges: str | None) -> str | None:
        """The If-Range of a request with this Range header, or None where it does not go on with the file."""
        match = re.fullmatch(r"bytes=(\d+)-\d*", ranges or "")
        if match is None or not self._part.is_file() or int(match[1]) != self._part.stat().st_size:
            return None
        return self._version()

    def note(self, headers: Message) -> None:
        """Note which version of the file a server begins to send from its first byte."""
        etag, date = headers.get("ETag"), headers.get("Last-Modified")
        version = etag if etag and _STRONG_ETAG.fullmatch(etag) else date
        if version and version.isprintable():
            self._version_file.write_text(version, "latin-1", "replace")
        else:
            self._version_file.unlink(missing_ok=True)

    def bytes(self) -> int:
        """How much of the file is here."""
        return self._part.stat().st_size if self._part.is_file() else 0

    def _version(self) -> str | None:
        return self._version_file.read_text("latin-1") if self._version_file.is_file() else None


@contextmanager
def partial_file(store: Path, key: str, spare: Path) -> Iterator[PartialFile]:
    """The folder of one download, which outlives this process.

    Args:
        store: The store's folder.
        key: Names what is downloaded.
        spare: An empty folder to use instead where another process is at the same download.
    """
    folder = store / "partial" / key[:2] / key
    descriptor = _open_lock(folder)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield PartialFile(spare)
        else:
            yield PartialFile(folder)
    finally:
        os.close(descriptor)


def _open_lock(folder: Path) -> int:
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            return os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:  # another process was done with this download just now
            continue


def forget_partial(partial: PartialFile) -> None:
    """Remove a download's folder: the video is had, or cannot be."""
    shutil.rmtree(partial.folder, ignore_errors=True)


def sweep_partials(store: Path, *, now_s: float | None = None) -> None:
    """Remove partial downloads that nobody has touched for two weeks.

    Args:
        store: The store's folder.
        now_s: Seconds since the epoch; tests replace it.
    """
    before_s = (time.time() if now_s is None else now_s) - _KEPT_S
    for folder in (store / "partial").glob("*/*"):
        if max((path.stat().st_mtime for path in (folder, *folder.iterdir())), default=0.0) < before_s:
            shutil.rmtree(folder, ignore_errors=True)
