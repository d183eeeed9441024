"""A video file at hand, and what the store holds of it: the record of a fetch."""

import hashlib
import json
from dataclasses import dataclass, fields
from pathlib import Path
from types import NoneType
from typing import Any

from facevid.video_address import video_address
from pipeline.damage import intact, require_kinds
from pipeline.store import MAKE_AGAIN, Store, write_json


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedVideo:
    """A video file at hand: the arrow from fetch to faces.

    Attributes:
        sha256: Hash of the file, 64 hexadecimal digits.
        path: Where it lies: in the store, or the local file that the manifest names.
        url: The manifest's address or path.
        title: The source's title, where it told.
        uploader: The source's uploader, where it told.
        licence: The source's licence statement, where it told.
        fetched_at: UTC time of the download, ISO 8601; None for local files.
        bytes: File size.
        upload_date: Day of publication, YYYY-MM-DD, where the source told.
        format_id: The source's name of the format that was taken, where it told.
        extension: The file name's ending that the source told, without its dot.
        width_px: Picture width as the source told, before any rotation.
        height_px: Picture height as the source told.
        fps: Frame rate as the source told.
        duration_s: Duration as the source told.
        file_duration_s: Duration as the file itself tells; None where it does not.
        indexed: Whether reading may begin in the middle of the file.
    """

    sha256: str
    path: Path
    url: str
    title: str | None
    uploader: str | None
    licence: str | None
    fetched_at: str | None
    bytes: int
    upload_date: str | None = None
    format_id: str | None = None
    extension: str | None = None
    width_px: int | None = None
    height_px: int | None = None
    fps: float | None = None
    duration_s: float | None = None
    file_duration_s: float | None = None
    indexed: bool = True


def write_fetched(folder: Path, video: FetchedVideo, *, local: bool) -> None:
    """Write a fetch's record. A local file is named, a downloaded one is found by its hash, its address too."""
    record = {own.name: getattr(video, own.name) for own in fields(video) if own.name not in {"path", "url"}}
    origin = {"local_path": str(video.path)} if local else {"local_path": None, "address": address_hash(video.url)}
    write_json(folder / "video.json", record | origin)


def address_hash(url: str) -> str:
    """What a record says of an address, which may hold secrets; the same for every spelling of it."""
    return hashlib.sha256(video_address(url).encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a fetched video is from.

    Attributes:
        sha256: Hash of the file.
        local_path: The local file, of those that are.
        address: `address_hash` of the address of a downloaded one; None in records of an earlier version.
    """

    sha256: str
    local_path: str | None
    address: str | None


def read_origin(folder: Path) -> Origin | None:
    """Where the video of a fetch's record is from; None where the record is of a failure.

    Raises:
        DatasetError: The record is damaged.
    """
    record = _record(folder / "video.json", sha256=str)
    if record is None:
        return None
    return Origin(sha256=record["sha256"], local_path=record.get("local_path"), address=record.get("address"))


def failed_address(folder: Path) -> str | None:
    """The `address_hash` in a fetch's record of a failure; None where it has none.

    Raises:
        DatasetError: The record is damaged.
    """
    record = _record(folder / "failure.json", message=str)
    return None if record is None else record.get("address")


def _record(file: Path, **kinds: type) -> dict[str, Any] | None:
    """What a record says, with values of these kinds; None where there is no such file."""
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return None
    with intact(file, MAKE_AGAIN):
        record: dict[str, Any] = json.loads(data)
        require_kinds(record, **kinds)
        return record


def read_fetched(store: Store, key: str, *, url: str) -> FetchedVideo:
    """Read a fetch's record; `url` is the row's, as two manifests may name one file in two ways."""
    file = store.result_path("fetch", key) / "video.json"
    with intact(file, MAKE_AGAIN):
        record = json.loads(file.read_bytes())
        require_kinds(record, sha256=str, bytes=int, file_duration_s=(int, float, NoneType))
        path = record.pop("local_path")
        record.pop("address", None)
        return FetchedVideo(**record, url=url, path=Path(path) if path else store.video_path(record["sha256"]))
