"""Looking ahead: the landmarks of many frames in one batch, for networks that are only fast that way.

A face is followed from frame to frame, each look where the last one found it: a chain in which a GPU waits. So frames
are held back, the faces that are expected on them (see `key_frames`) are looked at in batches, and the follower that
then asks for a face is answered from what is known. Where it asks for something else, because a face was not expected
there, it is looked at alone. What is known of a frame depends on the key frames beside it and on nothing else, so the
size of a batch changes no result beyond the rounding of its arithmetic.

No batch holds faces of two videos: those of one fill it, and results that do not depend on what else a worker has in
hand are worth more.
"""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from pipeline.faces.face_search import SearchSeconds
from pipeline.faces.key_frames import KEY_EVERY_FRAMES, KeyFrames
from pipeline.faces.landmarks import FaceLandmarks, LandmarkDetector
from pipeline.faces.options import FacesOptions
from pipeline.faces.overlaps import overlap
from pipeline.faces.picture import Picture
from pipeline.faces.regions import FaceBox, FaceRegion
from pipeline.faces.search import SearchWindow
from pipeline.faces.shot_frames import ShotFrame

HELD_BYTES = 256 << 20
"""Samples of frames that are held back at most: 82 frames of 1080 lines, 20 of 2160 (and one stretch at least)."""
_SAME_PLACE = 0.5
"""Overlap of two regions above which a look into one answers for the other."""
_CENTRED = 0.6
"""The same for a region and the one that the landmarks found in it ask for; below, it is looked at again there."""


@runtime_checkable
class BatchedDetector(LandmarkDetector, Protocol):
    """A detector that is faster on many faces than on one."""

    def landmarks_of(self, looks: Sequence[tuple[Picture, FaceRegion]]) -> list[FaceLandmarks | None]:
        """The landmarks of many faces, as `landmarks` gives them one by one."""


class _Look(NamedTuple):
    picture: Picture
    region: FaceRegion
    again: bool = False


class _Known(NamedTuple):
    region: FaceRegion
    face: FaceLandmarks


class LookAhead:
    """A landmark detector that has looked already at the faces of the frames that it gives.

    Args:
        detector: Looks.
        options: Uses `batch_faces`, `max_faces`, `min_face_px`.

    Attributes:
        name: Of the detector.
        scheme: Of the detector.
        weights_sha256: Of the detector.
        seconds: Wall time spent ahead.
        looks: Faces looked at in batches.
        batches: How many batches these were.
        alone: Faces that were not expected, and looked at alone.
    """

    def __init__(self, detector: BatchedDetector, options: FacesOptions) -> None:
        self.name, self.scheme, self.weights_sha256 = detector.name, detector.scheme, detector.weights_sha256
        self.seconds = SearchSeconds()
        self.looks = self.batches = self.alone = 0
        self._detector = detector
        self._batch = options.batch_faces
        self._keys = KeyFrames(self._find_ahead, options)
        self._known: dict[Picture, list[_Known]] = {}
        self._found: dict[Picture, list[FaceBox]] = {}
        # Both in the order of the frames.
        self._held: deque[ShotFrame] = deque()
        self._due: deque[_Look] = deque()

    def frames(self, frames: Iterable[ShotFrame]) -> Iterator[ShotFrame]:
        """The same frames, later; each may be looked at until the next one is taken."""
        stretch: list[ShotFrame] = []
        for frame in frames:
            kept = frame.kept()
            if not stretch:
                self._key(kept, frames=0)
            elif kept.looks_new or len(stretch) == KEY_EVERY_FRAMES:
                self._expect(stretch, self._key(kept, frames=len(stretch)))
                stretch = []
                held_bytes = sum(held.frame.picture.nbytes for held in self._held)
                yield from self._looked_at(all_due=held_bytes >= HELD_BYTES)
            stretch.append(kept)
        self._expect(stretch, self._keys.rest(len(stretch)))
        yield from self._looked_at(all_due=True)

    def find_faces(self, picture: Picture, window: SearchWindow | None = None) -> list[FaceBox]:
        """All faces of a picture, or of a part of it; as the detector finds them."""
        if window is None and picture in self._found:
            return list(self._found[picture])
        return self._detector.find_faces(picture, window)

    def region_of(self, box: FaceBox) -> FaceRegion:
        """Where to look for the landmarks of a face that was found."""
        return self._detector.region_of(box)

    def landmarks(self, picture: Picture, region: FaceRegion) -> FaceLandmarks | None:
        """The landmarks of the face in a region: what is known of it, or else a look."""
        near = [(_shared(region, look.region), look.face) for look in self._known.get(picture, ())]
        best, face = max(near, key=lambda one: one[0], default=(0.0, None))
        if face is not None and best >= _SAME_PLACE:
            return face
        self.alone += 1
        return self._detector.landmarks(picture, region)

    def _key(self, frame: ShotFrame, *, frames: int) -> list[list[FaceBox]]:
        return self._keys(frame.frame.picture, looks_new=frame.looks_new, frames=frames)

    def _find_ahead(self, picture: Picture, window: SearchWindow | None) -> list[FaceBox]:
        start = time.perf_counter()
        boxes = self._detector.find_faces(picture, window)
        self.seconds.detect += time.perf_counter() - start
        if window is None:
            self._found[picture] = list(boxes)
        return boxes

    def _expect(self, stretch: list[ShotFrame], boxes: list[list[FaceBox]]) -> None:
        self._held += stretch
        for frame, expected in zip(stretch, boxes, strict=True):
            self._due += [_Look(frame.frame.picture, self._detector.region_of(box)) for box in expected]

    def _looked_at(self, *, all_due: bool) -> Iterator[ShotFrame]:
        start = time.perf_counter()
        while len(self._due) >= self._batch or (all_due and self._due):
            self._look()
        self.seconds.landmarks += time.perf_counter() - start
        while self._held and not (self._due and self._due[0].picture is self._held[0].frame.picture):
            frame = self._held.popleft()
            yield frame
            self._known.pop(frame.frame.picture, None)
            self._found.pop(frame.frame.picture, None)

    def _look(self) -> None:
        looks = [self._due.popleft() for _ in range(min(self._batch, len(self._due)))]
        faces = self._detector.landmarks_of([(look.picture, look.region) for look in looks])
        self.looks += len(looks)
        self.batches += 1
        again = []
        for look, face in zip(looks, faces, strict=True):
            if face is None:
                continue
            if look.again or _shared(look.region, face.region) >= _CENTRED:
                self._known.setdefault(look.picture, []).append(_Known(look.region, face))
            else:
                again.append(_Look(look.picture, face.region, again=True))
        self._due.extendleft(reversed(again))


def _shared(first: FaceRegion, second: FaceRegion) -> float:
    """Intersection over union of two regions, taken as upright."""
    boxes = (
        np.array([one.x - half, one.y - half, one.x + half, one.y + half], dtype=np.float32)
        for one, half in ((first, first.side_px / 2), (second, second.side_px / 2))
    )
    return overlap(*boxes)
