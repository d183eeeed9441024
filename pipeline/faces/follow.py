"""Following faces from frame to frame.

A face that was seen is looked for where it was; the landmarks say where it will be next. It is the same face while its
box overlaps the last one (Koujan et al., FG 2020, section on FaceVid), and it is given up after more than K consecutive
frames in which it was not found there. Whole pictures, which cost more, are searched for faces when
`pipeline.faces.face_search` finds it time.

Two followed faces are never one: where both are found in the same place, the one that was nearer keeps it. Faces that
were lost and faces that a search found are matched by the overlap of their boxes (the assignment problem: Kuhn, "The
Hungarian method", Naval Research Logistics 1955). In the paper's mode one face is followed, the largest of the first
frame that shows any, and others only count when it is gone.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.faces.face_search import FaceSearch, SearchSeconds
from pipeline.faces.landmarks import FaceLandmarks, LandmarkDetector
from pipeline.faces.lids import LidsOfFaces
from pipeline.faces.options import FacesOptions
from pipeline.faces.overlaps import overlap
from pipeline.faces.picture import Picture
from pipeline.faces.regions import FaceBox, FaceRegion

_WELL_CENTRED = 0.85
"""Overlap with the last box above which the last region is as good as the next one."""
_SETTLED, _MOST_LOOKS = 0.93, 6
"""A new face is looked at again until its box overlaps the last one by so much."""
_ONE_FACE = 0.4
"""Two boxes that overlap more than this are of one face; of faces cheek to cheek they overlap by a tenth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one frame showed. Every face that is followed has a number, in the order in which they were first seen.

    Attributes:
        found: The faces that were found, by number.
        missed: Numbers of the faces that were not, but are still looked for.
        stopped: Numbers of those that were not found for too long, and are followed no longer.
    """

    found: dict[int, FaceLandmarks]
    missed: tuple[int, ...]
    stopped: tuple[int, ...]


@dataclass(slots=True)
class _Followed:
    number: int
    last: FaceLandmarks
    misses: int = 0


def face_in_image(
    picture: Picture, detector: LandmarkDetector, options: FacesOptions
) -> FaceLandmarks | None:
    """The largest face of a single picture, by the rules for a video's first frame; None where there is none."""
    found = FaceFollower(detector, options)(picture, looks_new=True).found
    return max(found.values(), key=lambda face: float(np.ptp(face.box_px[0::2])), default=None)


