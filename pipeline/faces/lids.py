"""The lids of faces that are followed.

They tell nothing of where a face is, so they can wait until a block of frames was searched for faces: what one network
and the code around it need is in the caches then, and not in turns with another's.
"""

from collections.abc import Collection, Mapping
from typing import Protocol, runtime_checkable

from pipeline.faces.eyes import EyesSeen
from pipeline.faces.landmarks import FaceLandmarks, LandmarkDetector
from pipeline.faces.picture import Picture


@runtime_checkable
class LidDetector(Protocol):
    """A detector that looks at the eyes of a face by themselves."""

    def with_lids(
        self, picture: Picture, face: FaceLandmarks, before: EyesSeen | None
    ) -> tuple[FaceLandmarks, EyesSeen]:
        """A face whose lids were not yet looked at, with them; and what spares work in the next frame.

        Args:
            picture: The displayed picture.
            face: What `landmarks` gave for it.
            before: What this gave for the same face before, if it did.
        """


class LidsOfFaces:
    """Finds the lids of faces frame by frame, where the detector looks at them by themselves.

    Args:
        detector: Asked, if it is a `LidDetector`; the others' landmarks are complete.
    """

    def __init__(self, detector: LandmarkDetector) -> None:
        self._detector = detector if isinstance(detector, LidDetector) else None
        self._eyes: dict[int, EyesSeen] = {}

    def __call__(
        self, picture: Picture, found: Mapping[int, FaceLandmarks], missed: Collection[int]
    ) -> dict[int, FaceLandmarks]:
        """The faces of the next frame with their lids.

        Args:
            picture: The frame's.
            found: The faces that were found in it, by number.
            missed: Numbers of those that may come back.
        """
        if self._detector is None:
            return dict(found)
        eyes = {number: self._eyes[number] for number in missed if number in self._eyes}
        faces = {}
        for number, face in found.items():
            faces[number], eyes[number] = self._detector.with_lids(picture, face, self._eyes.get(number))
        self._eyes = eyes
        return faces
