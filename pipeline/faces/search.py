"""Where to look for faces that are small in a large picture.

A detection network sees the picture reduced to its own small input, where a face of a few pixels is none. So a large
picture is also looked at in parts: squares in which the smallest face that counts is just large enough, overlapping by
the smallest face that is found in the whole picture.
"""

import math
from dataclasses import dataclass

_SMALLEST_SHARE = 12 / 192
"""Side of the smallest face that the full-range network finds reliably (measured: 92% of single looks), of the side of
what it looks at."""
_SLACK = 1.1
_STRETCH = 1.2
"""A picture that is so little larger than one window is not worth four of them."""
_MOST_PARTS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchWindow:
    """A square part of a picture.

    Attributes:
        left: Its left edge, pixels; -0.5 is the picture's own.
        top: Its top edge.
        side_px: Its side; it may reach beyond the picture.
    """

    left: float
    top: float
    side_px: float


def around(box: tuple[float, float, float, float], *, growth: float) -> SearchWindow:
    """The square around a box x0, y0, x1, y1, `growth` times its longer side."""
    side = growth * max(box[2] - box[0], box[3] - box[1])
    return SearchWindow(
        left=(box[0] + box[2] - side) / 2, top=(box[1] + box[3] - side) / 2, side_px=side
    )


def search_windows(width_px: int, height_px: int, *, min_face_px: float) -> tuple[SearchWindow, ...]:
    """The whole picture first, then parts of it, together enough for every face from `min_face_px` on.

    There are at most 24 parts. Where that is too few, as for faces of 28 pixels in a picture of 2160 lines, the parts
    are larger, and the smallest faces are found less often.

    Args:
        width_px: Of the picture.
        height_px: Of the picture.
        min_face_px: Side of the smallest face that counts.
    """
    largest = float(max(width_px, height_px))
    whole = SearchWindow(left=(width_px - largest) / 2 - 0.5, top=(height_px - largest) / 2 - 0.5, side_px=largest)
    side = min_face_px / _SMALLEST_SHARE
    if side * _STRETCH >= largest:
        return (whole,)
    overlap = _SLACK * _SMALLEST_SHARE * largest
    while _count(width_px, side, overlap) * _count(height_px, side, overlap) > _MOST_PARTS:
        side *= _SLACK
    lefts, tops = _starts(width_px, side, overlap), _starts(height_px, side, overlap)
    parts = (SearchWindow(left=left - 0.5, top=top - 0.5, side_px=side) for top in tops for left in lefts)
    return (whole, *parts)


def _count(length_px: int, side: float, overlap: float) -> int:
    return 1 if side >= length_px else 1 + math.ceil((length_px - side) / max(side - overlap, side / 4))


def _starts(length_px: int, side: float, overlap: float) -> list[float]:
    count = _count(length_px, side, overlap)
    if count == 1:
        return [(length_px - side) / 2]
    return [k * (length_px - side) / (count - 1) for k in range(count)]