class FaceFollower:
    """Follows faces; give it the frames of a video in order.

    Args:
        detector: Finds faces and landmarks.
        options: Uses `faces`, `max_faces`, `margin`, `max_misses`, `min_face_px`, `min_confidence`.
    """

    def __init__(self, detector: LandmarkDetector, options: FacesOptions) -> None:
        self._detector = detector
        self._options = options
        self._lids = LidsOfFaces(detector)
        self._most = 1 if options.faces == "first" else options.max_faces
        self._followed: list[_Followed] = []
        self._begun = 0
        self.seconds = SearchSeconds()
        self._searching = FaceSearch(detector, min_face_px=options.min_face_px, seconds=self.seconds)

    def reset(self) -> None:
        """Forget all faces, as after a cut where nobody looks back. Numbers go on."""
        for followed in self._followed:
            self._lids.forget(followed.number)
        self._followed = []

    def __call__(self, picture: Picture, *, looks_new: bool) -> Seen:
        """Look at the next frame.

        Args:
            picture: The frame's.
            looks_new: Whether it is a first frame, or so unlike the one before that any face may be in it.
        """
        (seen,) = self.with_lids([(picture, self.find(picture, looks_new=looks_new))])
        return seen

    def with_lids(self, looks: Sequence[tuple[Picture, Seen]]) -> list[Seen]:
        """What `find` gave for pictures, with the lids of the faces; all frames come, in order, some at a time."""
        start = time.perf_counter()
        pictures, found = [picture for picture, _ in looks], [seen.found for _, seen in looks]
        complete = self._lids(pictures, found)
        for _, seen in looks:
            for number in seen.stopped:
                self._lids.forget(number)
        self.seconds.landmarks += time.perf_counter() - start
        return [replace(seen, found=faces) for (_, seen), faces in zip(looks, complete, strict=True)]

    def find(self, picture: Picture, *, looks_new: bool) -> Seen:
        """Look at the next frame, but not yet for lids."""
        found: dict[int, FaceLandmarks] = {}
        for followed in self._followed:
            face = self._again(picture, followed.last)
            if face is not None:
                found[followed.number] = face
        self._leave_one_each(found)
        self._search(picture, found, looks_new=looks_new)
        missed: list[int] = []
        stopped: list[int] = []
        for followed in self._followed:
            if followed.number in found:
                followed.last, followed.misses = found[followed.number], 0
                continue
            followed.misses += 1
            (missed if followed.misses <= self._options.max_misses else stopped).append(followed.number)
        self._followed = [followed for followed in self._followed if followed.number not in stopped]
        if stopped and len(found) < self._most:
            self._begin(picture, found, self._searching.everywhere(picture))
        return Seen(found=dict(sorted(found.items())), missed=tuple(missed), stopped=tuple(stopped))

    def _again(self, picture: Picture, last: FaceLandmarks) -> FaceLandmarks | None:
        face = self._landmarks(picture, last.region)
        if face is None or not self._is_same(face, last):
            return None
        if overlap(face.box_px, last.box_px) >= _WELL_CENTRED:
            return face
        # It moved so far that the last region held it off centre; there the networks are less exact.
        return self._landmarks(picture, face.region) or face

    def _leave_one_each(self, found: dict[int, FaceLandmarks]) -> None:
        last = {followed.number: followed.last.box_px for followed in self._followed}
        # Nearest to where they were first; of two as near, the one that was seen first.
        order = sorted(found, key=lambda number: (-overlap(found[number].box_px, last[number]), number))
        for place, number in enumerate(order):
            if any(_one_face(found[number], found[other]) for other in order[:place] if other in found):
                del found[number]

    def _search(self, picture: Picture, found: dict[int, FaceLandmarks], *, looks_new: bool) -> None:
        lost = [followed for followed in self._followed if followed.number not in found]
        if looks_new:
            boxes = self._searching.everywhere(picture)
        else:
            boxes = self._searching.where_due(
                picture,
                followed=bool(self._followed),
                room=len(self._followed) < self._most,
                lost_px=[followed.last.box_px for followed in lost],
                newly_lost=any(followed.misses == 0 for followed in lost),
            )
        boxes = self._find_lost(picture, found, lost, boxes)
        if len(self._followed) < self._most:
            self._begin(picture, found, boxes)

    def _find_lost(
        self, picture: Picture, found: dict[int, FaceLandmarks], lost: list[_Followed], boxes: list[FaceBox]
    ) -> list[FaceBox]:
        """Match faces that were lost with boxes; returns the boxes that no face was found in."""
        if not lost or not boxes:
            return boxes
        from scipy.optimize import linear_sum_assignment  # half a second to load, and seldom asked for

        near = np.array([[overlap(box.as_array(), face.last.box_px) for box in boxes] for face in lost])
        taken = set()
        for row, column in zip(*linear_sum_assignment(near, maximize=True), strict=True):
            if near[row, column] <= 0 or _in_any(boxes[column], found.values()):
                continue
            face = self._landmarks(picture, self._detector.region_of(boxes[column]))
            if face is not None and self._is_same(face, lost[row].last):
                found[lost[row].number] = face
                taken.add(int(column))
        return [box for column, box in enumerate(boxes) if column not in taken]

    def _begin(self, picture: Picture, found: dict[int, FaceLandmarks], boxes: list[FaceBox]) -> None:
        """Follow the faces of boxes where none is followed yet, the largest first."""
        for box in sorted(boxes, key=lambda box: box.side_px, reverse=True):
            if len(self._followed) >= self._most:
                return
            if box.side_px < self._options.min_face_px or _in_any(box, found.values()):
                continue
            face = self._settled(picture, self._landmarks(picture, self._detector.region_of(box)))
            if face is None or any(_one_face(face, other) for other in found.values()):
                continue
            self._followed.append(_Followed(self._begun, face))
            found[self._begun] = face
            self._begun += 1

    def _settled(self, picture: Picture, face: FaceLandmarks | None) -> FaceLandmarks | None:
        # A region from landmarks is better centred than one from a detector's box, and that of a small face in a large
        # picture may be off by half the face: then each look brings it nearer.
        for _ in range(_MOST_LOOKS):
            last, face = face, self._landmarks(picture, face.region) if face else None
            if face is None or last is None or overlap(face.box_px, last.box_px) >= _SETTLED:
                break
        return face

    def _is_same(self, face: FaceLandmarks, last: FaceLandmarks) -> bool:
        return overlap(face.box_px, last.box_px) >= self._options.margin

    def _landmarks(self, picture: Picture, region: FaceRegion) -> FaceLandmarks | None:
        start = time.perf_counter()
        face = self._detector.landmarks(picture, region)
        self.seconds.landmarks += time.perf_counter() - start
        if face is None or face.confidence < self._options.min_confidence:
            return None
        x0, y0, x1, y1 = face.box_px.tolist()
        return face if max(x1 - x0, y1 - y0) >= self._options.min_face_px else None


def _one_face(first: FaceLandmarks, second: FaceLandmarks) -> bool:
    return overlap(first.box_px, second.box_px) > _ONE_FACE


def _in_any(box: FaceBox, faces: Iterable[FaceLandmarks]) -> bool:
    """Whether the middle of a box lies in the middle half of a face's."""
    x, y = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    for face in faces:
        x0, y0, x1, y1 = face.box_px.tolist()
        if abs(2 * x - x0 - x1) < (x1 - x0) / 2 and abs(2 * y - y0 - y1) < (y1 - y0) / 2:
            return True
    return False
