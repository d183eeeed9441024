"""How a face looks, in a few hundred numbers, and whether it goes on looking the same.

A look is made from the registered crop: its light and dark (a picture of 12 x 12, each place against its surroundings),
the directions of its edges (histograms of oriented gradients: Dalal and Triggs, CVPR 2005), and its colours on a coarse
grid. It tells two people in one place apart because they differ in all of that, and so do their light and their hair.
It recognises nobody: the same person in other light, or with the head turned, looks as different as another person.
What it can show is a leap: if every frame before a moment is far from every frame after it, though no frame within
either stretch is, the picture shows somebody else. A head that turns passes through all that lies between.
How far a track goes from its own mean look tells less: in seven videos of one person each its lowest similarity is 0.39
to 0.81, in six made of two people and not parted 0.40 to 0.66, while their leaps are 0.03 to 0.57 and 0.65 to 1.17. So
tracks are parted at leaps, and none is pruned for its similarity.
"""

from collections import deque
from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from pipeline.faces.register import Crop

STRETCH_FRAMES = 5
"""Frames on either side that are compared."""

_INNER = np.s_[8:176, 24:200]
"""Of the crop: from the brows to the lips. Around it there is hair, and the background."""
_LUMA_CELLS, _EDGE_CELLS, _EDGE_PIXELS, _DIRECTIONS, _COLOUR_CELLS = 12, 8, 64, 8, 4
_LEAST_CONTRAST_LEVELS = 4.0
# So that each part tells about as much; chosen on crops of six people.
_LUMA_WEIGHT, _EDGES_WEIGHT, _COLOUR_WEIGHT_PER_LEVEL = 0.7, 1.6, 0.023
_LOOKED_BACK = 2 * STRETCH_FRAMES - 1


