"""Squares out of planes of samples: moved, turned and scaled, without aliases.

A plane that is shrunk more than twice is halved first, as often as that takes, around what is asked for only. What was
prepared is remembered: the mesh and both eyes of a face share one window in one size.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

_SHRINK_WITHOUT_ALIASES = 2.0
_SHRINK_UNSEEN = 1.05
_NO_WAY = 1e-6
"""So much further than a border is on it, in samples or pixels."""

Samples = UInt8[np.ndarray, "_ _ *_"]
"""A plane, or all channels."""
_Taps = Float32[np.ndarray, "3"]
_Reach = tuple[float, float, float, float]


class Place(NamedTuple):
    """A similarity, with or without reflection, from pixel centres of a square to places in a plane.

    Attributes:
        a: To the right in the plane, per pixel to the right in the square.
        b: To the right, per pixel down.
        x: Of the square's first pixel.
        c: Down, per pixel to the right.
        d: Down, per pixel down.
        y: Of the square's first pixel.
    """

    a: float
    b: float
    x: float
    c: float
    d: float
    y: float

    def on_smaller(self, across: float, down: float) -> "Place":
        """The same place in a plane that has so many times the samples across and down (less than 1: fewer)."""
        # Pixel centres lie half a pixel from the edge in both sizes.
        a, b, x, c, d, y = self
        x, y = x * across + (across - 1) / 2, y * down + (down - 1) / 2
        return Place(a * across, b * across, x, c * down, d * down, y)

    def of_halves(self) -> "Place":
        """For a square with half as many pixels, of which each stands for four."""
        a, b, x, c, d, y = self
        return Place(2 * a, 2 * b, x + (a + b) / 2, 2 * c, 2 * d, y + (c + d) / 2)

    def reach(self, size_px: int) -> _Reach:
        """First column and row, last column and row that pixel centres of the square come to."""
        a, b, x, c, d, y = self
        far = (size_px - 1) / 2
        wide, high = (abs(a) + abs(b)) * far, (abs(c) + abs(d)) * far
        x, y = x + (a + b) * far, y + (c + d) * far
        return x - wide, y - high, x + wide, y + high


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


class Layer:
    """Planes of one size, of which the same squares are asked for.

    Args:
        planes: The planes; one of three channels is RGB.
        outside: What stands for places outside.
    """

    __slots__ = ("_all", "_known", "_outside", "_planes")

    def __init__(self, *planes: Samples, outside: int) -> None:
        rows, columns = planes[0].shape[:2]
        self._planes = planes
        self._outside = (outside,) * 4
        self._all = _Window(0, 0, columns, rows)
        self._known: dict[int, tuple[_Window, tuple[Samples, ...]]] = {}

    def squares(self, place: Place, size_px: int, *, averaged: bool) -> list[Samples]:
        """A square of each plane. Those of RGB have a fourth channel, which does not count.

        Args:
            place: Where it is.
            size_px: Its side.
            averaged: Bilinear samples of a plane that is shrunk up to twice alias little. This spares them even that,
                by a filter of three taps.
        """
        shrink = math.hypot(place.a, place.c)
        times = _halvings(shrink)
        taps = _taps(shrink / times) if averaged and shrink / times > _SHRINK_UNSEEN else None
        if times == 1 and taps is None and self._planes[0].ndim == 2:
            sources, left, top = self._planes, 0, 0
        else:
            window = _window_of(place.reach(size_px), margin=2 * times + 1).within(self._all)
            sources, (left, top) = self._around(window, times, taps)
        if not sources:
            channels = (4,) * (self._planes[0].ndim - 2)
            return [np.full((size_px, size_px, *channels), self._outside[0], dtype=np.uint8) for _ in self._planes]
        matrix = _matrix(place, times, left, top)
        return [_warp(source, matrix, size_px, self._outside) for source in sources]

    def inside(self, place: Place, size_px: int) -> UInt8[np.ndarray, "size size"] | None:
        """1 where all that a pixel of a square blends is of the plane, else 0.

        None where that is everywhere. This is of these planes only: chroma in half the size reaches half as far, and
        colours fade over the last two pixels of a picture.
        """
        times = _halvings(math.hypot(place.a, place.c))
        wide, high = self._all.x1 // times, self._all.y1 // times
        half = (times - 1) / 2
        x0, y0, x1, y1 = place.reach(size_px)
        if x0 >= half and y0 >= half and x1 <= wide * times - 1 - half and y1 <= high * times - 1 - half:
            return None
        if not wide or not high:
            return np.zeros((size_px, size_px), dtype=np.uint8)
        pixels = np.arange(size_px, dtype=np.int16)
        begin, end = np.zeros(size_px), np.full(size_px, size_px - 1.0)
        # A square's row leaves the plane's columns at one place, and its rows at another.
        for (right, down, start), last in zip(_matrix(place, times, 0, 0), (wide - 1, high - 1), strict=True):
            at = start + down * pixels
            if abs(right) * size_px < _NO_WAY:
                end[(at < -_NO_WAY) | (at > last + _NO_WAY)] = -1.0
                continue
            borders = (-at / right, (last - at) / right)
            np.maximum(begin, np.minimum(*borders), out=begin)
            np.minimum(end, np.maximum(*borders), out=end)
        first, final = (
            np.clip(edge, -1, size_px).astype(np.int16)[:, None]
            for edge in (np.ceil(begin - _NO_WAY), np.floor(end + _NO_WAY))
        )
        return ((pixels >= first) & (pixels <= final)).view(np.uint8)

    def _around(
        self, wanted: _Window, times: int, taps: _Taps | None = None
    ) -> tuple[tuple[Samples, ...], tuple[int, int]]:
        """Samples around a window, so many times smaller, and the place in the plane where they begin."""
        if taps is None and times in self._known:
            known, sources = self._known[times]
            if known.covers(wanted):
                return sources, (known.x0, known.y0)
        wanted = wanted.on_grid(times).within(self._all)
        if min(wanted.x1 - wanted.x0, wanted.y1 - wanted.y0) < times:
            return (), (0, 0)
        sources = self._halved(wanted, times)
        if taps is None:
            self._known[times] = wanted, sources
        else:
            sources = tuple(cv2.sepFilter2D(source, -1, taps, taps) for source in sources)
        return sources, (wanted.x0, wanted.y0)

    def _halved(self, window: _Window, times: int) -> tuple[Samples, ...]:
        if times <= 2:
            x0, y0, x1, y1 = window
            parts = (plane[y0:y1, x0:x1] for plane in self._planes)
            parts = (_half(part) for part in parts) if times == 2 else parts
            # Four channels are moved in less than half the time of three.
            return tuple(cv2.cvtColor(part, cv2.COLOR_RGB2RGBA) if part.ndim == 3 else part for part in parts)
        larger, (left, top) = self._around(window, times // 2)
        x0, y0, x1, y1 = ((edge - first) * 2 // times for edge, first in zip(window, (left, top) * 2, strict=True))
        return tuple(_half(source[y0:y1, x0:x1]) for source in larger)


def _halvings(shrink: float) -> int:
    """How many times smaller a plane must be, in powers of two, so that bilinear samples do not alias."""
    times = 1
    while shrink > _SHRINK_WITHOUT_ALIASES * times:
        times *= 2
    return times


def _half(samples: Samples) -> Samples:
    """Samples in half the size, averaged, without the last column or row of odd sizes."""
    high, wide = samples.shape[0] // 2, samples.shape[1] // 2
    return cv2.resize(samples[: 2 * high, : 2 * wide], (wide, high), interpolation=cv2.INTER_AREA)


def _matrix(place: Place, times: int, left: int, top: int) -> Float64[np.ndarray, "2 3"]:
    a, b, x, c, d, y = place
    first = (times - 1) / 2
    return np.array(((a, b, x - left - first), (c, d, y - top - first)), dtype=np.float64) / times


def _warp(
    source: Samples, matrix: Float64[np.ndarray, "2 3"], size_px: int, outside: tuple[int, int, int, int]
) -> Samples:
    return cv2.warpAffine(
        source,
        matrix,
        (size_px, size_px),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=outside,
    )


def _taps(shrink: float) -> _Taps:
    # At twice, [1 2 1] / 4 takes away what would alias; at once, nothing would.
    side = (shrink - 1) / 4
    return np.array([side, 1 - 2 * side, side], dtype=np.float32)


def _window_of(reach: _Reach, *, margin: int) -> _Window:
    # A region may be anywhere: its edges are kept in the range of OpenCV's integers.
    x0, y0, x1, y1 = (max(-1e6, min(1e6, edge)) for edge in reach)
    return _Window(
        math.floor(x0) - margin, math.floor(y0) - margin, math.ceil(x1) + margin + 1, math.ceil(y1) + margin + 1
    )
