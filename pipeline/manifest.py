"""The manifest: one CSV row per video to build, read whole and checked before any work starts."""

import csv
import io
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from facevid.splits import SPLITS, Split

REQUIRED_COLUMNS = ("video_id", "url")
OPTIONAL_COLUMNS = ("start_s", "end_s", "subject_id", "licence", "attribution", "split")

# Ids become names of files and of columns' values: letters first keeps out options, `..` and hidden files.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LONGEST_ADDRESS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestRow:
    """One video to build.

    Attributes:
        video_id: Unique in the manifest; letters, digits, `.`, `_`, `-`, a letter or digit first, at most 128.
        url: An http(s) address, or the path of a local file (relative to the manifest's folder).
        start_s: Start of the wanted range, seconds, or None.
        end_s: End of the wanted range, seconds, or None.
        subject_id: Who it is; all videos of a subject fall into one split.
        licence: Licence statement, for the tracks table.
        attribution: Whom to credit, for the tracks table.
        split: The split, where the manifest chooses it.
        extra: Columns that we do not know, as (name, value), in the manifest's order.
        line: Where the row begins in the manifest, from 1.
    """

    video_id: str
    url: str
    start_s: float | None = None
    end_s: float | None = None
    subject_id: str | None = None
    licence: str | None = None
    attribution: str | None = None
    split: Split | None = None
    extra: tuple[tuple[str, str], ...] = ()
    line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRow:
    """A row that cannot be used.

    Attributes:
        line: Where the row begins in the manifest, from 1.
        video_id: What stands in its id column, made printable; may be empty.
        url: What stands in its url column, made printable; may be empty.
        reason: What is wrong with it.
    """

    line: int
    video_id: str
    url: str
    reason: str


class ManifestError(ValueError):
    """The manifest cannot be used; the message lists every bad row by line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest that was read to its end.

    Attributes:
        rows: The good rows, in the file's order.
        bad_rows: The others, in the file's order.
        folder: What relative paths in it refer to.
    """

    rows: tuple[ManifestRow, ...]
    bad_rows: tuple[BadRow, ...]
    folder: Path

    def require_all_good(self) -> None:
        """Stop if there are bad rows.

        Raises:
            ManifestError: Naming all of them.
        """
        if self.bad_rows:
            listing = "\n".join(f"  line {bad.line}: {bad.reason}" for bad in self.bad_rows)
            raise ManifestError(f"{len(self.bad_rows)} bad row(s) in the manifest, nothing was done:\n{listing}")


def is_remote(url: str) -> bool:
    """Whether a manifest's url is fetched over the network; else it is a local path."""
    return url.lower().startswith(("http://", "https://"))


def local_path(url: str, folder: Path) -> Path:
    """The absolute path that a manifest's local url means; symbolic links are left as they are."""
    return Path(os.path.abspath(folder / url))  # noqa: PTH100  # resolve() raises on a circle of links


