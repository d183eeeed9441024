"""Where faces will be: boxes that a detector finds on key frames, followed from one key frame to the next.

Between two key frames the boxes of a face move linearly. Which box of one is that of the other is the assignment of
largest overlap (Kuhn, "The Hungarian method", Naval Research Logistics 1955). Nothing here asks what the landmark
network saw, so the regions of many frames are known before it looks into the first of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from pipeline.faces.detect import is_one_face, surest
from pipeline.faces.options import FacesOptions
from pipeline.faces.overlaps import overlap
from pipeline.faces.picture import Picture
from pipeline.faces.regions import FaceBox
from pipeline.faces.search import SearchWindow, around, search_windows

KEY_EVERY_FRAMES = 5
"""Within that many frames a face hardly leaves the line between its two boxes."""
_NEAR = 4.0
"""A face that is not found in the whole picture is looked for in a square so much larger than its box."""
_UNSEEN_KEYS = 2
"""A face that is not found on so many key frames in a row is not expected any more."""

Find = Callable[[Picture, SearchWindow | None], list[FaceBox]]


@dataclass(frozen=True, slots=True)
class _Expected:
    box: FaceBox
    unseen: int = 0


class KeyFrames:
    """Takes the key frames of a video in order, and says where faces are on the frames between them.

    Args:
        find: Finds the faces of a picture, or of a part of it.
        options: Uses `max_faces` and `min_face_px`.
    """

    def __init__(self, find: Find, options: FacesOptions) -> None:
        self._find = find
        self._options = options
        self._expected: list[_Expected] = []
        self._keys = 0

    def __call__(self, picture: Picture, *, looks_new: bool, frames: int) -> list[list[FaceBox]]:
        """Look at the next key frame.

        Args:
            picture: The key frame's.
            looks_new: Whether it begins a shot: nothing moves from the last key frame to this one.
            frames: How many frames after the last key frame it comes.

        Returns:
            The boxes on the last key frame and on each frame after it before this one.
        """
        before = [] if looks_new else self._expected
        found = self._search(picture, before, everywhere=looks_new)
        pairs = _paired([known.box for known in before], found)
        between = [
            [
                _between(known.box, found[pairs[number]], step / frames) if number in pairs else known.box
                for number, known in enumerate(self._expected)
            ]
            for step in range(frames)
        ]
        unseen = [
            _Expected(known.box, known.unseen + 1)
            for number, known in enumerate(before)
            if number not in pairs and known.unseen + 1 < _UNSEEN_KEYS
        ]
        self._expected = ([_Expected(box) for box in found] + unseen)[: self._options.max_faces]
        self._keys += 1
        return between

    def rest(self, frames: int) -> list[list[FaceBox]]:
        """The boxes on the last key frame and the frames after it, at whose end the video ends."""
        return [[known.box for known in self._expected] for _ in range(frames)]

    def _search(self, picture: Picture, before: list[_Expected], *, everywhere: bool) -> list[FaceBox]:
        found = self._find(picture, None)
        windows = search_windows(picture.width_px, picture.height_px, min_face_px=self._options.min_face_px)
        if everywhere:
            look_into = list(windows)
        else:
            # What is small in a large picture is found by and by, and then found again near where it was.
            look_into = [windows[self._keys % len(windows)]] if len(windows) > 1 else []
            look_into += [
                around((known.box.x0, known.box.y0, known.box.x1, known.box.y1), growth=_NEAR)
                for known in before
                if not any(is_one_face(known.box, box) for box in found)
            ]
        for window in look_into:
            found = surest([*found, *self._find(picture, window)])
        large = [box for box in found if box.side_px >= self._options.min_face_px]
        return sorted(large, key=lambda box: box.side_px, reverse=True)[: self._options.max_faces]


def _paired(before: Sequence[FaceBox], after: Sequence[FaceBox]) -> dict[int, int]:
    """For the boxes that have moved on, where."""
    if not before or not after:
        return {}
    near = np.array([[overlap(one.as_array(), other.as_array()) for other in after] for one in before])
    rows, columns = linear_sum_assignment(near, maximize=True)
    return {int(row): int(column) for row, column in zip(rows, columns, strict=True) if near[row, column] > 0}


def _between(first: FaceBox, last: FaceBox, part: float) -> FaceBox:
    def mix(a: float, b: float) -> float:
        return a + part * (b - a)

    def mix_points(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
        return mix(a[0], b[0]), mix(a[1], b[1])

    return FaceBox(
        x0=mix(first.x0, last.x0),
        y0=mix(first.y0, last.y0),
        x1=mix(first.x1, last.x1),
        y1=mix(first.y1, last.y1),
        score=min(first.score, last.score),
        right_eye_px=mix_points(first.right_eye_px, last.right_eye_px),
        left_eye_px=mix_points(first.left_eye_px, last.left_eye_px),
    )
