"""The lids of faces that are followed.

They tell nothing of where a face is, so they can wait until a block of frames was searched for faces. What one network
and the code around it need is in the caches then, and not in turns with another's; and an eye's picture in one frame
can be told by those before and after it.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from pipeline.faces.eyes import EyesSeen
from pipeline.faces.landmarks import FaceLandmarks, LandmarkDetector
from pipeline.faces.picture import Picture


@runtime_checkable
class LidDetector(Protocol):
    """A detector that looks at the eyes of a face by themselves."""

    def with_lids(
        self, looks: Sequence[tuple[Picture, FaceLandmarks]], before: EyesSeen | None
    ) -> tuple[list[FaceLandmarks], EyesSeen]:
        """A face whose lids were not yet looked at, with them; and what spares work in the frames after these.

        Args:
            looks: The displayed picture and what `landmarks` gave for it, in one frame or several, in order.
            before: What this gave for the same face before, if it did.
        """


class LidsOfFaces:
    """Finds the lids of faces, where the detector looks at them by themselves.

    Args:
        detector: Asked, if it is a `LidDetector`; the others' landmarks are complete.
    """

    def __init__(self, detector: LandmarkDetector) -> None:
        self._detector = detector if isinstance(detector, LidDetector) else None
        self._eyes: dict[int, EyesSeen] = {}

    def __call__(
        self, pictures: Sequence[Picture], found: Sequence[dict[int, FaceLandmarks]]
    ) -> list[dict[int, FaceLandmarks]]:
        """The faces of the next frames with their lids.

        Args:
            pictures: The frames'.
            found: The faces that were found in each, by number.
        """
        if self._detector is None:
            return list(found)
        complete: list[dict[int, FaceLandmarks]] = [{} for _ in found]
        for number in sorted({number for faces in found for number in faces}):
            frames = [frame for frame, faces in enumerate(found) if number in faces]
            looks = [(pictures[frame], found[frame][number]) for frame in frames]
            faces, self._eyes[number] = self._detector.with_lids(looks, self._eyes.get(number))
            for frame, face in zip(frames, faces, strict=True):
                complete[frame][number] = face
        return complete

    def forget(self, number: int) -> None:
        """A face is followed no longer."""
        self._eyes.pop(number, None)
