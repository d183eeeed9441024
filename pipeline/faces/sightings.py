"""What was seen of one face, frame by frame, and the frames between in which it was missed."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Float32, Float64, Int32

from pipeline.faces.landmarks import FaceLandmarks
from pipeline.faces.register import CropQuality


@dataclass(slots=True)
class Sightings:
    """One face in consecutive frames. The first frame has the face; frames missed at the end do not count."""

    _frames: list[tuple[int, float]] = field(default_factory=list)
    _seen_at: list[int] = field(default_factory=list)
    _faces: list[FaceLandmarks] = field(default_factory=list)
    _qualities: list[CropQuality] = field(default_factory=list)

    def add(self, frame: int, pts_s: float, face: FaceLandmarks, quality: CropQuality) -> None:
        """The face was seen."""
        self._seen_at.append(len(self._frames))
        self._frames.append((frame, pts_s))
        self._faces.append(face)
        self._qualities.append(quality)

    def miss(self, frame: int, pts_s: float) -> None:
        """The face was looked for, and not found."""
        self._frames.append((frame, pts_s))

    def __len__(self) -> int:
        return self._seen_at[-1] + 1 if self._seen_at else 0

    @property
    def duration_s(self) -> float:
        """From the first to the last sighting."""
        return self._frames[len(self) - 1][1] - self._frames[0][1] if self._seen_at else 0.0

    @property
    def frame(self) -> Int32[np.ndarray, " frames"]:
        """Frame indices from the first to the last sighting."""
        return np.array([index for index, _ in self._frames[: len(self)]], dtype=np.int32)

    @property
    def pts_s(self) -> Float64[np.ndarray, " frames"]:
        """Their presentation times."""
        return np.array([time for _, time in self._frames[: len(self)]], dtype=np.float64)

    @property
    def box_px(self) -> Float32[np.ndarray, "frames 4"]:
        """Boxes, bridged."""
        return self._bridged(np.stack([face.box_px for face in self._faces]))

    @property
    def points_px(self) -> Float32[np.ndarray, "frames points 2"]:
        """Landmarks, bridged."""
        return self._bridged(np.stack([face.points_px for face in self._faces]))

    @property
    def sharpness(self) -> Float32[np.ndarray, " frames"]:
        """Sharpness of the crops, bridged."""
        return self._bridged(np.array([quality.sharpness for quality in self._qualities], dtype=np.float32))

    @property
    def brightness(self) -> Float32[np.ndarray, " frames"]:
        """Brightness of the crops, bridged."""
        return self._bridged(np.array([quality.brightness for quality in self._qualities], dtype=np.float32))

    @property
    def confidence(self) -> Float32[np.ndarray, " frames"]:
        """Presence scores; 0 where missed."""
        scores = np.zeros(len(self), dtype=np.float32)
        scores[self._seen_at] = [face.confidence for face in self._faces]
        return scores

    def _bridged(self, seen: Float[np.ndarray, "seen ..."]) -> Float32[np.ndarray, "frames ..."]:
        # Linear in time between the sightings on both sides; a frame with a sighting keeps its value exactly.
        if len(seen) == len(self):
            return np.asarray(seen, dtype=np.float32)
        time, at = self.pts_s, np.array(self._seen_at)
        after = np.searchsorted(at, np.arange(len(self)))
        before = np.where(at[after] == np.arange(len(self)), after, after - 1)
        span = np.maximum(time[at[after]] - time[at[before]], np.finfo(np.float64).tiny)
        part = ((time - time[at[before]]) / span).reshape(-1, *[1] * (seen.ndim - 1))
        return np.asarray(seen[before] + part * (seen[after] - seen[before]), dtype=np.float32)
