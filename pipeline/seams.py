"""Tracks over the borders of spans: which tracks of neighbouring spans are one face, and that face's track as a whole.

A span's worker also reads its lead, the last seconds of the span before, so both have followed the same face through
the same frames. Two tracks are one where they share frames and their boxes there are of one face. Where either of the
two has parted what the other has not, it stays parted: the earlier of two parts in the later span goes with the last of
two parts in the earlier one. Nothing but the stored tracks decides, so the result does not depend on who worked when.

The observed landmarks change from one span's to the other's with the last frame that both have. Where the later span
has lost a face by then, the earlier one, which has followed it for longer, goes on to the border, unless the later one
saw the shot end or began another track in the face's place. Both have smoothed the landmarks without knowing what comes
on the other side; between the two, the smoothed landmarks pass over linearly.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from jaxtyping import Float32

from pipeline.faces.landmark_track import LandmarkTrack
from pipeline.faces.overlaps import overlap
from pipeline.items import TrackBoxes, TrackPart

MOST_FRAMES = 108_000
"""Of all the tracks that begin in one span: an hour of one face at 30 frames per second. They are fitted together, and
what that needs of memory must not grow with the video; beyond it they end at a border."""
_ONE_FACE = 0.5
"""Median overlap of the boxes in shared frames; that of two faces next to each other is below 0.2."""
_SHARED = 0.5
"""Of the frames that one of the two has in the lead, both have at least this share. Less is what two tracks share whose
cut was found a few frames apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanBoxes:
    """The faces of one span.

    Attributes:
        number: Place of the span among the row's.
        first_frame: Where its frame 0, the first of its lead, stands among the row's.
        lead_frames: Frames of its lead.
        lead_shot_ends: Of each shot that ends in the lead, the first frame that is not of it alone.
        tracks: Where they are, in the span's own frames.
    """

    number: int
    first_frame: int
    lead_frames: int
    lead_shot_ends: tuple[int, ...] = ()
    tracks: tuple[TrackBoxes, ...]


@dataclass(slots=True)
class _Growing:
    """A track that may go on in the next span."""

    home: int
    parts: list[TrackPart]


def join_tracks(spans: Iterable[SpanBoxes]) -> dict[int, tuple[tuple[TrackPart, ...], ...]]:
    """All face tracks of a row, by the span in which they begin, in the order of that span's tracks.

    Args:
        spans: Those with face tracks, in order; two of them are in memory at a time.

    Returns:
        For each of the spans the tracks that begin in it, as their parts.
    """
    homes: dict[int, list[_Growing]] = {}
    before: SpanBoxes | None = None
    last: list[_Growing] = []
    for span in spans:
        seams = _seams(before, span) if before is not None and before.number + 1 == span.number else {}
        new_frames = _new_frames(span, seams, last)
        now: list[_Growing] = []
        homes[span.number] = []
        for track, boxes in enumerate(span.tracks):
            part = TrackPart(span=span.number, track=track, begin=int(boxes.frame[0]), end=int(boxes.frame[-1]) + 1)
            if track not in seams or before is None:
                now.append(_Growing(span.number, [part]))
                homes[span.number].append(now[-1])
                continue
            earlier, seam = seams[track]
            grown = last[earlier]
            part = replace(part, begin=seam)
            lost = part.begin == part.end  # in the lead
            shift = before.first_frame - span.first_frame
            end = _known_until(before.tracks[earlier], span, seam=seam, shift=shift) if lost else seam
            grown.parts[-1] = replace(grown.parts[-1], end=end - shift)
            if lost:
                now.append(_Growing(grown.home, [part]))
                continue
            held = sum(each.end - each.begin for one in homes[grown.home] for each in one.parts)
            if held + new_frames[grown.home] <= MOST_FRAMES:
                grown.parts.append(part)
                new_frames[grown.home] -= part.end - part.begin
                now.append(grown)
            else:
                now.append(_Growing(span.number, [part]))
                homes[span.number].append(now[-1])
        last, before = now, span
    return {number: tuple(tuple(one.parts) for one in ones) for number, ones in homes.items()}


def _new_frames(span: SpanBoxes, seams: Mapping[int, tuple[int, int]], last: Sequence[_Growing]) -> Counter[int]:
    """By how many frames the tracks that began in each span would grow."""
    frames: Counter[int] = Counter()
    for track, (earlier, seam) in seams.items():
        frames[last[earlier].home] += int(span.tracks[track].frame[-1]) + 1 - seam
    return frames


