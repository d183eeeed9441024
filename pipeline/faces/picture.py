"""One displayed picture in the form in which it was decoded; colours are made only of what is looked at.

Decoders give luma and chroma planes. To turn all of them into RGB can cost more than to decode them, and the networks
look at small squares. So a picture keeps its planes, converts the window around what is asked for, and remembers it:
the mesh, both eyes and the crop of a face share one conversion.

The decoder may also have made the picture smaller. Who looks at it need not know: places are always those of the
displayed picture in its own size, (0, 0) the centre of its top-left pixel.
"""

import math
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Float64, UInt8

from pipeline.faces.planes import Planes, resized

_SHRINK_WITHOUT_ALIASES = 2.0
_SHRINK_UNSEEN = 1.05


class _Window(NamedTuple):
    x0: int
    y0: int
    x1: int
    y1: int

    def within(self, other: "_Window") -> "_Window":
        return _Window(
            max(self.x0, other.x0), max(self.y0, other.y0), min(self.x1, other.x1), min(self.y1, other.y1)
        )

    @property
    def empty(self) -> bool:
        return self.x0 >= self.x1 or self.y0 >= self.y1


class Picture:
    """A picture to be looked at. Where its samples are a decoder's buffer, it lives until the next frame.

    Args:
        samples: The picture as RGB or as planes.
        width_px: Width of the displayed picture, where it is not that of the samples.
        height_px: Its height.

    Attributes:
        width_px: Width of the displayed picture.
        height_px: Its height.
    """

    def __init__(
        self,
        samples: UInt8[np.ndarray, "rows columns 3"] | Planes,
        *,
        width_px: int | None = None,
        height_px: int | None = None,
    ) -> None:
        self._samples = samples
        rows, columns = (samples.luma if isinstance(samples, Planes) else samples).shape[:2]
        self._all = _Window(0, 0, columns, rows)
        self.width_px = columns if width_px is None else width_px
        self.height_px = rows if height_px is None else height_px
        self._known = _Window(0, 0, 0, 0)
        self._colours = np.empty((0, 0, 4), dtype=np.uint8)

    @property
    def rgb(self) -> UInt8[np.ndarray, "rows columns 3"]:
        """The whole picture, in the size in which it was decoded."""
        if not isinstance(self._samples, Planes):
            return self._samples
        return self._samples.colours(*self._all, opaque=False)

    @property
    def nbytes(self) -> int:
        """Bytes of its samples."""
        if not isinstance(self._samples, Planes):
            return self._samples.nbytes
        return self._samples.luma.nbytes + self._samples.blue.nbytes + self._samples.red.nbytes

    def kept(self) -> "Picture":
        """The same picture with samples of its own, which stay when the next frame comes."""
        own: UInt8[np.ndarray, "rows columns 3"] | Planes
        if isinstance(self._samples, Planes):
            planes = self._samples
            own = replace(planes, luma=planes.luma.copy(), blue=planes.blue.copy(), red=planes.red.copy())
        else:
            own = self._samples.copy()
        return Picture(own, width_px=self.width_px, height_px=self.height_px)

    def square(
        self, displayed_from_square: Float[np.ndarray, "2 3"], size_px: int, *, averaged: bool
    ) -> UInt8[np.ndarray, "size size 4"]:
        """A part of the picture, moved, turned and scaled to a square.

        A square that shrinks the picture more than twice is sampled from an averaged one: bilinear sampling would
        alias. Up to twice it aliases little; `averaged` spares a crop even that, by a filter of three taps.

        Args:
            displayed_from_square: From pixel centres of the square to places in the picture: a similarity, with or
                without reflection.
            size_px: Side of the square.
            averaged: See above.

        Returns:
            RGB, and whether that is the picture: black and 0 outside of it, 255 inside. (Four channels also take a
            third of the time of three.)
        """
        to_samples = self._samples_from_square(displayed_from_square)
        shrink = math.hypot(to_samples[0, 0], to_samples[1, 0])
        factor = int(shrink) if shrink > _SHRINK_WITHOUT_ALIASES else 1
        window = _around(to_samples, size_px, margin=3 * factor + 1).within(self._all)
        if window.empty:
            return np.zeros((size_px, size_px, 4), dtype=np.uint8)
        source = self._window(window)
        to_samples[0, 2] -= window.x0
        to_samples[1, 2] -= window.y0
        columns, rows = (window.x1 - window.x0) // factor, (window.y1 - window.y0) // factor
        if factor > 1 and columns and rows:
            whole_blocks = source[: rows * factor, : columns * factor]
            source = cv2.resize(whole_blocks, (columns, rows), interpolation=cv2.INTER_AREA)
            to_samples[:, 2] -= (factor - 1) / 2
            to_samples /= factor
        if averaged and shrink / factor > _SHRINK_UNSEEN:
            # At twice, [1 2 1] / 4 takes away what would alias; at once, nothing would.
            side = (min(shrink / factor, 2.0) - 1) / 4
            taps = np.array([side, 1 - 2 * side, side], dtype=np.float32)
            source = cv2.sepFilter2D(source, -1, taps, taps)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(source, to_samples, (size_px, size_px), flags=flags, borderMode=cv2.BORDER_CONSTANT)

    def thumbnail(
        self, wide: int, high: int, *, samples_per_pixel: int | None = None
    ) -> UInt8[np.ndarray, "high wide 3"]:
        """The whole picture in another size, averaged where that is smaller.

        Args:
            wide: Width of the result.
            high: Its height.
            samples_per_pixel: Average only so many samples across and down each of its pixels, which is faster.
        """
        if isinstance(self._samples, Planes):
            return self._samples.thumbnail(wide, high, samples_per_pixel)
        return resized(self._samples, wide, high, samples_per_pixel)

    def _samples_from_square(self, displayed_from_square: Float[np.ndarray, "2 3"]) -> Float64[np.ndarray, "2 3"]:
        matrix = np.array(displayed_from_square, dtype=np.float64)
        for row, scale in enumerate((self._all.x1 / self.width_px, self._all.y1 / self.height_px)):
            if scale != 1:
                matrix[row] *= scale
                # Pixel centres lie half a pixel from the edge in both sizes.
                matrix[row, 2] += (scale - 1) / 2
        return matrix

    def _window(self, wanted: _Window) -> UInt8[np.ndarray, "rows columns 4"]:
        if wanted.within(self._known) != wanted:
            # Chroma comes in blocks of 2 x 2.
            even = _Window(wanted.x0 & ~1, wanted.y0 & ~1, wanted.x1 + (wanted.x1 & 1), wanted.y1 + (wanted.y1 & 1))
            self._known = known = even.within(self._all)
            if isinstance(self._samples, Planes):
                self._colours = self._samples.colours(*known, opaque=True)
            else:
                part = self._samples[known.y0 : known.y1, known.x0 : known.x1]
                self._colours = np.asarray(cv2.cvtColor(part, cv2.COLOR_RGB2RGBA), dtype=np.uint8)
        left, top = wanted.x0 - self._known.x0, wanted.y0 - self._known.y0
        return self._colours[top : top + wanted.y1 - wanted.y0, left : left + wanted.x1 - wanted.x0]


def _around(samples_from_square: Float64[np.ndarray, "2 3"], size_px: int, *, margin: int) -> _Window:
    far = (size_px - 1) / 2
    edges = []
    for a, b, shift in samples_from_square.tolist():
        # A region may be anywhere: its edges are kept in the range of OpenCV's integers.
        middle, reach = max(-1e6, min(1e6, (a + b) * far + shift)), min(1e6, (abs(a) + abs(b)) * far)
        edges.append((math.floor(middle - reach) - margin, math.ceil(middle + reach) + margin + 1))
    (x0, x1), (y0, y1) = edges
    return _Window(x0, y0, x1, y1)
