"""Crops on their way from the tracker to wherever they are kept."""

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32


@runtime_checkable
class CropSink(Protocol):
    """Where crops go while a video is being read."""

    def add(self, track: int, frame: int, jpeg: bytes, crop_from_frame: Float32[np.ndarray, "2 3"]) -> None:
        """Take one crop.

        Called in order of tracks and frames, and only for tracks that are long enough: crops are held back until
        their track is. Frames in which the face was missed have no crop.
        """


@dataclass(slots=True)
class HeldCrops:
    """Holds back the crops of a track until it is known to be long enough, which takes `min_track_s` at most.

    Attributes:
        sink: Takes the crops.
    """

    sink: CropSink
    _held: list[tuple[int, bytes, Float32[np.ndarray, "2 3"]]] = field(default_factory=list)

    def add(self, frame: int, jpeg: bytes, crop_from_frame: Float32[np.ndarray, "2 3"]) -> None:
        """Keep a crop of the track that is being followed."""
        self._held.append((frame, jpeg, crop_from_frame))

    def release(self, track: int) -> None:
        """Hand over what is held: the track has its number."""
        for frame, jpeg, crop_from_frame in self._held:
            self.sink.add(track, frame, jpeg, crop_from_frame)
        self._held.clear()

    def forget(self) -> None:
        """Drop what is held: the track is over and was too short."""
        self._held.clear()
