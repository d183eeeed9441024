"""Which videos a report shows: a page of them all, some by name, or those that were fitted worst."""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAX_VIDEOS = 40
"""Videos shown in one page; a page of more is too large to open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What of a dataset is to be shown: at most one of the three.

    Attributes:
        videos: These, in this order.
        worst: So many videos, of the kept track with the largest hold-out error first.
        page: Which page of all videos by id, from 1.
    """

    videos: tuple[str, ...] = ()
    worst: int | None = None
    page: int | None = None

    def __post_init__(self) -> None:
        """Refuse values outside their range, and two answers to one question.

        Raises:
            ValueError: Naming the option and its value.
        """
        given = [name for name in ("videos", "worst", "page") if getattr(self, name) not in {None, ()}]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} each say which videos are shown: give one of them")
        if self.worst is not None and not 1 <= self.worst <= MAX_VIDEOS:
            raise ValueError(f"worst={self.worst} must lie between 1 and {MAX_VIDEOS}, the videos that one page holds")
        if len(self.videos) > MAX_VIDEOS:
            raise ValueError(f"videos names {len(self.videos)}, more than the {MAX_VIDEOS} that one page holds")
        if self.page is not None and self.page < 1:
            raise ValueError(f"page={self.page} is below 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The videos to show.

    Attributes:
        video_ids: In the order in which they are shown.
        told: What the page says of the choice; empty where it shows all there are.
    """

    video_ids: tuple[str, ...]
    told: str


def chosen_videos(rows: Mapping[str, Sequence[Mapping[str, Any]]], choice: Choice) -> Chosen:
    """Choose.

    Args:
        rows: By video, its rows of the tracks table.
        choice: What is wanted.

    Raises:
        ValueError: There is no such video, or no such page.
    """
    count = len(rows)
    if choice.videos:
        for name in choice.videos:
            if name not in rows:
                near = difflib.get_close_matches(name, rows, n=1)
                meant = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"videos={name!r} has no face track in the dataset{meant}")
        shown = tuple(dict.fromkeys(choice.videos))
        return Chosen(video_ids=shown, told=f"Of {count} videos, those that were asked for are shown.")
    if choice.worst is not None:
        errors = {video_id: error for video_id, own in rows.items() if (error := _worst_error(own)) is not None}
        ranked = sorted(errors, key=lambda video_id: (-errors[video_id], video_id))[: choice.worst]
        told = (
            f"Of {len(errors)} videos with a kept track, the {len(ranked)} whose hold-out error is the largest are "
            "shown, the worst first. What is not to be kept, VIDEO_ID or VIDEO_ID:TRACK, goes line by line into a file "
            "for facevid build --reject-list."
        )
        return Chosen(video_ids=tuple(ranked), told=told)
    pages, page = max(1, math.ceil(count / MAX_VIDEOS)), choice.page or 1
    if page > pages:
        raise ValueError(f"page={page}: the last page is {pages} ({count} videos, {MAX_VIDEOS} a page)")
    first = MAX_VIDEOS * (page - 1)
    shown = tuple(sorted(rows)[first : first + MAX_VIDEOS])
    told = f"Page {page} of {pages}: videos {first + 1} to {first + len(shown)} of {count}, by id." if pages > 1 else ""
    return Chosen(video_ids=shown, told=told + (" Another one: facevid report --page N." if pages > 1 else ""))


def _worst_error(tracks: Sequence[Mapping[str, Any]]) -> float | None:
    """Of the kept tracks; None where there is none."""
    return max((track["holdout_error"] for track in tracks if track["kept"]), default=None)
