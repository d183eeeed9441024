"""Following one face from frame to frame, by the rule of Koujan et al. (FG 2020, section on FaceVid).

The first face seen is followed (the largest, where several are seen at once). It is the same face while its box
overlaps the last one; the track stops after more than K consecutive frames in which it was not found there. After
that, or after a cut, the next face seen starts a new track.
"""

import enum
import time
from dataclasses import dataclass

from pipeline.faces.detect import overlap
from pipeline.faces.landmarks import FaceLandmarks, LandmarkDetector
from pipeline.faces.options import FacesOptions
from pipeline.faces.picture import Picture
from pipeline.faces.regions import FaceBox, FaceRegion

_WELL_CENTRED = 0.85
"""Overlap with the last box above which the last region is as good as the next one."""


class Step(enum.Enum):
    """What one frame did to the track."""

    NOTHING = "no face is followed"
    STARTED = "a face was found and is followed from here on"
    CONTINUED = "the followed face was found again"
    MISSED = "the followed face was not found, but is still looked for"
    STOPPED = "the followed face was not found for too long"


@dataclass(slots=True)
class SearchSeconds:
    """Wall time spent, seconds.

    Attributes:
        detect: Looking for faces in whole pictures.
        landmarks: Landmarks inside regions.
    """

    detect: float = 0.0
    landmarks: float = 0.0


def face_in_image(
    picture: Picture, detector: LandmarkDetector, options: FacesOptions
) -> FaceLandmarks | None:
    """The largest face of a single picture, by the rules for a video's first frame; None where there is none."""
    return FaceFollower(detector, options)(picture)[1]


class FaceFollower:
    """Follows one face; give it the frames of a video in order.

    Args:
        detector: Finds faces and landmarks.
        options: Uses `margin`, `max_misses`, `min_face_px`, `min_confidence`.
    """

    def __init__(self, detector: LandmarkDetector, options: FacesOptions) -> None:
        self._detector = detector
        self._options = options
        self._last: FaceLandmarks | None = None
        self._misses = 0
        self.seconds = SearchSeconds()

    def reset(self) -> None:
        """Forget the face, as after a cut."""
        self._last = None
        self._misses = 0

    def __call__(self, picture: Picture) -> tuple[Step, FaceLandmarks | None]:
        """Look at the next frame. The face comes with the steps STARTED and CONTINUED only."""
        if self._last is None:
            self._last = self._first_face(picture)
            return (Step.NOTHING if self._last is None else Step.STARTED), self._last
        face = self._same_face(picture, self._last)
        if face is not None:
            self._last, self._misses = face, 0
            return Step.CONTINUED, face
        self._misses += 1
        if self._misses > self._options.max_misses:
            self.reset()
            return Step.STOPPED, None
        return Step.MISSED, None

    def _first_face(self, picture: Picture) -> FaceLandmarks | None:
        for box in self._find(picture):
            if box.side_px < self._options.min_face_px:
                continue
            # Two looks: a region from landmarks is better centred than one from a detector's box.
            first = self._landmarks(picture, self._detector.region_of(box))
            second = self._landmarks(picture, first.region) if first else None
            if second is not None:
                return second
        return None

    def _same_face(self, picture: Picture, last: FaceLandmarks) -> FaceLandmarks | None:
        face = self._landmarks(picture, last.region)
        if face is not None and self._overlaps(face, last):
            if overlap(face.box_px, last.box_px) >= _WELL_CENTRED:
                return face
            # It moved so far that the last region held it off centre; there the networks are less exact.
            return self._landmarks(picture, face.region) or face
        # Lost, or moved out of the region: look for it in the whole picture.
        for box in self._find(picture):
            if overlap(box.as_array(), last.box_px) <= 0:
                continue
            face = self._landmarks(picture, self._detector.region_of(box))
            if face is not None and self._overlaps(face, last):
                return face
        return None

    def _overlaps(self, face: FaceLandmarks, last: FaceLandmarks) -> bool:
        return overlap(face.box_px, last.box_px) >= self._options.margin

    def _landmarks(self, picture: Picture, region: FaceRegion) -> FaceLandmarks | None:
        start = time.perf_counter()
        face = self._detector.landmarks(picture, region)
        self.seconds.landmarks += time.perf_counter() - start
        if face is None or face.confidence < self._options.min_confidence:
            return None
        x0, y0, x1, y1 = face.box_px.tolist()
        return face if max(x1 - x0, y1 - y0) >= self._options.min_face_px else None

    def _find(self, picture: Picture) -> list[FaceBox]:
        start = time.perf_counter()
        boxes = self._detector.find_faces(picture)
        self.seconds.detect += time.perf_counter() - start
        return boxes
