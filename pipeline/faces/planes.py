"""Samples as a decoder gives them, luma and chroma planes or RGB, and how both are looked at.

Decoders give luma and chroma planes. To turn all of them into RGB can cost more than to decode them, and the networks
look at small squares. So what is moved, turned and scaled are the samples as they are, four channels of which the last
says what is picture; only the squares that come out of it become RGB.
"""

import functools
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

ColourMatrix = Literal["bt601", "bt709", "bt2020"]

# Luma weights of red and blue: ITU-R BT.601-7 section 2.5.1, BT.709-6 item 3.2, BT.2020-2 table 4.
_RED_AND_BLUE_IN_LUMA: dict[ColourMatrix, tuple[float, float]] = {
    "bt601": (0.299, 0.114),
    "bt709": (0.2126, 0.0722),
    "bt2020": (0.2627, 0.0593),
}

Taps = Float32[np.ndarray, "3"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Planes:
    """A picture in 4:2:0, limited range (luma 16 to 235, chroma 16 to 240).

    Attributes:
        luma: Luma, a sample per pixel.
        blue: Blue difference, a sample per 2x2 pixels; the last ones of odd sizes stand for less.
        red: Red difference.
        matrix: With which matrix they were made.
        outside: What stands in all four channels for places outside the picture: black, and no picture.
        light_channel: Which channel says best what is light and what is dark.
    """

    luma: UInt8[np.ndarray, "rows columns"]
    blue: UInt8[np.ndarray, "half_rows half_columns"]
    red: UInt8[np.ndarray, "half_rows half_columns"]
    matrix: ColourMatrix

    outside: ClassVar[tuple[int, int, int, int]] = (16, 128, 128, 0)
    light_channel: ClassVar[int] = 0

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

    def part(
        self, x0: int, y0: int, x1: int, y1: int, *, halved: bool, taps: Taps | None = None
    ) -> UInt8[np.ndarray, "rows columns 4"]:
        """A part of the picture: luma, blue and red difference, and 255.

        Args:
            x0: First column, even.
            y0: First row, even.
            x1: Column after the last, even or the picture's width.
            y1: Row after the last, even or the picture's height.
            halved: In half the size, averaged, without the last column or row of odd sizes. Otherwise chroma is the
                same for its four pixels.
            taps: A filter for what has detail to lose, along rows and columns.
        """
        luma = self.luma[y0:y1, x0:x1]
        rows, columns = luma.shape
        if halved:
            high, wide = rows // 2, columns // 2
            luma = cv2.resize(luma[: 2 * high, : 2 * wide], (wide, high), interpolation=cv2.INTER_AREA)
        else:
            high, wide = (rows + 1) // 2, (columns + 1) // 2
        if taps is not None:
            luma = cv2.sepFilter2D(luma, -1, taps, taps)
        corner = np.s_[y0 // 2 : y0 // 2 + high, x0 // 2 : x0 // 2 + wide]
        blue, red = self.blue[corner], self.red[corner]
        if not halved:
            blue, red = (_doubled(plane)[:rows, :columns] for plane in (blue, red))
        return _interleaved(luma, blue, red)

    def rgb_of(self, samples: UInt8[np.ndarray, "rows columns channels"]) -> UInt8[np.ndarray, "rows columns 3"]:
        """The colours of samples, of which a fourth channel does not count."""
        if samples.shape[2] == 4:
            samples = cv2.cvtColor(samples, cv2.COLOR_RGBA2RGB)
        return cv2.transform(samples, _colours_from_planes(self.matrix))

    def rgb(self) -> UInt8[np.ndarray, "rows columns 3"]:
        """The whole picture in colours; chroma is the same for its four pixels, as in ffmpeg's conversion."""
        rows, columns = self.shape
        if self.matrix == "bt601" and not (rows % 2 or columns % 2):
            # OpenCV's own conversion knows this matrix and even sizes only, and is three times as fast.
            stacked = np.concatenate([plane.reshape(-1) for plane in (self.luma, self.blue, self.red)])
            return cv2.cvtColor(stacked.reshape(rows * 3 // 2, columns), cv2.COLOR_YUV2RGB_I420)
        return self.rgb_of(self.part(0, 0, columns, rows, halved=False))

    def thumbnail(
        self, wide: int, high: int, samples_per_pixel: int | None = None
    ) -> UInt8[np.ndarray, "high wide 3"]:
        """The whole picture in another size: each plane by itself, then the colours. See `resized`."""
        return self.rgb_of(
            cv2.merge([resized(plane, wide, high, samples_per_pixel) for plane in (self.luma, self.blue, self.red)])
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Colours:
    """A picture in RGB, looked at as `Planes` are; see there."""

    colours: UInt8[np.ndarray, "rows columns 3"]

    outside: ClassVar[tuple[int, int, int, int]] = (0, 0, 0, 0)
    light_channel: ClassVar[int] = 1

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

    def part(
        self, x0: int, y0: int, x1: int, y1: int, *, halved: bool, taps: Taps | None = None
    ) -> UInt8[np.ndarray, "rows columns 4"]:
        """A part of the picture: red, green, blue, and 255."""
        part = cv2.cvtColor(self.colours[y0:y1, x0:x1], cv2.COLOR_RGB2RGBA)
        if halved:
            part = halved_samples(part)
        return part if taps is None else cv2.sepFilter2D(part, -1, taps, taps)

    def rgb_of(self, samples: UInt8[np.ndarray, "rows columns 4"]) -> UInt8[np.ndarray, "rows columns 3"]:
        """The colours of samples."""
        return cv2.cvtColor(samples, cv2.COLOR_RGBA2RGB)

    def rgb(self) -> UInt8[np.ndarray, "rows columns 3"]:
        """The whole picture."""
        return self.colours

    def thumbnail(
        self, wide: int, high: int, samples_per_pixel: int | None = None
    ) -> UInt8[np.ndarray, "high wide 3"]:
        """The whole picture in another size. See `resized`."""
        return resized(self.colours, wide, high, samples_per_pixel)


def halved_samples(samples: UInt8[np.ndarray, "rows columns 4"]) -> UInt8[np.ndarray, "half_rows half_columns 4"]:
    """Samples in half the size, averaged, without the last column or row of odd sizes."""
    high, wide = samples.shape[0] // 2, samples.shape[1] // 2
    return cv2.resize(samples[: 2 * high, : 2 * wide], (wide, high), interpolation=cv2.INTER_AREA)


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


def _interleaved(*planes: UInt8[np.ndarray, "rows columns"]) -> UInt8[np.ndarray, "rows columns 4"]:
    """Three planes, and 255, pixel by pixel."""
    rows, columns = planes[0].shape
    # OpenCV takes several times as long over rows that do not follow one another in memory. Where the result begins at
    # an even address it is written past the caches, though it is read at once.
    result = np.empty(4 * rows * columns + 1, dtype=np.uint8)[1:].reshape(rows, columns, 4)
    opaque = np.full((rows, columns), 255, dtype=np.uint8)
    return cv2.merge([*(np.ascontiguousarray(plane) for plane in planes), opaque], dst=result)


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
