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
from jaxtyping import Float, UInt8

from pipeline.faces.planes import Colours, Planes, Taps, halved_samples

_SHRINK_WITHOUT_ALIASES = 2.0
_SHRINK_UNSEEN = 1.05


class Square:
    """A part of a picture, moved, turned and scaled to a square.

    Attributes:
        inside: 255 where a pixel is of the picture, 0 where it lies outside, between on the border; None where all of
            the square is inside.
    """

    __slots__ = ("_samples", "_source", "inside")

    def __init__(
        self,
        samples: UInt8[np.ndarray, "size size 4"],
        source: Planes | Colours,
        inside: UInt8[np.ndarray, "size size"] | None,
    ) -> None:
        self._samples = samples
        self._source = source
        self.inside = inside

    @property
    def rgb(self) -> UInt8[np.ndarray, "size size 3"]:
        """Its colours, black outside the picture."""
        return self._source.rgb_of(self._samples)

    @property
    def light(self) -> UInt8[np.ndarray, "size size"]:
        """What is light and what is dark in it; which level black has depends on the picture. Costs next to nothing."""
        return self._samples[..., self._source.light_channel]


class _Window(NamedTuple):
    x0: int
    y0: int
    x1: int
    y1: int

    def within(self, other: "_Window") -> "_Window":
        return _Window(
            max(self.x0, other.x0), max(self.y0, other.y0), min(self.x1, other.x1), min(self.y1, other.y1)
        )

    def covers(self, other: "_Window") -> bool:
        return self.x0 <= other.x0 and self.y0 <= other.y0 and self.x1 >= other.x1 and self.y1 >= other.y1

    def on_grid(self, step: int) -> "_Window":
        """The smallest window around it with edges that are multiples of a step."""
        return _Window(
            self.x0 // step * step, self.y0 // step * step, -(-self.x1 // step) * step, -(-self.y1 // step) * step
        )


_Reach = tuple[float, float, float, float]
"""First column and row, last column and row."""


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
        self._across, self._down = columns / self.width_px, rows / self.height_px
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
        (a, b, x), (c, d, y) = displayed_from_square.tolist()
        # Pixel centres lie half a pixel from the edge in both sizes.
        if self._across != 1:
            a, b, x = a * self._across, b * self._across, x * self._across + (self._across - 1) / 2
        if self._down != 1:
            c, d, y = c * self._down, d * self._down, y * self._down + (self._down - 1) / 2
        shrink = math.hypot(a, c)
        times = 1
        while shrink > _SHRINK_WITHOUT_ALIASES * times:
            times *= 2
        # First and last column and row that pixel centres come to.
        far = (size_px - 1) / 2
        wide, high = (abs(a) + abs(b)) * far, (abs(c) + abs(d)) * far
        middle_x, middle_y = x + (a + b) * far, y + (c + d) * far
        reach = middle_x - wide, middle_y - high, middle_x + wide, middle_y + high
        window = _around(reach, margin=2 * times + 1).within(self._all)
        taps = _taps(shrink / times) if averaged and shrink / times > _SHRINK_UNSEEN else None
        source, (left, top) = self._part(window, times, taps)
        if not source.size:
            nothing = np.full((size_px, size_px, 4), self._samples.outside, dtype=np.uint8)
            return Square(nothing, self._samples, nothing[..., 3])
        x, y = x - left - (times - 1) / 2, y - top - (times - 1) / 2
        # Four channels take less than half the time of three.
        square = cv2.warpAffine(
            source,
            np.array([[a, b, x], [c, d, y]]) / times,
            (size_px, size_px),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=self._samples.outside,
        )
        inside = None if self._all_inside(reach, times) else cv2.extractChannel(square, 3)
        return Square(square, self._samples, inside)

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

    def _part(
        self, wanted: _Window, times: int, taps: Taps | None = None
    ) -> tuple[UInt8[np.ndarray, "rows columns 4"], tuple[int, int]]:
        """Samples around a window, so many times smaller, and the place in the picture where they begin."""
        if taps is None and times in self._known:
            known, samples = self._known[times]
            if known.covers(wanted):
                return samples, (known.x0, known.y0)
        wanted = wanted.on_grid(max(times, 2)).within(self._all)
        if min(wanted.x1 - wanted.x0, wanted.y1 - wanted.y0) < times:
            return np.empty((0, 0, 4), dtype=np.uint8), (0, 0)
        samples = self._prepared(wanted, times, taps)
        if taps is None:
            self._known[times] = wanted, samples
        return samples, (wanted.x0, wanted.y0)

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
        x0, y0, x1, y1 = reach
        return (
            x0 >= half
            and y0 >= half
            and x1 <= self._all.x1 // times * times - 1 - half
            and y1 <= self._all.y1 // times * times - 1 - half
        )


def _taps(shrink: float) -> Taps:
    # At twice, [1 2 1] / 4 takes away what would alias; at once, nothing would.
    side = (shrink - 1) / 4
    return np.array([side, 1 - 2 * side, side], dtype=np.float32)


def _around(reach: _Reach, *, margin: int) -> _Window:
    # A region may be anywhere: its edges are kept in the range of OpenCV's integers.
    x0, y0, x1, y1 = (max(-1e6, min(1e6, edge)) for edge in reach)
    return _Window(
        math.floor(x0) - margin, math.floor(y0) - margin, math.ceil(x1) + margin + 1, math.ceil(y1) + margin + 1
    )
