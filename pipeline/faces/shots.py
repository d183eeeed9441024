"""Where one shot of a video ends and another begins, told from a small thumbnail of each frame.

Two frames are compared by how much the thumbnail's pixels differ (motion also raises this) and by how much the
colours as a whole differ (motion hardly raises this). A cut is a difference that stands out both from a fixed
threshold and from the recent past, so that a shaking camera cuts nothing. It is suspected at once, and known a few
frames later: by then a flash or a dark frame is over and the picture before it is back, and a whip pan still goes on.
Dissolves are known when they are over; see `dissolves`. A picture that fades to a blank one, and another that comes out
of it, are two shots as well.
"""

import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from pipeline.faces.dissolves import THUMBNAIL, DissolveDetector, Transition
from pipeline.faces.picture import Picture, thumbnails_of

_SAMPLES_PER_CELL = 2
_LEVELS_PER_CHANNEL = 4
_PAST_FRAMES = 15
_KNOWN_FRAMES = 3
# Of 255 levels, and of 1. Measured on face video: within shots up to 19 levels and 0.1, at cuts from about 40 and 0.4.
_CHANGE_LEVELS, _CHANGE_TIMES, _COLOUR_CHANGE = 10.0, 3.0, 0.25
_LARGE_CHANGE_LEVELS, _LARGE_CHANGE_TIMES = 30.0, 5.0
_FLASH_FRAMES = 4
"""What is back after that many frames was never left."""
_BACK = 0.5
"""A picture is back if it differs from the one before by less than this share of the change."""
_RESTS = 0.5
"""The change before a cut and one of those after it are smaller than this share of it."""
_BLANK_LEVELS = 2.5
"""Standard deviation, of 255 levels, of a picture that shows nothing."""
_DISSOLVES_EVERY_S = 1 / 31
"""Dissolves are looked for at most that often, so that their length in frames does not depend on the frame rate."""


class Glance(NamedTuple):
    """What tells shots apart of one frame.

    Attributes:
        thumbnail: For dissolves.
        small: It in half the size, for both.
        colours: How much of it each colour is.
    """

    thumbnail: UInt8[np.ndarray, "36 64 3"]
    small: UInt8[np.ndarray, "18 32 3"]
    colours: Float32[np.ndarray, " bins"]


def glances(pictures: Sequence[Picture]) -> list[Glance]:
    """Of each of these pictures."""
    # Four samples per cell are enough, and do not touch every pixel of a large frame.
    thumbnails = thumbnails_of(pictures, *THUMBNAIL, samples_per_pixel=_SAMPLES_PER_CELL)
    wide, high = THUMBNAIL[0] // 2, THUMBNAIL[1] // 2
    # One below the other they are one picture: each cell of the smaller ones is of one of them.
    below = thumbnails.reshape(-1, *thumbnails.shape[2:])
    smalls = cv2.resize(below, (wide, len(pictures) * high), interpolation=cv2.INTER_AREA).reshape(-1, high, wide, 3)
    colours = _colours(smalls)
    return [Glance(*glance) for glance in zip(thumbnails, smalls, colours, strict=True)]


@dataclass(slots=True)
class _Suspicion:
    index: int
    before: UInt8[np.ndarray, "18 32 3"]
    change: float
    after: list[float] = field(default_factory=list)

    def is_cut(self) -> bool:
        """Whether the picture rested after the change; a whip pan goes on."""
        return not self.after or min(self.after) < _RESTS * self.change