def read_manifest(path: Path) -> Manifest:
    """Read a CSV manifest (UTF-8, RFC 4180 quoting, a header line).

    Args:
        path: The file.

    Returns:
        All its rows, good and bad.

    Raises:
        ManifestError: The file cannot be read as a manifest at all: not there, no header, a required
            column missing, a column twice, no rows, or a broken row that swallows further lines.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ManifestError(f"cannot read the manifest {path}: {error.strerror}") from error
    # Undecodable bytes are carried through as surrogates, so that the rows around a bad one are still read.
    records = _records(data.decode("utf-8-sig", errors="surrogateescape"))
    header = next(records, None)
    if header is None or header[2] is not None:
        raise ManifestError(f"{path} has no header line; it should start with: {','.join(REQUIRED_COLUMNS)}")
    columns = [name.strip() for name in header[1]]
    if missing := [name for name in REQUIRED_COLUMNS if name not in columns]:
        raise ManifestError(f"{path} lacks the column(s) {', '.join(missing)}; its header is: {','.join(columns)}")
    if twice := sorted({name for name in columns if columns.count(name) > 1}):
        raise ManifestError(f"{path} has the column(s) {', '.join(map(repr, twice))} twice")
    good: list[ManifestRow] = []
    bad: list[BadRow] = []
    first_line: dict[str, int] = {}
    for line, fields, trouble in records:
        values = dict(zip(columns, (field.strip() for field in fields), strict=False))
        reason = trouble or _field_trouble(columns, fields) or _trouble(values)
        video_id = values.get("video_id", "")
        if reason is None and video_id in first_line:
            reason = f"video_id {video_id!r} stands already on line {first_line[video_id]}"
        if reason is None:
            first_line[video_id] = line
            good.append(_row(line, values))
        else:
            bad.append(
                BadRow(line=line, video_id=_printable(video_id), url=_printable(values.get("url", "")), reason=reason)
            )
    if not good and not bad:
        raise ManifestError(f"{path} has a header but no rows")
    return Manifest(rows=tuple(good), bad_rows=tuple(bad), folder=local_path(str(path), Path.cwd()).parent)


def _records(text: str) -> Iterator[tuple[int, list[str], str | None]]:
    # (line, fields, what csv says is wrong); blank lines are left out.
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if reader.line_num > line:
                # Rows would be lost in it, counted as one.
                message = f"lines {line} to {reader.line_num} are no CSV rows ({error}): is a quote not closed?"
                raise ManifestError(message) from error
            yield line, [], f"not CSV: {error}"
            continue
        if fields:
            yield line, fields, None


def _field_trouble(columns: list[str], fields: list[str]) -> str | None:
    if len(fields) != len(columns):
        return f"{len(fields)} field(s), but the header has {len(columns)}"
    if any("\udc80" <= char <= "\udcff" for field in fields for char in field):
        return "not valid UTF-8"
    return None


def _trouble(values: dict[str, str]) -> str | None:
    video_id, url = values["video_id"], values["url"]
    if not _ID.fullmatch(video_id):
        return (
            f"video_id {video_id!r} is not an id: 1 to 128 letters, digits, '.', '_' or '-', "
            "beginning with a letter or digit"
        )
    if (split := values.get("split", "")) and split not in SPLITS:
        return f"split {split!r} is none of {', '.join(SPLITS)}"
    return _address_trouble(url) or _range_trouble(values.get("start_s", ""), values.get("end_s", ""))


def _address_trouble(url: str) -> str | None:
    if not url:
        return "url is empty"
    if len(url) > _LONGEST_ADDRESS:
        return f"url has {len(url)} characters, more than {_LONGEST_ADDRESS}"
    if _CONTROL.search(url):
        return f"url {url!r} holds control characters"
    if not is_remote(url):
        if scheme := _SCHEME.match(url):
            return f"url {url!r} has the scheme {scheme[1]!r}; only http, https and local paths are read"
        return None
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return f"url {url!r} is no address: {error}"
    if not host:
        return f"url {url!r} names no host"
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
    if seconds:
        # Ignoring a range would put frames into the dataset that nobody asked for.
        return f"{' and '.join(seconds)}: time ranges are not supported yet; leave them empty to take the whole video"
    return None


def _row(line: int, values: dict[str, str]) -> ManifestRow:
    split: Split | None = next((name for name in SPLITS if name == values.get("split")), None)
    names = (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS)
    extra = tuple((name, value) for name, value in values.items() if name not in names)
    return ManifestRow(
        video_id=values["video_id"],
        url=values["url"],
        subject_id=values.get("subject_id") or None,
        licence=values.get("licence") or None,
        attribution=values.get("attribution") or None,
        split=split,
        extra=extra,
        line=line,
    )


def _printable(text: str) -> str:
    return _CONTROL.sub("?", text.encode("utf-8", errors="replace").decode())[:_LONGEST_ADDRESS]
