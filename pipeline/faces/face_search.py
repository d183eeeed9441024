"""When whole pictures of a video, and parts of large ones, are searched for faces.

A search costs more than the landmarks of a face that is followed. So there is one in pictures in which any face may be,
where a face was lost, and now and then for who comes into the picture meanwhile.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from pipeline.faces.detect import surest
from pipeline.faces.landmarks import LandmarkDetector
from pipeline.faces.picture import Picture
from pipeline.faces.regions import FaceBox
from pipeline.faces.search import SearchWindow, around, search_windows

_NEAR = 4.0
"""A lost face is looked for in a square that is so much larger than its box."""
_SEARCH_EVERY_FRAMES, _PART_EVERY_FRAMES = 25, 8
"""While faces are followed: the whole picture, and one of the parts of a large one. Where there is only one
part it is searched as seldom as the whole: it costs as much as the landmarks of a face."""
_IDLE_EVERY_FRAMES = 5
"""While none is: both; more often at first, every frame after a cut or a loss."""


@dataclass(slots=True)
class SearchSeconds:
    """Wall time spent, seconds.

    Attributes:
        detect: Looking for faces in whole pictures.
        landmarks: Landmarks inside regions.
    """

    detect: float = 0.0
    landmarks: float = 0.0


class FaceSearch:
    """Searches the pictures of one video; ask in every frame.

    Args:
        detector: Finds faces.
        min_face_px: Side of the smallest face that counts.
        seconds: Receives the time that it takes.
    """

    def __init__(self, detector: LandmarkDetector, *, min_face_px: float, seconds: SearchSeconds) -> None:
        self._detector, self._min_face_px, self._seconds = detector, min_face_px, seconds
        self._windows: tuple[SearchWindow, ...] = ()
        self._next_window = 0
        self._since_search = self._since_part = self._idle_frames = 0

    def everywhere(self, picture: Picture) -> list[FaceBox]:
        """The faces in a picture in which any may be."""
        # The next search of the whole picture and that of a part fall half-way between one another.
        self._since_search, self._since_part, self._idle_frames = _SEARCH_EVERY_FRAMES // 2, 0, 0
        boxes = self._find(picture)
        for window in self._windows_of(picture):
            boxes = surest([*boxes, *self._find(picture, window)])
        return boxes

    def where_due(
        self,
        picture: Picture,
        *,
        followed: bool,
        room: bool,
        lost_px: Sequence[Float32[np.ndarray, " 4"]],
        newly_lost: bool,
    ) -> list[FaceBox]:
        """The faces in those parts of a picture that are due, if any.

        Args:
            picture: One that goes on from the one before.
            followed: Whether any face is followed, lost ones too.
            room: Whether there is room for one more.
            lost_px: The last boxes x0, y0, x1, y1 of the faces that are lost.
            newly_lost: Whether one of them was found in the frame before.
        """
        self._idle_frames = 0 if followed else self._idle_frames + 1
        idle_every = min(_IDLE_EVERY_FRAMES, 1 + self._idle_frames // _IDLE_EVERY_FRAMES)
        self._since_search += 1
        self._since_part += 1
        boxes: list[FaceBox] = []
        if newly_lost or (room and self._since_search >= (_SEARCH_EVERY_FRAMES if followed else idle_every)):
            boxes = self._find(picture)
            self._since_search = 0
        windows = self._windows_of(picture)
        part_every = max(_PART_EVERY_FRAMES, _SEARCH_EVERY_FRAMES // len(windows))
        if room and self._since_part >= (part_every if followed else idle_every):
            boxes = surest([*boxes, *self._find(picture, windows[self._next_window % len(windows)])])
            self._next_window += 1
            self._since_part = 0
        for box_px in lost_px:
            x0, y0, x1, y1 = box_px.tolist()
            boxes = surest([*boxes, *self._find(picture, around((x0, y0, x1, y1), growth=_NEAR))])
        return boxes

    def _find(self, picture: Picture, window: SearchWindow | None = None) -> list[FaceBox]:
        start = time.perf_counter()
        boxes = self._detector.find_faces(picture, window)
        self._seconds.detect += time.perf_counter() - start
        return boxes

    def _windows_of(self, picture: Picture) -> tuple[SearchWindow, ...]:
        if not self._windows:
            self._windows = search_windows(picture.width_px, picture.height_px, min_face_px=self._min_face_px)
        return self._windows
