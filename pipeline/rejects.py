"""The list of what a person has looked at and does not want: videos and face tracks that are marked, and never kept.

One entry per line, VIDEO_ID or VIDEO_ID:TRACK; ` #` begins a comment. The rows stay in the tables with `kept = false`;
to have a video fetched no more is the deny list's matter.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from pipeline.manifest import ManifestRow
from pipeline.text_encoding import other_encoding

_TRACK = re.compile(r":\d+$")
REJECTED = "rejected"
"""The reason of what is on the list."""


def read_rejects(path: Path) -> tuple[str, ...]:
    """The entries of a list, each once, sorted.

    Raises:
        ValueError: The file cannot be read.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"it {other_encoding(path) or 'is not UTF-8'}"
        raise ValueError(f"cannot read the reject list {path}: {reason}") from error
    entries = (re.sub(r"(^|\s)#.*", "", line).strip() for line in lines)
    return tuple(sorted({entry for entry in entries if entry}))


def is_rejected(rejects: Collection[str], video_id: str, track: int) -> bool:
    """Whether a list has a track, or the whole of its video.

    Args:
        rejects: The entries; a set, where many tracks are asked for.
        video_id: The manifest's id.
        track: Number of the track in its video.
    """
    return video_id in rejects or f"{video_id}:{track}" in rejects


def unknown_rejects(rejects: Collection[str], rows: Sequence[ManifestRow]) -> tuple[str, ...]:
    """Entries that name no video of a manifest. Rows are read only where there are entries."""
    if not rejects:
        return ()
    known = {row.video_id for row in rows}
    return tuple(entry for entry in rejects if entry not in known and _TRACK.sub("", entry) not in known)


def unknown_tracks(
    rejects: Collection[str], rows: Sequence[ManifestRow], tracks: Iterable[tuple[str, int]]
) -> tuple[str, ...]:
    """Entries that name a track which its video does not have; of videos without any track, nothing is said.

    Args:
        rejects: The entries.
        rows: The manifest.
        tracks: All tracks that were found: the video's id, and the number of the track in it.
    """
    found = list(tracks)
    known = {row.video_id for row in rows} | {f"{video_id}:{track}" for video_id, track in found}
    with_tracks = {video_id for video_id, _ in found}
    return tuple(entry for entry in rejects if entry not in known and _TRACK.sub("", entry) in with_tracks)
