"""Files that came in part: kept from one try, or one build, to the next, and gone on with if they are the same."""

import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.message import Message
from pathlib import Path
from typing import TypedDict

FILE_NAME = "video.bin"
"""What the download is called; yt-dlp adds `.part` while it is not whole."""

_LOCK = "lock"
_KEPT_S = 14 * 24 * 3600.0
_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e]*"')


class PartialFile:
    """A download's folder, and what its server said of the file that comes into it.

    A file may be gone on with where it is the one that was begun (the same format, see `begin`) and its server named
    its version (a strong ETag, or Last-Modified); the request says so in If-Range, and gets the whole file if that has
    changed (RFC 9110, section 13.1.5). Not all servers keep to that: answers are held against what was begun.

    Args:
        folder: Where the download is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._part = folder / f"{FILE_NAME}.part"
        self._record_file = folder / "begun.json"
        self._identity = ""

    def prepare(self) -> None:
        """Before a try: remove what cannot be gone on with."""
        keep = {self._part, self._record_file} if self._record() and self._part.is_file() else set()
        for path in self.folder.iterdir():
            if path not in keep and path.name != _LOCK:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def begin(self, identity: str) -> None:
        """Before the file itself is asked for: remove what there is of another one.

        Args:
            identity: Names the file among all that this download may come to, such as the formats of a page.
        """
        self._identity = identity
        if (record := self._record()) is not None and record["identity"] != identity:
            self.drop()

    def drop(self) -> None:
        """Remove what has come of the file."""
        self._record_file.unlink(missing_ok=True)
        self._part.unlink(missing_ok=True)

    def version_for(self, ranges: str | None) -> str | None:
        """The If-Range of a request with this Range header, or None where it does not go on with the file."""
        match = re.fullmatch(r"bytes=(\d+)-\d*", ranges or "")
        if match is None or not self._part.is_file() or int(match[1]) != self._part.stat().st_size:
            return None
        return None if (record := self._record()) is None else record["version"]

    def note(self, headers: Message) -> None:
        """Note which version of the file a server begins to send from its first byte."""
        version = _version(headers)
        if version:
            record = _Record(identity=self._identity, version=version, total=_total(headers))
            self._record_file.write_text(json.dumps(record), "utf-8")
        else:
            self._record_file.unlink(missing_ok=True)

    def goes_on(self, headers: Message) -> bool:
        """Whether the part that a server sends (status 206) is the rest of the file that was begun."""
        record = self._record()
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", (headers.get("Content-Range") or "").strip())
        if record is None or match is None or int(match[1]) != self.bytes():
            return False
        if record["total"] is not None and match[2] != "*" and record["total"] != match[2]:
            return False
        told = _version(headers)
        return told is None or told == record["version"] or _is_date(told) != _is_date(record["version"])

    def bytes(self) -> int:
        """How much of the file is here."""
        return self._part.stat().st_size if self._part.is_file() else 0

    def _record(self) -> "_Record | None":
        try:
            plain = json.loads(self._record_file.read_text("utf-8"))
            return _Record(identity=str(plain["identity"]), version=str(plain["version"]), total=plain["total"])
        except (FileNotFoundError, ValueError, LookupError, TypeError):  # cut short by a full disk, say
            return None


class _Record(TypedDict):
    identity: str
    version: str
    total: str | None


def _version(headers: Message) -> str | None:
    etag, date = headers.get("ETag"), headers.get("Last-Modified")
    version = etag if etag and _STRONG_ETAG.fullmatch(etag) else date
    return version if version and version.isprintable() else None


def _is_date(version: str) -> bool:
    return not version.startswith('"')


def _total(headers: Message) -> str | None:
    """The length of the whole file, in digits."""
    match = re.fullmatch(r"bytes 0-\d+/(\d+)", (headers.get("Content-Range") or "").strip())
    length = match[1] if match else (headers.get("Content-Length") or "").strip()
    return length if length.isascii() and length.isdecimal() else None


@contextmanager
def partial_file(store: Path, key: str, spare: Path) -> Iterator[PartialFile]:
    """The folder of one download, which outlives this process.

    Args:
        store: The store's folder.
        key: Names what is downloaded.
        spare: An empty folder to use instead where another process is at the same download.
    """
    folder = store / "partial" / key[:2] / key
    descriptor = _held(folder)
    if descriptor is None:
        yield PartialFile(spare)
        return
    try:
        yield PartialFile(folder)
    finally:
        os.close(descriptor)


def _held(folder: Path, *, make: bool = True) -> int | None:
    """The folder's lock, held; None where another process holds it (or there is no folder and none is to be made)."""
    while True:
        if make:
            folder.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:  # another process was done with this download just now
            if make:
                continue
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        # A lock on a file that was removed before it was locked keeps nobody out.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), (folder / _LOCK).stat()):
                return descriptor
        os.close(descriptor)
        if not make:
            return None


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
        # First a look without the lock, which would touch the folder.
        if _touched_s(folder) < before_s and (descriptor := _held(folder, make=False)) is not None:
            try:
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)


def _touched_s(folder: Path) -> float:
    times = []
    for path in (folder, *folder.glob("*")):
        with suppress(FileNotFoundError):  # a running download renames and removes its files
            times.append(path.stat().st_mtime)
    return max(times, default=float("inf"))