def _seams(before: SpanBoxes, after: SpanBoxes) -> dict[int, tuple[int, int]]:
    """For tracks of the later span that go on: the track of the earlier one, and its own first frame that is new."""
    shift = before.first_frame - after.first_frame  # from the earlier span's frames to the later one's
    one_face = [
        (earlier, later, seam)
        for later, new in enumerate(after.tracks)
        for earlier, old in enumerate(before.tracks)
        if (seam := _seam(old, new, shift=shift, border=after.lead_frames)) is not None
    ]
    found = {}
    for earlier, later, seam in one_face:
        first = min((b for a, b, _ in one_face if a == earlier), key=lambda b: int(after.tracks[b].frame[0]))
        final = max((a for a, b, _ in one_face if b == later), key=lambda a: int(before.tracks[a].frame[0]))
        if (final, first) == (earlier, later):
            found[later] = (earlier, seam)
    return found


def _seam(old: TrackBoxes, new: TrackBoxes, *, shift: int, border: int) -> int | None:
    """The frame after the last that both have, in the later span's count; None where they are not one face."""
    begin = max(int(old.frame[0]) + shift, int(new.frame[0]))
    end = min(int(old.frame[-1]) + shift, int(new.frame[-1])) + 1
    if begin >= end:
        return None
    olds = slice(begin - shift - int(old.frame[0]), end - shift - int(old.frame[0]))
    news = slice(begin - int(new.frame[0]), end - int(new.frame[0]))
    # A damaged file may give other frames when it is read from elsewhere; then nothing is known to be the same.
    if not np.array_equal(old.pts_s[olds], new.pts_s[news]):
        return None
    in_lead = min(
        int(old.frame[-1]) + shift + 1 - max(0, int(old.frame[0]) + shift),
        min(border, int(new.frame[-1]) + 1) - int(new.frame[0]),
    )
    if end - begin < _SHARED * in_lead:
        return None
    overlaps = [overlap(a, b) for a, b in zip(old.box_px[olds], new.box_px[news], strict=True)]
    return end if np.median(overlaps) > _ONE_FACE else None


def _known_until(old: TrackBoxes, after: SpanBoxes, *, seam: int, shift: int) -> int:
    """Up to which frame of the later span, which lost the face, the earlier one's track stands."""
    ends = [int(old.frame[-1]) + shift + 1]
    ends += [end for end in after.lead_shot_ends if end >= seam]
    ends += [
        max(seam, int(new.frame[0])) for new in after.tracks
        if int(new.frame[-1]) >= seam and _seam(old, new, shift=shift, border=after.lead_frames) is not None
    ]  # fmt: skip
    return min(ends)


def whole_track(
    parts: Sequence[TrackPart], first_frames: Mapping[int, int], read: Callable[[TrackPart], LandmarkTrack]
) -> LandmarkTrack:
    """A face's track from its parts, its frames in the count of the first part's span.

    Args:
        parts: As `join_tracks` gives them.
        first_frames: Where frame 0 of each span of the row stands among the row's.
        read: Gives the track that a part is of.
    """
    pieces: dict[str, list[Any]] = {field.name: [] for field in fields(LandmarkTrack)}
    for part in parts:
        track = read(part)
        own = slice(part.begin - int(track.frame[0]), part.end - int(track.frame[0]))
        for name, values in pieces.items():
            values.append(track.scheme if name == "scheme" else getattr(track, name)[own])
        pieces["frame"][-1] = pieces["frame"][-1] + np.int32(first_frames[part.span] - first_frames[parts[0].span])
        if len(pieces["frame"]) > 1:
            _pass_over(pieces["smoothed_px"][-2], track.smoothed_px[: own.start])
    scheme = pieces.pop("scheme")[0]
    # One kind of value at a time: an hour of landmarks must not be there twice.
    return LandmarkTrack(scheme=scheme, **{name: np.concatenate(pieces.pop(name)) for name in tuple(pieces)})


def _pass_over(
    old: Float32[np.ndarray, "frames points 2"], new: Float32[np.ndarray, "lead points 2"]
) -> None:
    """Change the last frames of the one so that they lead into what follows the other."""
    shared = min(len(old), len(new))
    if shared:
        share = (np.arange(1, shared + 1, dtype=np.float32) / np.float32(shared + 1))[:, None, None]
        old[-shared:] += share * (new[-shared:] - old[-shared:])
