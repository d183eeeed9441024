"""The manifest: which videos a dataset is built from. These are its types; `manifest_files` reads it.

Nothing here checks anything: a `ManifestRow` that a file gave has passed `manifest_columns.row_of`.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from facevid.splits import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestRow:
    """One video to build, or one clip of a video.

    Attributes:
        video_id: Unique in the manifest; letters, digits, `.`, `_`, `-`, a letter or digit first, at most 128.
        url: An http(s), gs or s3 address, or the path of a local file (relative to the manifest's folder).
        start_s: Start of the wanted range, seconds on the file's clock, or None.
        end_s: End of the wanted range (exclusive), seconds on the file's clock, or None.
        subject_id: Who it is; all videos of a subject fall into one split.
        licence: Licence statement, for the tracks table.
        attribution: Whom to credit, for the tracks table.
        split: The split, where the manifest chooses it.
        extra: Columns that we do not know, as (name, value), in the manifest's order; empty values are left out.
        line: Where the row begins in the manifest, from 1; in a Parquet file the row's number, from 1; 0 in a folder.
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

    @property
    def is_clip(self) -> bool:
        """Whether only a part of the video is wanted."""
        return self.start_s is not None or self.end_s is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRow:
    """A row that cannot be used.

    Attributes:
        line: Where the row begins in the manifest, from 1; 0 in a folder.
        video_id: What stands in its id column, made printable; may be empty.
        url: What stands in its url column, made printable; may be empty.
        reason: What is wrong with it.
    """

    line: int
    video_id: str
    url: str
    reason: str

    def words(self) -> str:
        """Where it stands and what is wrong with it; in a folder the reason names the file."""
        return f"line {self.line}: {self.reason}" if self.line else self.reason


class ManifestError(ValueError):
    """The manifest cannot be used; the message lists every bad row by line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest that was read to its end.

    Attributes:
        rows: The good rows, in the file's order.
        bad_rows: The others, in the file's order.
        folder: What relative paths in it refer to.
        remarks: What is odd about good rows, one sentence each, such as two that name the same video.
    """

    rows: Sequence[ManifestRow]
    bad_rows: Sequence[BadRow]
    folder: Path
    remarks: tuple[str, ...] = ()

    def require_all_good(self) -> None:
        """Stop if there are bad rows.

        Raises:
            ManifestError: Naming all of them.
        """
        if self.bad_rows:
            listing = "\n".join(f"  {bad.words()}" for bad in self.bad_rows)
            raise ManifestError(
                f"{len(self.bad_rows)} bad row(s) in the manifest, nothing was done "
                f"(--skip-bad-rows goes on without them):\n{listing}"
            )


def is_remote(url: str) -> bool:
    """Whether a manifest's url is fetched over the network; else it is a local path."""
    return url.lower().startswith(("http://", "https://")) or is_bucket(url)


def is_bucket(url: str) -> bool:
    """Whether a manifest's url names an object in a bucket (`memory://` is one inside this process)."""
    return url.lower().startswith(("gs://", "s3://", "memory://"))


def local_path(url: str, folder: Path) -> Path:
    """The absolute path that a manifest's local url means; symbolic links are left as they are."""
    return Path(os.path.abspath(folder / url))  # noqa: PTH100  # resolve() raises on a circle of links
