"""What an eye shows that it did not show before.

An eye is registered to a picture of it that was looked at, its key, by the translation that explains the difference
best (one step of Lucas and Kanade, "An Iterative Image Registration Technique with an Application to Stereo Vision",
IJCAI 1981, equation 9); how bright the whole eye is does not count, as light flickers. If what this leaves unexplained
is nowhere more than a motion by a small part of the eye would make, the eye is as in the key. If it is more, a frame a
little later becomes a key as well, and the eye may be explained as something between both: as a lid that moves slowly.
An eye is always explained by keys, never by pictures that were themselves explained: nothing adds up over time.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

LARGEST_CHANGE_PX = 0.8
"""Grey levels that differ by less than a motion by so many pixels of the square would make are no change. An eye is 28
pixels wide there, a thirteenth of which the network's own noise moves a lid on unsteady faces."""

_ROWS, _COLUMNS = 32, 44
_AROUND_EYE = np.s_[15:49, 9:55]
"""Of the square: the eye without the brow, which moves by itself, and a pixel more on each side."""
_CELL = 4
"""Pixels across and down: the least that counts as a change, large enough to average out a camera's noise."""
_CELLS = (_COLUMNS // _CELL, _ROWS // _CELL)
_LARGEST_SHIFT_PX = 1.5
"""Up to there a picture is near enough to its linearisation."""
_FRAMES_AHEAD = 3
"""So much later the next key may be."""

Grey = Float32[np.ndarray, "34 46"]


def grey_around_eye(light: UInt8[np.ndarray, "64 64"]) -> Grey:
    """Grey levels against their mean, with a pixel more on each side."""
    # Blurred, so that slopes hold over a pixel.
    grey = cv2.boxFilter(light[_AROUND_EYE], cv2.CV_32F, (3, 3))
    return np.subtract(grey, np.float32(cv2.mean(grey)[0]), out=grey)


@dataclass(frozen=True, slots=True, kw_only=True)
class EyeKey:
    """A picture of an eye by which others are explained.

    Attributes:
        grey: Its grey levels, row by row.
        slopes: Their change per pixel, to the right and down.
        solution: From products of a change with the slopes to the shift that explains it best.
        largest_level: Mean difference in a cell that counts as a change.
    """

    grey: Float32[np.ndarray, "1408"]
    slopes: Float32[np.ndarray, "2 1408"]
    solution: Float32[np.ndarray, "2 2"]
    largest_level: float

    def differences(self, greys: Float32[np.ndarray, "eyes 1408"]) -> "Differences":
        """What other pictures of the eye show, registered to this one."""
        changes = greys - self.grey
        shifts = changes @ self.slopes.T @ self.solution
        # The picture moved by a shift is, to first order, the old one less the shift along its slopes.
        changes += shifts @ self.slopes
        return Differences(shifts_px=shifts, left=changes)

    def explains(self, differences: "Differences") -> Bool[np.ndarray, " eyes"]:
        """Which differences are no more than shifts."""
        levels = np.abs(differences.left).reshape(-1, _COLUMNS)
        cells = cv2.resize(levels, (_CELLS[0], len(levels) // _CELL), interpolation=cv2.INTER_AREA)
        worst = cells.reshape(-1, _CELLS[0] * _CELLS[1]).max(axis=1)
        far = np.abs(differences.shifts_px).max(axis=1)
        return np.asarray((worst < self.largest_level) & (far <= _LARGEST_SHIFT_PX))


@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    """Of pictures of an eye to a key.

    Attributes:
        shifts_px: By which they are explained best.
        left: What these do not explain, grey levels.
    """

    shifts_px: Float32[np.ndarray, "eyes 2"]
    left: Float32[np.ndarray, "eyes 1408"]

    def towards_last(self) -> tuple[Float32[np.ndarray, " others"], "Differences"]:
        """The share of the last one that explains each of the others best, and what differs beyond that."""
        last = self.left[-1]
        shares = self.left[:-1] @ last / np.float32(max(float(last @ last), 1.0))
        part = shares[:, None]
        beyond = Differences(
            shifts_px=self.shifts_px[:-1] - part * self.shifts_px[-1], left=self.left[:-1] - part * last
        )
        return shares, beyond

    def until(self, count: int) -> "Differences":
        """The first so many."""
        return Differences(shifts_px=self.shifts_px[:count], left=self.left[:count])


class Explained(NamedTuple):
    """How an eye is explained: as in a key, shifted, with a share of the change to another.

    Attributes:
        key: Index of the key; -1 is the one from before.
        other: Index of the other one.
        share: Of the change from key to other, 0 to 1.
        shift_px: Pixels of the square.
    """

    key: int
    other: int
    share: np.float32
    shift_px: Float32[np.ndarray, "2"]


_NO_SHIFT, _NO_SHARE = np.zeros(2, dtype=np.float32), np.float32(0)


def key_of(grey: Grey) -> EyeKey:
    """A picture of an eye as a key."""
    both = np.empty((2, _ROWS, _COLUMNS), dtype=np.float32)
    np.subtract(grey[1:-1, 2:], grey[1:-1, :-2], out=both[0])
    np.subtract(grey[2:, 1:-1], grey[:-2, 1:-1], out=both[1])
    slopes = both.reshape(2, -1)
    slopes *= np.float32(0.5)
    (a, b), (_, c) = (slopes @ slopes.T).tolist()
    # Of an eye without slopes both ways any translation explains as much.
    determinant = max(a * c - b * b, 1.0)
    return EyeKey(
        grey=grey[1:-1, 1:-1].reshape(-1),
        slopes=slopes,
        solution=np.array([[-c, b], [b, -a]], dtype=np.float32) / np.float32(determinant),
        largest_level=LARGEST_CHANGE_PX * math.sqrt((a + c) / (_ROWS * _COLUMNS)),
    )


def explained(greys: Sequence[Grey], before: EyeKey | None) -> tuple[list[Explained], dict[int, EyeKey]]:
    """How consecutive pictures of one eye are explained, with as few keys as that takes.

    Args:
        greys: The pictures.
        before: The last key of those before them, if there are any.

    Returns:
        An explanation of each, and the pictures that became keys, by index.
    """
    rows = np.stack([grey[1:-1, 1:-1].reshape(-1) for grey in greys])
    found: list[Explained] = []
    keys: dict[int, EyeKey] = {}
    key, index = before, -1
    while (here := len(found)) < len(greys):
        if key is not None:
            some = _explained_by(key, index, rows[here : here + 1 + _FRAMES_AHEAD], here)
            found += some
            if some and some[-1].other == index:
                continue
        index = len(found)
        key = keys[index] = key_of(greys[index])
        found.append(Explained(index, index, _NO_SHARE, _NO_SHIFT))
    return found, keys


def _explained_by(
    key: EyeKey, index: int, greys: Float32[np.ndarray, "eyes 1408"], first: int
) -> list[Explained]:
    """How the first of some pictures are explained by a key and at most one of them; none if the first is not.

    Args:
        key: The key.
        index: Its index.
        greys: The pictures.
        first: Index of the first one.
    """
    differences = key.differences(greys)
    alike = int(np.logical_and.accumulate(key.explains(differences)).sum())
    if alike:
        return [Explained(index, index, _NO_SHARE, shift) for shift in differences.shifts_px[:alike]]
    for later in range(len(greys) - 1, 0, -1):
        shares, beyond = differences.until(later + 1).towards_last()
        if (shares >= 0).all() and (shares <= 1).all() and key.explains(beyond).all():
            return [
                Explained(index, first + later, share, shift)
                for share, shift in zip(shares, beyond.shifts_px, strict=True)
            ]
    return []
