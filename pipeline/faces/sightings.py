"""What was seen of one face, frame by frame, and the frames between in which it was missed."""

import math
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64, Int32

from pipeline.faces.appearance import STRETCH_FRAMES, Look, RecentLooks
from pipeline.faces.landmarks import FaceLandmarks
from pipeline.faces.register import CropQuality


class Sighting(NamedTuple):
    """One face in one frame.

    Attributes:
        face: Where it is.
        quality: Of its crop.
        look: Of its crop; see `appearance`.
        occlusion: See `occlusion`; NaN where nobody was asked.
    """

    face: FaceLandmarks
    quality: CropQuality
    look: Look
    occlusion: float = math.nan


@dataclass(slots=True)
class Sightings:
    """One face in consecutive frames. The first frame has the face; frames missed at the end do not count."""

    _frames: list[tuple[int, float]] = field(default_factory=list)
    _seen_at: list[int] = field(default_factory=list)
    _seen: list[Sighting] = field(default_factory=list)
    _leaps: list[float] = field(default_factory=list)
    _recent: RecentLooks = field(default_factory=RecentLooks)

    def add(self, frame: int, pts_s: float, sighting: Sighting) -> None:
        """The face was seen."""
        self._seen_at.append(len(self._frames))
        self._frames.append((frame, pts_s))
        look = sighting.look.astype(np.float16)
        self._seen.append(sighting._replace(look=look))
        self._leaps.append(0.0)
        leap = self._recent.add(look)
        if leap > 0:
            self._leaps[-STRETCH_FRAMES] = leap

    def miss(self, frame: int, pts_s: float) -> None:
        """The face was looked for, and not found."""
        self._frames.append((frame, pts_s))

    def leap_beyond(self, limit: float) -> int | None:
        """The frame with which the look changed by more than a limit, where that is known since the last sighting."""
        middle = len(self._seen) - STRETCH_FRAMES
        if middle < 0 or self._leaps[middle] <= limit:
            return None
        return self._frames[self._seen_at[middle]][0]

    @property
    def surely_one_until(self) -> int:
        """The last frame that surely shows the face of the frames before it; -1 where there is none yet."""
        known = len(self._seen) - STRETCH_FRAMES
        return self._frames[self._seen_at[known]][0] - 1 if known >= 0 else -1

    def split(self, begin: int, end: int) -> tuple["Sightings", "Sightings"]:
        """What was seen before frame `begin`, and from frame `end` on."""
        frames = [frame for frame, _ in self._frames]
        first, last = bisect_left(frames, begin), bisect_left(frames, end)
        return self._part(0, first), self._part(last, len(frames))

    def _part(self, first: int, last: int) -> "Sightings":
        low, high = bisect_left(self._seen_at, first), bisect_left(self._seen_at, last)
        first = self._seen_at[low] if low < high else last
        leaps = self._leaps[low:high]
        # A leap is only known where both its stretches lie within.
        cut = min(STRETCH_FRAMES, len(leaps))
        if low > 0:
            leaps[:cut] = [0.0] * cut
        if high < len(self._leaps):
            leaps[len(leaps) - cut + 1 :] = [0.0] * (cut - 1)
        seen = self._seen[low:high]
        return Sightings(
            self._frames[first:last],
            [at - first for at in self._seen_at[low:high]],
            seen,
            leaps,
            RecentLooks(one.look for one in seen[-3 * STRETCH_FRAMES :]),
        )

    def __len__(self) -> int:
        return self._seen_at[-1] + 1 if self._seen_at else 0

    @property
    def begin(self) -> int:
        """Index of the first frame."""
        return self._frames[0][0]

    @property
    def end(self) -> int:
        """Index after the last frame that was looked at, whether or not the face was found."""
        return self._frames[-1][0] + 1

    @property
    def start_s(self) -> float:
        """Time of the first sighting."""
        return self._frames[0][1]

    @property
    def duration_s(self) -> float:
        """From the first to the last sighting."""
        return self._frames[len(self) - 1][1] - self._frames[0][1] if self._seen_at else 0.0

    def duration_until_s(self, frame: int) -> float:
        """From the first sighting to the last of those up to a frame."""
        if self._seen_at and self._frames[self._seen_at[-1]][0] <= frame:
            return self.duration_s
        times = (self._frames[at][1] for at in reversed(self._seen_at) if self._frames[at][0] <= frame)
        return next(times, self._frames[0][1]) - self._frames[0][1]

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
        return self._bridged(np.stack([seen.face.box_px for seen in self._seen]))

    @property
    def points_px(self) -> Float32[np.ndarray, "frames points 2"]:
        """Landmarks, bridged."""
        return self._bridged(np.stack([seen.face.points_px for seen in self._seen]))

    @property
    def sharpness(self) -> Float32[np.ndarray, " frames"]:
        """Sharpness of the crops, bridged."""
        return self._bridged(np.array([seen.quality.sharpness for seen in self._seen], dtype=np.float32))

    @property
    def brightness(self) -> Float32[np.ndarray, " frames"]:
        """Brightness of the crops, bridged."""
        return self._bridged(np.array([seen.quality.brightness for seen in self._seen], dtype=np.float32))

    @property
    def occlusion(self) -> Float32[np.ndarray, " frames"]:
        """Linear in time between the frames that were asked, constant before and after; NaN where none was."""
        told = np.array([seen.occlusion for seen in self._seen], dtype=np.float64)
        asked = ~np.isnan(told)
        if not asked.any():
            return np.full(len(self), np.nan, dtype=np.float32)
        time = self.pts_s
        return np.asarray(np.interp(time, time[self._seen_at][asked], told[asked]), dtype=np.float32)

    @property
    def similarity(self) -> Float32[np.ndarray, " frames"]:
        """1 minus half the squared distance of the look to the mean look, bridged."""
        looks = np.stack([seen.look for seen in self._seen])
        mean = looks.mean(axis=0, dtype=np.float32)
        apart = np.square(looks - mean).sum(axis=1) / 2
        return self._bridged((1 - apart).astype(np.float32))

    @property
    def jump(self) -> Float32[np.ndarray, " frames"]:
        """How far the look leaps with each frame, 0 where nothing can be said: near the ends, and where missed."""
        leaps = np.zeros(len(self), dtype=np.float32)
        leaps[self._seen_at] = self._leaps
        return leaps

    @property
    def confidence(self) -> Float32[np.ndarray, " frames"]:
        """Presence scores; 0 where missed."""
        scores = np.zeros(len(self), dtype=np.float32)
        scores[self._seen_at] = [seen.face.confidence for seen in self._seen]
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