def _means_around(pixels: int, around: int) -> Float32[np.ndarray, "pixels pixels"]:
    """Each pixel's mean over so many around it, as a matrix; the border mirrors."""
    places = np.abs(np.arange(pixels)[:, None] + np.arange(around) - around // 2)
    places = np.minimum(places, 2 * (pixels - 1) - places)
    matrix = np.zeros((pixels, pixels), dtype=np.float32)
    np.add.at(matrix, (np.arange(pixels)[:, None], places), 1 / around)
    return matrix


def _in_cells(cells: int, pixels_per_cell: int) -> Float32[np.ndarray, "cells pixels"]:
    return np.kron(np.eye(cells), np.ones(pixels_per_cell)).astype(np.float32)


# Products of small matrices: filters and sums over short axes would take several times as long.
_AROUND, _FAR_AROUND = _means_around(4 * _LUMA_CELLS, 13), _means_around(4 * _LUMA_CELLS, 21)
_IN_LUMA_CELL = _in_cells(_LUMA_CELLS, 4) / np.float32(4)
_IN_EDGE_CELL = _in_cells(_EDGE_CELLS, _EDGE_PIXELS // _EDGE_CELLS)

LOOK_VALUES = _LUMA_CELLS**2 + _EDGE_CELLS**2 * _DIRECTIONS + 2 * _COLOUR_CELLS**2

Look = Float[np.ndarray, " values"]
"""The difference of two is half their squared distance: 0 for the same picture, 0.5 to 1.5 for two people."""


def looks_of(crops: Sequence[Crop]) -> list[Look]:
    """The looks of registered crops; that of each is the same in whatever company."""
    if not crops:
        return []
    # Half the size first, which takes next to no time: what is asked for is coarser still.
    greys = [cv2.resize(crop.light[_INNER], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for crop in crops]
    parts = (_LUMA_WEIGHT * _luma(greys), _EDGES_WEIGHT * _edges(greys), _colours(crops))
    return list(np.concatenate(parts, axis=1, dtype=np.float32))


class RecentLooks:
    """The looks of one face's last sightings. Takes the next one, and tells a leap that it makes certain.

    Args:
        looks: Those before, in order.
    """

    def __init__(self, looks: Iterable[Look] = ()) -> None:
        # A ring: what a row held is not needed when its turn comes again.
        self._looks = np.zeros((_LOOKED_BACK, LOOK_VALUES), dtype=np.float32)
        self._halves = [0.0] * _LOOKED_BACK
        self._count = 0
        # Of each of the last looks: its difference to the one before it, the one before that, and so on.
        self._differences: deque[list[float]] = deque(maxlen=STRETCH_FRAMES)
        for look in looks:
            self.add(look)

    def add(self, look: Look) -> float:
        """The smallest difference between the last `STRETCH_FRAMES` looks, this one included, and as many before them.

        0 where there are not as many.
        """
        now = look.astype(np.float32)
        half = float(now @ now) / 2
        products = (self._looks @ now).tolist()
        rows = [(self._count - back) % _LOOKED_BACK for back in range(1, min(self._count, _LOOKED_BACK) + 1)]
        self._differences.append([half + self._halves[row] - products[row] for row in rows])
        place = self._count % _LOOKED_BACK
        self._looks[place], self._halves[place] = now, half
        self._count += 1
        if self._count < 2 * STRETCH_FRAMES:
            return 0.0
        nearest = (min(back[k : k + STRETCH_FRAMES]) for k, back in enumerate(self._differences))
        return max(0.0, min(nearest))


def _luma(greys: Sequence[UInt8[np.ndarray, "height width"]]) -> Float32[np.ndarray, "crops values"]:
    side = 4 * _LUMA_CELLS
    small = np.stack([cv2.resize(grey, (side, side), interpolation=cv2.INTER_LINEAR) for grey in greys])
    flat = small.astype(np.float32)
    flat -= _AROUND @ flat @ _AROUND.T
    contrast = np.sqrt(_FAR_AROUND @ (flat * flat) @ _FAR_AROUND.T) + np.float32(_LEAST_CONTRAST_LEVELS)
    return _unit(_IN_LUMA_CELL @ (flat / contrast) @ _IN_LUMA_CELL.T)


def _edges(greys: Sequence[UInt8[np.ndarray, "height width"]]) -> Float32[np.ndarray, "crops values"]:
    side = _EDGE_PIXELS
    small = np.stack([cv2.resize(grey, (side, side), interpolation=cv2.INTER_LINEAR) for grey in greys])
    levels = small.astype(np.float32)
    # Gradients across, down, and along both diagonals; there is none at a border, which mirrors.
    along = np.zeros((len(greys), 4, side, side), dtype=np.float32)
    across, down = along[:, 0], along[:, 1]
    np.subtract(levels[:, :, 2:], levels[:, :, :-2], out=across[:, :, 1:-1])
    np.subtract(levels[:, 2:], levels[:, :-2], out=down[:, 1:-1])
    np.add(across, down, out=along[:, 2])
    np.subtract(down, across, out=along[:, 3])
    along[:, 2:] *= np.float32(np.sqrt(0.5))
    # How much of them points forwards and how much backwards in each cell: half of |a| + a, and half of |a| - a.
    sums = _IN_EDGE_CELL @ along @ _IN_EDGE_CELL.T
    sizes = _IN_EDGE_CELL @ np.abs(along, out=along) @ _IN_EDGE_CELL.T
    both = np.concatenate([sizes + sums, sizes - sums], axis=1) / 2
    # The root keeps one strong edge from deciding everything; rounding may leave less than nothing.
    return _unit(np.sqrt(np.maximum(both, 0)))


def _colours(crops: Sequence[Crop]) -> Float32[np.ndarray, "crops values"]:
    rows, columns = (slice(whole.start // 2, whole.stop // 2) for whole in _INNER)
    cells = (_COLOUR_CELLS, _COLOUR_CELLS)
    levels = [
        cv2.resize(plane[rows, columns], cells, interpolation=cv2.INTER_AREA)
        for crop in crops
        for plane in crop.samples.differences()
    ]
    around_grey = np.stack(levels).reshape(len(crops), -1).astype(np.float32) - np.float32(128)
    return around_grey * np.float32(_COLOUR_WEIGHT_PER_LEVEL)


def _unit(values: Float32[np.ndarray, "crops ..."]) -> Float32[np.ndarray, "crops values"]:
    rows = values.reshape(len(values), -1)
    length = np.sqrt(np.square(rows).sum(axis=1, keepdims=True))
    return np.asarray(rows / np.where(length > 0, length, 1))
