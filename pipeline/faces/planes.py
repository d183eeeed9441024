"""Samples as a decoder gives them, luma and chroma planes or RGB, and how both are looked at.

Decoders give luma and chroma planes. To turn all of them into RGB can cost more than to decode them, and the networks
look at small squares. So what is moved, turned and scaled are the planes as they are, chroma in half the size; only the
squares that come out of it become RGB.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from pipeline.faces.sampling import Layer, Samples

ColourMatrix = Literal["bt601", "bt709", "bt2020"]

# Luma weights of red and blue: ITU-R BT.601-7 section 2.5.1, BT.709-6 item 3.2, BT.2020-2 table 4.
_RED_AND_BLUE_IN_LUMA: dict[ColourMatrix, tuple[float, float]] = {
    "bt601": (0.299, 0.114),
    "bt709": (0.2126, 0.0722),
    "bt2020": (0.2627, 0.0593),
}


Plane = UInt8[np.ndarray, "_ _"]

_BLACK_LUMA, _NO_COLOUR = 16, 128
_LUMA_LEVELS, _CHROMA_LEVELS = 219, 224


@dataclass(frozen=True, slots=True, kw_only=True)
class Planes:
    """A picture in 4:2:0, limited range (luma 16 to 235, chroma 16 to 240).

    Attributes:
        luma: Luma, a sample per pixel.
        blue: Blue difference, a sample per 2x2 pixels; the last ones of odd sizes stand for less.
        red: Red difference.
        matrix: With which matrix they were made.
    """

    luma: UInt8[np.ndarray, "rows columns"]
    blue: UInt8[np.ndarray, "half_rows half_columns"]
    red: UInt8[np.ndarray, "half_rows half_columns"]
    matrix: ColourMatrix

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self.luma.shape
        return rows, columns

    @property
    def nbytes(self) -> int:
        """Bytes of all samples."""
        return self.luma.nbytes + self.blue.nbytes + self.red.nbytes

    def copy(self) -> "Planes":
        """The same with samples of its own."""
        return replace(self, luma=self.luma.copy(), blue=self.blue.copy(), red=self.red.copy())

    def layers(self) -> tuple[Layer, ...]:
        """What squares are sampled from: luma, and both differences in half the size, which have no detail to lose."""
        return Layer(self.luma, outside=_BLACK_LUMA), Layer(self.blue, self.red, outside=_NO_COLOUR)

    def sampled(self, squares: Sequence[Samples]) -> "Planes":
        """The picture that squares of the layers make, in their order."""
        luma, blue, red = squares
        return Planes(luma=luma, blue=blue, red=red, matrix=self.matrix)

    def light(self) -> UInt8[np.ndarray, "rows columns"]:
        """What is light and what is dark, 0 to 255."""
        return _full_range(self.luma, _LUMA_LEVELS, zero=_BLACK_LUMA, becomes=0)

    def differences(self) -> tuple[Plane, Plane]:
        """Blue and red difference in half the size; grey has 128."""
        return self.blue, self.red

    def rgb(self, out: UInt8[np.ndarray, "rows columns 3"] | None = None) -> UInt8[np.ndarray, "rows columns 3"]:
        """The whole picture in colours; chroma is the same for its four pixels, as in ffmpeg's conversion.

        Args:
            out: Where they belong, if anywhere.
        """
        rows, columns = self.shape
        if self.matrix == "bt601" and not (rows % 2 or columns % 2):
            # OpenCV's own conversion knows this matrix and even sizes only, and is twice as fast.
            stacked = np.concatenate([plane.reshape(-1) for plane in (self.luma, self.blue, self.red)])
            return cv2.cvtColor(stacked.reshape(rows * 3 // 2, columns), cv2.COLOR_YUV2RGB_I420, dst=out)
        chroma = (_doubled(plane)[:rows, :columns] for plane in (self.blue, self.red))
        return self._colours(cv2.merge([self.luma, *(np.ascontiguousarray(plane) for plane in chroma)]), out)

    def jfif(self, light: Plane) -> tuple[Plane, Plane, Plane]:
        """Luma, blue and red difference in full range and BT.601, as JPEG files have them (ITU-T T.871).

        Args:
            light: What `light` gives, which need not be found twice: such a luma already where the matrix is BT.601.
        """
        blue, red = self.blue, self.red
        if self.matrix != "bt601":
            # The luma of BT.601 is another one by a part of the differences, which have half its size.
            added, blue, red = cv2.split(cv2.transform(cv2.merge([blue, red]), _bt601_from(self.matrix)))
            rows, columns = self.shape
            luma = cv2.addWeighted(self.luma, 1, _doubled(added)[:rows, :columns], 1, -_NO_COLOUR)
            light = _full_range(luma, _LUMA_LEVELS, zero=_BLACK_LUMA, becomes=0)
        return (
            light,
            _full_range(blue, _CHROMA_LEVELS, zero=_NO_COLOUR, becomes=_NO_COLOUR),
            _full_range(red, _CHROMA_LEVELS, zero=_NO_COLOUR, becomes=_NO_COLOUR),
        )

    def thumbnail(
        self, wide: int, high: int, samples_per_pixel: int | None = None
    ) -> UInt8[np.ndarray, "high wide 3"]:
        """The whole picture in another size: each plane by itself, then the colours. See `resized`."""
        return self._colours(
            cv2.merge([resized(plane, wide, high, samples_per_pixel) for plane in (self.luma, self.blue, self.red)])
        )

    def _colours(
        self, samples: UInt8[np.ndarray, "rows columns 3"], out: UInt8[np.ndarray, "rows columns 3"] | None = None
    ) -> UInt8[np.ndarray, "rows columns 3"]:
        return cv2.transform(samples, _colours_from_planes(self.matrix), dst=out)


@dataclass(frozen=True, slots=True, kw_only=True)
class Colours:
    """A picture in RGB, looked at as `Planes` are; see there."""

    colours: UInt8[np.ndarray, "rows columns 3"]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns, _ = self.colours.shape
        return rows, columns

    @property
    def nbytes(self) -> int:
        """Bytes of all samples."""
        return self.colours.nbytes

    def copy(self) -> "Colours":
        """The same with samples of its own."""
        return Colours(colours=self.colours.copy())

    def layers(self) -> tuple[Layer, ...]:
        """What squares are sampled from."""
        return (Layer(self.colours, outside=0),)

    def sampled(self, squares: Sequence[Samples]) -> "Colours":
        """The picture that a square of the layer makes."""
        return Colours(colours=cv2.cvtColor(squares[0], cv2.COLOR_RGBA2RGB))

    def light(self) -> UInt8[np.ndarray, "rows columns"]:
        """What is light and what is dark, 0 to 255."""
        return cv2.cvtColor(self.colours, cv2.COLOR_RGB2GRAY)

    def differences(self) -> tuple[Plane, Plane]:
        """Blue and red difference as those of `Planes` in BT.601; the last column and row of odd sizes do not count."""
        rows, columns = (length // 2 for length in self.shape)
        stacked = cv2.cvtColor(self.colours[: 2 * rows, : 2 * columns], cv2.COLOR_RGB2YUV_I420).reshape(-1)
        blue, red = stacked[4 * rows * columns :].reshape(2, rows, columns)
        return blue, red

    def rgb(self, out: UInt8[np.ndarray, "rows columns 3"] | None = None) -> UInt8[np.ndarray, "rows columns 3"]:
        """The whole picture; in `out` where that is given."""
        if out is None:
            return self.colours
        out[:] = self.colours
        return out

    def thumbnail(
        self, wide: int, high: int, samples_per_pixel: int | None = None
    ) -> UInt8[np.ndarray, "high wide 3"]:
        """The whole picture in another size. See `resized`."""
        return resized(self.colours, wide, high, samples_per_pixel)


def thumbnails_of_planes(
    pictures: Sequence[Planes], wide: int, high: int, samples_per_pixel: int
) -> UInt8[np.ndarray, "pictures high wide 3"]:
    """`Planes.thumbnail` of pictures with one matrix: one below the other they are averaged and coloured as one.

    Args:
        pictures: One at least.
        wide: Width of each result.
        high: Its height.
        samples_per_pixel: Average so many samples across and down each of its pixels, spread evenly.
    """
    thinned = (wide * samples_per_pixel, high * samples_per_pixel)
    below = np.empty((3, len(pictures), *reversed(thinned)), dtype=np.uint8)
    for place, picture in enumerate(pictures):
        for plane, into in zip((picture.luma, picture.blue, picture.red), below[:, place], strict=True):
            cv2.resize(plane, thinned, dst=into, interpolation=cv2.INTER_NEAREST)
    size = (wide, high * len(pictures))
    planes = [cv2.resize(each.reshape(-1, thinned[0]), size, interpolation=cv2.INTER_AREA) for each in below]
    colours = cv2.transform(cv2.merge(planes), _colours_from_planes(pictures[0].matrix))
    return colours.reshape(len(pictures), high, wide, 3)


def resized(
    samples: UInt8[np.ndarray, "rows columns ..."], wide: int, high: int, samples_per_pixel: int | None = None
) -> UInt8[np.ndarray, "high wide ..."]:
    """Samples in another size, averaged where that is smaller.

    Args:
        samples: A plane or a picture.
        wide: Width of the result.
        high: Its height.
        samples_per_pixel: Average only so many samples across and down each of its pixels, spread evenly.
    """
    if samples_per_pixel is not None:
        thinned = (wide * samples_per_pixel, high * samples_per_pixel)
        samples = cv2.resize(samples, thinned, interpolation=cv2.INTER_NEAREST)
    smaller = cv2.INTER_AREA if wide < samples.shape[1] else cv2.INTER_LINEAR
    return cv2.resize(samples, (wide, high), interpolation=smaller)


def _doubled(plane: UInt8[np.ndarray, "rows columns"]) -> UInt8[np.ndarray, "double_rows double_columns"]:
    """Every sample four times; in words of two, as OpenCV's and numpy's own ways take several times as long."""
    rows, columns = plane.shape
    twice = np.empty((rows, 2, columns), dtype=np.uint16)
    np.multiply(plane, np.uint16(0x0101), out=twice[:, 0], dtype=np.uint16)
    twice[:, 1] = twice[:, 0]
    return twice.view(np.uint8).reshape(2 * rows, 2 * columns)


def _full_range(
    plane: UInt8[np.ndarray, "rows columns"], levels: int, *, zero: int, becomes: int
) -> UInt8[np.ndarray, "rows columns"]:
    """A plane of so many levels in 256 of them; `zero`, which stands for nothing, becomes another level."""
    gain = 255 / levels
    # Levels below the range would come back as positive ones; OpenCV cuts them off faster than numpy.
    above_black: Plane = cv2.subtract(plane, _BLACK_LUMA)  # type: ignore[call-overload]  # the stubs know no numbers
    return cv2.convertScaleAbs(above_black, alpha=gain, beta=becomes - gain * (zero - _BLACK_LUMA))


@functools.cache
def _bt601_from(matrix: ColourMatrix) -> Float32[np.ndarray, "3 3"]:
    """From blue and red difference to what is added to luma (plus 128), and both differences, in BT.601."""
    ours, theirs = (_colours_from_planes(name)[:, :3].astype(np.float64) for name in ("bt601", matrix))
    change = np.linalg.solve(ours, theirs)[:, 1:]
    offset = _NO_COLOUR - change.sum(axis=1) * _NO_COLOUR
    return np.concatenate([change, offset[:, None]], axis=1).astype(np.float32)


@functools.cache
def _colours_from_planes(matrix: ColourMatrix) -> Float32[np.ndarray, "3 4"]:
    red, blue = _RED_AND_BLUE_IN_LUMA[matrix]
    green = 1 - red - blue
    of_blue, of_red = 2 * (1 - blue), 2 * (1 - red)
    colours = np.array(
        [[1, 0, of_red], [1, -of_blue * blue / green, -of_red * red / green], [1, of_blue, 0]]
    ) * [255 / 219, 255 / 224, 255 / 224]
    offset = -colours @ [16, 128, 128]
    return np.concatenate([colours, offset[:, None]], axis=1).astype(np.float32)
