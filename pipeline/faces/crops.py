"""Crops on their way from the tracker to wherever they are kept."""

from collections import deque
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32


@runtime_checkable
class CropSink(Protocol):
    """Where crops go while a video is being read."""

    def add(self, track: int, frame: int, jpeg: bytes, crop_from_frame: Float32[np.ndarray, "2 3"]) -> None:
        """Take one crop.

        Called in the order of frames for each track; those of tracks that run at the same time come in between. Only
        tracks that are long enough have crops, and of them only frames in which the face was found, all or some of
        them: crops are held back until that is known.
        """


@dataclass(slots=True)
class HeldCrops:
    """Holds back the crops of a face until it is known to which track they belong."""

    _held: deque[tuple[int, bytes, Float32[np.ndarray, "2 3"]]] = field(default_factory=deque)

    def add(self, frame: int, jpeg: bytes, crop_from_frame: Float32[np.ndarray, "2 3"]) -> None:
        """Keep a crop; they come in the order of frames."""
        self._held.append((frame, jpeg, crop_from_frame))

    def release(self, sink: CropSink, track: int, *, until: int) -> None:
        """Hand over what is held up to and with a frame: it belongs to a track of that number."""
        while self._held and self._held[0][0] <= until:
            sink.add(track, *self._held.popleft())

    def split(self, begin: int, end: int) -> tuple["HeldCrops", "HeldCrops"]:
        """Those before frame `begin`, and those from frame `end` on."""
        before = deque(held for held in self._held if held[0] < begin)
        after = deque(held for held in self._held if held[0] >= end)
        return HeldCrops(before), HeldCrops(after)
