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
from collections.abc import Iterable

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from pipeline.faces.planes import Colours, Planes
from pipeline.faces.register import Crop

STRETCH_FRAMES = 5
"""Frames on either side that are compared."""

_INNER = np.s_[8:176, 24:200]
"""Of the crop: from the brows to the lips. Around it there is hair, and the background."""
_LUMA_CELLS, _EDGE_CELLS, _EDGE_PIXELS, _DIRECTIONS, _COLOUR_CELLS = 12, 8, 64, 8, 4
_LEAST_CONTRAST_LEVELS = 4.0
# So that each part tells about as much; chosen on crops of six people.
_LUMA_WEIGHT, _EDGES_WEIGHT, _COLOUR_WEIGHT_PER_LEVEL = 0.7, 1.6, 0.023
_AROUND, _FAR_AROUND = (13, 13), (21, 21)
_LOOKED_BACK = 2 * STRETCH_FRAMES - 1
_ANGLES = 2 * np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
_UNIT_DIRECTIONS = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1).astype(np.float32)
_IN_CELL = np.kron(np.eye(_EDGE_CELLS), np.ones(_EDGE_PIXELS // _EDGE_CELLS)).astype(np.float32)

LOOK_VALUES = _LUMA_CELLS**2 + _EDGE_CELLS**2 * _DIRECTIONS + 2 * _COLOUR_CELLS**2

Look = Float[np.ndarray, " values"]


def look_of(crop: Crop) -> Look:
    """The look of a registered crop."""
    # Half the size first, which takes next to no time: what is asked for is coarser still.
    grey = cv2.resize(crop.light[_INNER], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    colours = _colours(crop.samples)
    return np.concatenate((_LUMA_WEIGHT * _luma(grey), _EDGES_WEIGHT * _edges(grey), colours), dtype=np.float32)


def difference(first: Look, second: Look) -> float:
    """Half the squared distance: 0 for the same picture, 0.5 to 1.5 for two people."""
    return float(np.square(first - second, dtype=np.float32).sum()) / 2


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


def _luma(grey: UInt8[np.ndarray, "height width"]) -> Float32[np.ndarray, " values"]:
    side = 4 * _LUMA_CELLS
    small = cv2.resize(grey, (side, side), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    flat = small - cv2.blur(small, _AROUND)
    # Running sums may end below zero by rounding.
    contrast = np.sqrt(np.maximum(cv2.blur(flat * flat, _FAR_AROUND), 0)) + np.float32(_LEAST_CONTRAST_LEVELS)
    return _unit(cv2.resize(flat / contrast, (_LUMA_CELLS, _LUMA_CELLS), interpolation=cv2.INTER_AREA).reshape(-1))


def _edges(grey: UInt8[np.ndarray, "height width"]) -> Float32[np.ndarray, " values"]:
    small = cv2.resize(grey, (_EDGE_PIXELS, _EDGE_PIXELS), interpolation=cv2.INTER_LINEAR)
    across, down = (cv2.Sobel(small, cv2.CV_32F, x, 1 - x, ksize=1).reshape(-1) for x in (1, 0))
    # How much of each gradient points in each direction, summed over the cells.
    along = _UNIT_DIRECTIONS @ np.stack([across, down])
    np.maximum(along, 0, out=along)
    # Products of matrices: numpy's own sums over short axes take several times as long.
    sums = _IN_CELL @ along.reshape(_DIRECTIONS, _EDGE_PIXELS, _EDGE_PIXELS) @ _IN_CELL.T
    # The root keeps one strong edge from deciding everything.
    return _unit(np.sqrt(sums).reshape(-1))


def _colours(samples: Planes | Colours) -> Float32[np.ndarray, " values"]:
    rows, columns = (slice(whole.start // 2, whole.stop // 2) for whole in _INNER)
    cells = (_COLOUR_CELLS, _COLOUR_CELLS)
    blue, red = (
        cv2.resize(plane[rows, columns], cells, interpolation=cv2.INTER_AREA) for plane in samples.differences()
    )
    levels = np.stack([red, blue], axis=2).reshape(-1).astype(np.float32) - np.float32(128)
    return levels * np.float32(_COLOUR_WEIGHT_PER_LEVEL)


def _unit(values: Float32[np.ndarray, " values"]) -> Float32[np.ndarray, " values"]:
    length = float(np.linalg.norm(values))
    return values / np.float32(length) if length > 0 else values
