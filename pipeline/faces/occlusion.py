"""Whether something covers a face: each of its halves, on its own, must still look like a face.

The landmark network says that it sees a face, whatever lies on half of it. With the other half blanked it does not:
where the lower half is all that is left, and a hand is on that, no face is. So a face is looked at twice more, without
its upper and without its lower half, and the worse answer counts. That costs half as much as the landmarks; as nothing
covers a face for a single frame, it is asked now and then, and interpolated in between. What covers the left or right
half is told less surely than what covers the upper or lower; `python -m benchmarks.tracks --only occlusion` says how
surely. (Two more looks, at the sides, tell these as well, but cost as much again.)
"""

import math
import time
from typing import Protocol, runtime_checkable

from pipeline.faces.landmarks import FaceLandmarks, LandmarkDetector
from pipeline.faces.picture import Picture
from pipeline.faces.regions import FaceRegion

EVERY_FRAMES = 20
"""At first sight, and then on every frame whose index is a multiple of this."""


@runtime_checkable
class OcclusionDetector(Protocol):
    """A detector that can tell."""

    def occlusion(self, picture: Picture, region: FaceRegion) -> float:
        """How surely half of the face in a region is no face on its own: 0 to 1."""


class OcclusionSampler:
    """Asks a detector now and then whether the faces that are followed are covered.

    Args:
        detector: Asked, if it is an `OcclusionDetector`.

    Attributes:
        seconds: Wall time spent.
    """

    def __init__(self, detector: LandmarkDetector) -> None:
        self.seconds = 0.0
        self._detector = detector if isinstance(detector, OcclusionDetector) else None
        self._asked: set[int] = set()

    def __call__(self, number: int, frame: int, picture: Picture, face: FaceLandmarks) -> float:
        """The occlusion of a face that was found; NaN where nobody was asked.

        Args:
            number: Of the face.
            frame: Index of the frame.
            picture: The frame's.
            face: The face.
        """
        if self._detector is None or (number in self._asked and frame % EVERY_FRAMES):
            return math.nan
        self._asked.add(number)
        start = time.perf_counter()
        occlusion = self._detector.occlusion(picture, face.region)
        self.seconds += time.perf_counter() - start
        return occlusion