class ShotDetector:
    """Give it the frames of a video in order, and it tells the transitions between its shots.

    Attributes:
        looks_new: Whether the last frame looks unlike the one before it, as after a cut: a reason to look at it anew,
            though it may turn out to be a flash.
    """

    def __init__(self) -> None:
        self.looks_new = False
        self._last: tuple[UInt8[np.ndarray, "18 32 3"], Float32[np.ndarray, " bins"]] | None = None
        self._past: deque[float] = deque(maxlen=_PAST_FRAMES)
        self._suspicions: deque[_Suspicion] = deque()
        self._dissolves = DissolveDetector()
        self._dissolves_seen_s = -np.inf
        self._blank_since: int | None = None

    def __call__(self, picture: Picture, *, index: int, pts_s: float) -> list[Transition]:
        """Transitions that are certain with this frame, in order.

        Args:
            picture: The frame's.
            index: Of the frame.
            pts_s: Its presentation time.
        """
        return self.see(glances([picture])[0], index=index, pts_s=pts_s)

    def see(self, glance: Glance, *, index: int, pts_s: float) -> list[Transition]:
        """The same for a frame that was glanced at, perhaps together with others."""
        thumbnail, small, colours = glance
        last, self._last = self._last, (small, colours)
        self.looks_new = last is None
        found = [] if last is None else self._cuts(last, self._last, index)
        found += self._out_of_blank(small, index)
        if pts_s - self._dissolves_seen_s >= _DISSOLVES_EVERY_S:
            self._dissolves_seen_s = pts_s
            dissolve = self._dissolves(thumbnail, index, half=small)
            found += [dissolve] if dissolve is not None else []
        return found

    def settled_before(self, index: int) -> int:
        """No transition that begins before this frame can still be found, if `index` was the last frame."""
        waiting = (self._dissolves.oldest, self._blank_since, *(s.index for s in self._suspicions))
        return min((first for first in waiting if first is not None), default=index + 1)

    def finish(self) -> list[Transition]:
        """Transitions that were waiting for further frames when the video ended."""
        found = [Transition(begin=s.index, end=s.index) for s in self._suspicions if s.is_cut()]
        self._suspicions.clear()
        return found

    def _cuts(
        self,
        last: tuple[UInt8[np.ndarray, "18 32 3"], Float32[np.ndarray, " bins"]],
        now: tuple[UInt8[np.ndarray, "18 32 3"], Float32[np.ndarray, " bins"]],
        index: int,
    ) -> list[Transition]:
        change = _difference(now[0], last[0])
        colours = float(np.abs(now[1] - last[1]).sum()) / 2
        usual = statistics.median(self._past) if self._past else 0.0
        stands_out = change >= max(_CHANGE_LEVELS, _CHANGE_TIMES * usual) and colours >= _COLOUR_CHANGE
        # Two shots of the same place share their colours; that their pixels differ only tells if the past is known.
        by_far = change >= max(_LARGE_CHANGE_LEVELS, _LARGE_CHANGE_TIMES * usual) and len(self._past) >= _KNOWN_FRAMES
        rested = not self._past or self._past[-1] < _RESTS * change
        # Cuts stay in the past as well: one of them does not move the median, a flickering light does.
        self._past.append(change)
        for number, suspicion in enumerate(self._suspicions):
            if _difference(now[0], suspicion.before) < _BACK * suspicion.change:
                # It was a flash, and so was whatever changed since.
                while len(self._suspicions) > number:
                    self._suspicions.pop()
                return []
        for suspicion in self._suspicions:
            suspicion.after.append(change)
        self.looks_new = rested and (stands_out or by_far)
        if self.looks_new:
            self._suspicions.append(_Suspicion(index, last[0], change))
            self._dissolves.reset()
        if self._suspicions and index - self._suspicions[0].index >= _FLASH_FRAMES:
            settled = self._suspicions.popleft()
            if settled.is_cut():
                return [Transition(begin=settled.index, end=settled.index)]
        return []

    def _out_of_blank(self, small: UInt8[np.ndarray, "18 32 3"], index: int) -> list[Transition]:
        since = self._blank_since
        if float(cv2.meanStdDev(small)[1].max()) < _BLANK_LEVELS:
            self._blank_since = index if since is None else since
            return []
        self._blank_since = None
        if since is None or index - since <= _FLASH_FRAMES:
            return []
        self._dissolves.reset()
        return [Transition(begin=since, end=index)]


def _difference(first: UInt8[np.ndarray, "18 32 3"], second: UInt8[np.ndarray, "18 32 3"]) -> float:
    return cv2.norm(first, second, cv2.NORM_L1) / first.size


def _colours(smalls: UInt8[np.ndarray, "frames 18 32 3"]) -> Float32[np.ndarray, "frames bins"]:
    red, green, blue = np.moveaxis(smalls.reshape(len(smalls), -1, 3) // (256 // _LEVELS_PER_CHANNEL), 2, 0)
    bins = (red * _LEVELS_PER_CHANNEL + green) * _LEVELS_PER_CHANNEL + blue
    every = _LEVELS_PER_CHANNEL**3
    counts = np.bincount((bins + every * np.arange(len(bins))[:, None]).reshape(-1), minlength=every * len(bins))
    return counts.reshape(-1, every).astype(np.float32) / np.float32(bins.shape[1])
