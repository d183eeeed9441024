"""The columns of a manifest: what may stand in them, as a published schema and as the check of one row."""

import math
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from facevid.public_urls import public_url
from facevid.splits import SPLITS, Split
from pipeline.manifest import BadRow, ManifestRow, is_remote

REQUIRED_COLUMNS = ("video_id", "url")
OPTIONAL_COLUMNS = ("start_s", "end_s", "subject_id", "licence", "attribution", "split")

# Ids become names of files and of columns' values: letters first keeps out options, `..` and hidden files.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LONGEST_ADDRESS = 4096
_LONGEST_TEXT = 1 << 16


def manifest_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of one row of a manifest, as JSON lines write it.

    CSV files have the same columns, every value as text and an empty one for none; Parquet files have them as
    strings and numbers, null for none.
    """
    seconds = {"type": ["number", "null"], "minimum": 0}
    text = {"type": ["string", "null"], "maxLength": _LONGEST_TEXT}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "FaceVid manifest row",
        "type": "object",
        "required": list(REQUIRED_COLUMNS),
        "properties": {
            "video_id": {"type": "string", "pattern": f"^{_ID.pattern}$", "description": "unique in the manifest"},
            "url": {
                "type": "string", "maxLength": _LONGEST_ADDRESS, "pattern": r"^[^\u0000-\u001f\u007f]+$",
                "description": "http(s) address of a video or of a page with one, without user name or password; "
                               "gs:// or s3:// address of a video; or a path, relative to the manifest's folder",
            },
            "start_s": seconds | {"description": "start of the wanted range, seconds on the file's clock"},
            "end_s": seconds | {
                "description": "end of the wanted range (exclusive), seconds; after start_s, not after the video's end"
            },
            "subject_id": text | {"description": "who is seen; all videos of a subject fall into one split"},
            "licence": text | {"description": "licence statement, kept in the tracks table"},
            "attribution": text | {"description": "whom to credit, kept in the tracks table"},
            "split": {"enum": [*SPLITS, "", None], "description": "without it, by a hash of the subject or the video"},
        },
        "additionalProperties": {
            "description": "kept as text in the column `extra` of the tracks table, as one JSON object"
        },
    }  # fmt: skip


def row_of(line: int, values: Mapping[str, str]) -> ManifestRow | BadRow:
    """Check one row.

    Args:
        line: Where it stands.
        values: Text per column, stripped; an empty one is no value.

    Returns:
        The row, or what is wrong with it.
    """
    if reason := _trouble(values):
        return bad_row(line, values, reason)
    split: Split | None = next((name for name in SPLITS if name == values.get("split")), None)
    known = {*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS}
    return ManifestRow(
        video_id=values["video_id"],
        url=values["url"],
        start_s=_seconds(values.get("start_s")),
        end_s=_seconds(values.get("end_s")),
        subject_id=values.get("subject_id") or None,
        licence=values.get("licence") or None,
        attribution=values.get("attribution") or None,
        split=split,
        extra=tuple((name, value) for name, value in values.items() if value and name not in known),
        line=line,
    )


def bad_row(line: int, values: Mapping[str, str], reason: str) -> BadRow:
    """A row that cannot be used, with what can be shown of it: its address goes into the dataset."""
    return BadRow(
        line=line, video_id=_printable(values.get("video_id", "")),
        url=_printable(public_url(values.get("url", ""))),
        reason=reason,
    )  # fmt: skip


def _trouble(values: Mapping[str, str]) -> str | None:
    if missing := [name for name in REQUIRED_COLUMNS if name not in values]:
        return f"it lacks {' and '.join(missing)}"
    if odd := next((name for name, value in values.items() if not _is_unicode(name) or not _is_unicode(value)), None):
        return f"{_printable(odd)}: not valid UTF-8"
    if long := next((name for name, value in values.items() if len(value) > _LONGEST_TEXT), None):
        return f"{long} has {len(values[long])} characters, more than {_LONGEST_TEXT}"
    video_id = values["video_id"]
    if not _ID.fullmatch(video_id):
        return (
            f"video_id {video_id!r} is not an id: 1 to 128 letters, digits, '.', '_' or '-', "
            "beginning with a letter or digit"
        )
    if (split := values.get("split", "")) and split not in SPLITS:
        return f"split {split!r} is none of {', '.join(SPLITS)}"
    return _address_trouble(values["url"]) or _range_trouble(values.get("start_s", ""), values.get("end_s", ""))


def _address_trouble(url: str) -> str | None:
    if not url:
        return "url is empty"
    if len(url) > _LONGEST_ADDRESS:
        return f"url has {len(url)} characters, more than {_LONGEST_ADDRESS}"
    if _CONTROL.search(url):
        return f"url {public_url(url)!r} holds control characters"
    if not is_remote(url):
        if scheme := _SCHEME.match(url):
            shown = public_url(url)
            return f"url {shown!r} has the scheme {scheme[1]!r}; only http, https, gs, s3 and local paths are read"
        return None
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        # The error quotes what stands where a port should, which may be the rest of a password.
        return f"url {public_url(url)!r} is no address" + ("" if "@" in url else f": {error}")
    if not host:
        return f"url {public_url(url)!r} names no host"
    if parts.username is not None or parts.password is not None:
        # The dataset records the address; a password in it would be published.
        return "url carries a user name or password, which the dataset would publish"
    return None


def _range_trouble(start: str, end: str) -> str | None:
    seconds: dict[str, float] = {}
    for name, text in (("start_s", start), ("end_s", end)):
        if not text:
            continue
        try:
            seconds[name] = float(text)
        except ValueError:
            return f"{name} {text!r} is no number of seconds"
        if not math.isfinite(seconds[name]) or seconds[name] < 0:
            return f"{name} {text!r} is not a finite number of seconds from 0"
    if "end_s" in seconds and seconds.get("start_s", 0.0) >= seconds["end_s"]:
        return f"start_s {start or '0'} is not before end_s {end}"
    return None


def _seconds(text: str | None) -> float | None:
    return float(text) if text else None


def _is_unicode(text: str) -> bool:
    # Surrogates stand for bytes that are no UTF-8, or come from JSON's \ud800; no file can be written with them.
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)


def _printable(text: str) -> str:
    return _CONTROL.sub("?", text.encode("utf-8", errors="replace").decode())[:_LONGEST_ADDRESS]
