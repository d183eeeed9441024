"""Luma and chroma planes as a decoder gives them, and the RGB that they stand for."""

import functools
from dataclasses import dataclass
from typing import Literal

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

    def colours(
        self, x0: int, y0: int, x1: int, y1: int, *, opaque: bool
    ) -> UInt8[np.ndarray, "rows columns channels"]:
        """The colours of a window; each chroma sample stands for its four pixels, as in ffmpeg's conversion.

        Args:
            x0: First column, even.
            y0: First row, even.
            x1: Column after the last, even or the picture's width.
            y1: Row after the last, even or the picture's height.
            opaque: Add a fourth channel to RGB, 255 everywhere.
        """
        luma = self.luma[y0:y1, x0:x1]
        half = slice(y0 // 2, (y1 + 1) // 2), slice(x0 // 2, (x1 + 1) // 2)
        blue, red = self.blue[half], self.red[half]
        if self.matrix == "bt601" and luma.shape == (2 * blue.shape[0], 2 * blue.shape[1]):
            # OpenCV's own conversion knows this matrix and even sizes only, and is three times as fast.
            rows, columns = luma.shape
            stacked = np.empty((rows * 3 // 2, columns), dtype=np.uint8)
            stacked[:rows] = luma
            stacked[rows:].reshape(2, *blue.shape)[:] = blue, red
            into = cv2.COLOR_YUV2RGBA_I420 if opaque else cv2.COLOR_YUV2RGB_I420
            return cv2.cvtColor(stacked, into)
        wide, high = 2 * blue.shape[1], 2 * blue.shape[0]
        full = [
            cv2.resize(plane, (wide, high), interpolation=cv2.INTER_NEAREST)[: luma.shape[0], : luma.shape[1]]
            for plane in (blue, red)
        ]
        return cv2.transform(cv2.merge([luma, *full]), _colours_from_planes(self.matrix, opaque=opaque))

    def thumbnail(
        self, wide: int, high: int, samples_per_pixel: int | None = None
    ) -> UInt8[np.ndarray, "high wide 3"]:
        """The whole picture in another size: each plane by itself, then the colours. See `resized`."""
        small = [resized(plane, wide, high, samples_per_pixel) for plane in (self.luma, self.blue, self.red)]
        return cv2.transform(cv2.merge(small), _colours_from_planes(self.matrix, opaque=False))


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


@functools.cache
def _colours_from_planes(matrix: ColourMatrix, *, opaque: bool) -> Float32[np.ndarray, "channels 4"]:
    red, blue = _RED_AND_BLUE_IN_LUMA[matrix]
    green = 1 - red - blue
    of_blue, of_red = 2 * (1 - blue), 2 * (1 - red)
    colours = np.array(
        [[1, 0, of_red], [1, -of_blue * blue / green, -of_red * red / green], [1, of_blue, 0]]
    ) * [255 / 219, 255 / 224, 255 / 224]
    offset = -colours @ [16, 128, 128]
    rows = np.concatenate([colours, offset[:, None]], axis=1)
    return np.concatenate([rows, [[0, 0, 0, 255]]])[: 4 if opaque else 3].astype(np.float32)
