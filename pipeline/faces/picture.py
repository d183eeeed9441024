"""One displayed picture in the form in which it was decoded; colours are made only of what is looked at.

A picture keeps the decoder's samples, and halves them as often as what is asked for shrinks them, around it only. What
was prepared is remembered: the mesh and both eyes of a face share one window in one size.

The decoder may also have made the picture smaller. Who looks at it need not know: places are always those of the
displayed picture in its own size, (0, 0) the centre of its top-left pixel.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Float64, UInt8

from pipeline.faces.planes import Colours, Planes, Taps, halved_samples

_SHRINK_WITHOUT_ALIASES = 2.0
_SHRINK_UNSEEN = 1.05


class Square(NamedTuple):
    """A part of a picture, moved, turned and scaled to a square.

    Attributes:
        rgb: Its colours, black outside the picture.
        inside: 255 where a pixel is of the picture, 0 where it lies outside, between on the border; None where all of
            the square is inside.
    """

    rgb: UInt8[np.ndarray, "size size 3"]
    inside: UInt8[np.ndarray, "size size"] | None


class _Window(NamedTuple):
    x0: int
    y0: int
    x1: int
    y1: int

    def within(self, other: "_Window") -> "_Window":
        return _Window(
            max(self.x0, other.x0), max(self.y0, other.y0), min(self.x1, other.x1), min(self.y1, other.y1)
        )

    def on_grid(self, step: int) -> "_Window":
        """The smallest window around it with edges that are multiples of a step."""
        return _Window(
            self.x0 // step * step, self.y0 // step * step, -(-self.x1 // step) * step, -(-self.y1 // step) * step
        )


_Reach = tuple[tuple[float, float], tuple[float, float]]
"""First and last column, first and last row."""


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
        self._samples = samples if isinstance(samples, Planes) else Colours(colours=samples)
        rows, columns = self._samples.shape
        self._all = _Window(0, 0, columns, rows)
        self.width_px = columns if width_px is None else width_px
        self.height_px = rows if height_px is None else height_px
        # Windows that were prepared, and what is in them, by how many times smaller they are.
        self._known: dict[int, tuple[_Window, UInt8[np.ndarray, "rows columns 4"]]] = {}

    @property
    def rgb(self) -> UInt8[np.ndarray, "rows columns 3"]:
        """The whole picture, in the size in which it was decoded."""
        return self._samples.rgb()

    @property
    def nbytes(self) -> int:
        """Bytes of its samples."""
        return self._samples.nbytes

    def kept(self) -> "Picture":
        """The same picture with samples of its own, which stay when the next frame comes."""
        own = self._samples.copy()
        samples = own if isinstance(own, Planes) else own.colours
        return Picture(samples, width_px=self.width_px, height_px=self.height_px)

    def square(self, displayed_from_square: Float[np.ndarray, "2 3"], size_px: int, *, averaged: bool) -> Square:
        """A part of the picture, moved, turned and scaled to a square.

        A square that shrinks the picture more than twice is sampled from one that was halved, as often as that takes:
        bilinear sampling would alias. Up to twice it aliases little; `averaged` spares a crop even that, by a filter
        of three taps.

        Args:
            displayed_from_square: From pixel centres of the square to places in the picture: a similarity, with or
                without reflection.
            size_px: Side of the square.
            averaged: See above.
        """
        to_samples = self._samples_from_square(displayed_from_square)
        shrink = math.hypot(to_samples[0, 0], to_samples[1, 0])
        times = 1
        while shrink > _SHRINK_WITHOUT_ALIASES * times:
            times *= 2
        reach = _reach(to_samples, size_px)
        window = _around(reach, margin=2 * times + 1).within(self._all)
        taps = _taps(shrink / times) if averaged and shrink / times > _SHRINK_UNSEEN else None
        source, (left, top) = self._part(window, times, taps)
        if not source.size:
            nothing = np.zeros((size_px, size_px, 4), dtype=np.uint8)
            return Square(nothing[..., :3], nothing[..., 3])
        to_samples[0, 2] -= left + (times - 1) / 2
        to_samples[1, 2] -= top + (times - 1) / 2
        if times > 1:
            to_samples /= times
        # Four channels take less than half the time of three.
        square = cv2.warpAffine(
            source,
            to_samples,
            (size_px, size_px),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=self._samples.outside,
        )
        inside = None if self._all_inside(reach, times) else cv2.extractChannel(square, 3)
        return Square(self._samples.rgb_of(square), inside)

    def thumbnail(
        self, wide: int, high: int, *, samples_per_pixel: int | None = None
    ) -> UInt8[np.ndarray, "high wide 3"]:
        """The whole picture in another size, averaged where that is smaller.

        Args:
            wide: Width of the result.
            high: Its height.
            samples_per_pixel: Average only so many samples across and down each of its pixels, which is faster.
        """
        return self._samples.thumbnail(wide, high, samples_per_pixel)

    def _samples_from_square(self, displayed_from_square: Float[np.ndarray, "2 3"]) -> Float64[np.ndarray, "2 3"]:
        matrix = np.array(displayed_from_square, dtype=np.float64)
        for row, scale in enumerate((self._all.x1 / self.width_px, self._all.y1 / self.height_px)):
            if scale != 1:
                matrix[row] *= scale
                # Pixel centres lie half a pixel from the edge in both sizes.
                matrix[row, 2] += (scale - 1) / 2
        return matrix

    def _part(
        self, wanted: _Window, times: int, taps: Taps | None = None
    ) -> tuple[UInt8[np.ndarray, "rows columns 4"], tuple[int, int]]:
        """Samples around a window, so many times smaller, and the place in the picture where they begin."""
        wanted = wanted.on_grid(max(times, 2)).within(self._all)
        if min(wanted.x1 - wanted.x0, wanted.y1 - wanted.y0) < times:
            return np.empty((0, 0, 4), dtype=np.uint8), (0, 0)
        if taps is not None:
            return self._prepared(wanted, times, taps), (wanted.x0, wanted.y0)
        if times not in self._known or wanted.within(self._known[times][0]) != wanted:
            self._known[times] = wanted, self._prepared(wanted, times, None)
        known, samples = self._known[times]
        return samples, (known.x0, known.y0)

    def _prepared(self, window: _Window, times: int, taps: Taps | None) -> UInt8[np.ndarray, "rows columns 4"]:
        if times <= 2:
            return self._samples.part(*window, halved=times == 2, taps=taps)
        larger, (left, top) = self._part(window, times // 2)
        x0, y0, x1, y1 = ((edge - first) * 2 // times for edge, first in zip(window, (left, top) * 2, strict=True))
        samples = halved_samples(larger[y0:y1, x0:x1])
        return samples if taps is None else cv2.sepFilter2D(samples, -1, taps, taps)

    def _all_inside(self, reach: _Reach, times: int) -> bool:
        """Whether bilinear samples of the smaller picture never blend in what is outside."""
        half = (times - 1) / 2
        return all(
            low >= half and high <= size // times * times - 1 - half
            for (low, high), size in zip(reach, self._all[2:], strict=True)
        )


def _taps(shrink: float) -> Taps:
    # At twice, [1 2 1] / 4 takes away what would alias; at once, nothing would.
    side = (shrink - 1) / 4
    return np.array([side, 1 - 2 * side, side], dtype=np.float32)


def _reach(samples_from_square: Float64[np.ndarray, "2 3"], size_px: int) -> _Reach:
    """First and last column and row that a square's pixel centres come to."""
    far = (size_px - 1) / 2
    (a, b, x), (c, d, y) = samples_from_square.tolist()
    x += (a + b) * far
    y += (c + d) * far
    wide, high = (abs(a) + abs(b)) * far, (abs(c) + abs(d)) * far
    return (x - wide, x + wide), (y - high, y + high)


def _around(reach: _Reach, *, margin: int) -> _Window:
    # A region may be anywhere: its edges are kept in the range of OpenCV's integers.
    (x0, y0), (x1, y1) = ([max(-1e6, min(1e6, edges[side])) for edges in reach] for side in (0, 1))
    return _Window(
        math.floor(x0) - margin, math.floor(y0) - margin, math.ceil(x1) + margin + 1, math.ceil(y1) + margin + 1
    )
