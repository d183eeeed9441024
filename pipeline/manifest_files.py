"""Reading a manifest, whole and checked before any work starts.

Files are read as a stream, so that what stays in memory is the rows (about half a kilobyte each).
"""

import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from facevid.public_urls import public_url
from facevid.video_address import video_address
from pipeline.manifest import BadRow, Manifest, ManifestError, ManifestRow, is_remote, local_path
from pipeline.manifest_columns import bad_row, row_of
from pipeline.manifest_records import records


def read_manifest(path: Path, *, skip_bad_rows: bool = False) -> Manifest:
    """Read a manifest.

    Args:
        path: The file or folder, see `manifest_records.records`.
        skip_bad_rows: Bad rows will become failures: they alone are no reason to refuse the file.

    Returns:
        All its rows, good and bad.

    Raises:
        ManifestError: The file cannot be read as a manifest at all: not there, another suffix, no header, a required
            column missing, a column twice, no rows, or a broken row that swallows further lines.
    """
    good: list[ManifestRow] = []
    bad: list[BadRow] = []
    first_line: dict[str, int] = {}
    remarks: list[str] = []
    try:
        for record in records(path, skip_bad_rows=skip_bad_rows):
            if record.trouble is not None:
                bad.append(bad_row(record.line, record.values, record.trouble))
                continue
            if record.repeats is not None:
                url = public_url(record.values["url"])
                remarks.append(f"line {record.line}: {url} is the video of line {record.repeats}, and left out")
                continue
            row = row_of(record.line, record.values)
            if isinstance(row, ManifestRow) and row.video_id in first_line:
                reason = f"video_id {row.video_id!r} stands already on line {first_line[row.video_id]}"
                row = bad_row(record.line, record.values, reason)
            if isinstance(row, BadRow):
                bad.append(row)
            else:
                first_line[row.video_id] = row.line
                good.append(row)
    except OSError as error:
        raise ManifestError(f"cannot read the manifest {path}: {error.strerror or error}") from error
    if not good and not bad:
        raise ManifestError(f"{path} has no rows")
    folder = local_path(str(path), Path.cwd())
    folder = folder if folder.is_dir() else folder.parent
    return Manifest(rows=tuple(good), bad_rows=tuple(bad), folder=folder, remarks=(*remarks, *_remarks(good, folder)))


def _remarks(rows: Sequence[ManifestRow], folder: Path) -> tuple[str, ...]:
    # Two rows may want different parts of one video; the same part twice would count its frames twice.
    found: list[str] = []
    videos = [video_address(row.url) if is_remote(row.url) else str(local_path(row.url, folder)) for row in rows]
    times = Counter(videos)
    by_video: dict[str, list[ManifestRow]] = {}
    for row, video in zip(rows, videos, strict=True):
        if times[video] > 1:
            by_video.setdefault(video, []).append(row)
    for same in by_video.values():
        same.sort(key=lambda row: (row.start_s or 0.0, row.line))
        for before, after in itertools.pairwise(same):
            if before.end_s is None or (after.start_s or 0.0) < before.end_s:
                second = max(before, after, key=lambda row: row.line)
                found.append(
                    f"line {second.line}: {public_url(second.url)} is in the dataset twice, as "
                    f"{before.video_id} (line {before.line}) and {after.video_id}, with the same or overlapping times"
                )
    return tuple(found)
