"""One displayed picture in the form in which it was decoded; colours are made only of what is looked at.

The decoder may also have made the picture smaller. Who looks at it need not know: places are always those of the
displayed picture in its own size, (0, 0) the centre of its top-left pixel.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

from pipeline.faces.planes import Colours, Planes, thumbnails_of_planes
from pipeline.faces.sampling import Layer, Place, Samples

_GREEN = 1


class Square:
    """A part of a picture, moved, turned and scaled to a square; only as much of it is made as is asked for.

    The picture's samples must still be there.
    """

    __slots__ = ("_averaged", "_layers", "_light", "_picture", "_place", "_size_px")

    def __init__(
        self, picture: Planes | Colours, layers: tuple[Layer, ...], place: Place, size_px: int, *, averaged: bool
    ) -> None:
        self._picture = picture
        self._layers = layers
        self._place = place
        self._size_px = size_px
        self._averaged = averaged
        self._light: Samples | None = None

    @property
    def samples(self) -> Planes | Colours:
        """It in the form of the picture's samples, black outside the picture."""
        squares = [self._first()]
        for layer in self._layers[1:]:
            place, size_px = self._place.of_halves().on_smaller(0.5, 0.5), (self._size_px + 1) // 2
            squares += layer.squares(place, size_px, averaged=False)
        return self._picture.sampled(squares)

    @property
    def rgb(self) -> UInt8[np.ndarray, "size size 3"]:
        """Its colours, black outside the picture."""
        return self.samples.rgb()

    def put_rgb(self, out: UInt8[np.ndarray, "size size 3"]) -> None:
        """Put its colours into another array."""
        self.samples.rgb(out)

    @property
    def light(self) -> UInt8[np.ndarray, "size size"]:
        """What is light and what is dark in it; which level black has depends on the picture. The cheapest to ask."""
        first = self._first()
        return first if first.ndim == 2 else first[..., _GREEN]

    @property
    def inside(self) -> UInt8[np.ndarray, "size size"] | None:
        """1 where all that a pixel blends is of the picture, else 0; None where that is everywhere."""
        return self._layers[0].inside(self._place, self._size_px)

    def _first(self) -> Samples:
        if self._light is None:
            (self._light,) = self._layers[0].squares(self._place, self._size_px, averaged=self._averaged)
        return self._light


class Picture:
    """A picture to be looked at. Where its samples are a decoder's buffer, it lives until the next frame or block.

    Args:
        samples: The picture as RGB or as planes.
        width_px: Width of the displayed picture, where it is not that of the samples.
        height_px: Its height.

    Attributes:
        width_px: Width of the displayed picture.
        height_px: Its height.
        samples: As they were decoded.
    """

    def __init__(
        self,
        samples: UInt8[np.ndarray, "rows columns 3"] | Planes,
        *,
        width_px: int | None = None,
        height_px: int | None = None,
    ) -> None:
        self.samples = samples if isinstance(samples, Planes) else Colours(colours=samples)
        rows, columns = self.samples.shape
        self.width_px = columns if width_px is None else width_px
        self.height_px = rows if height_px is None else height_px
        self._across, self._down = columns / self.width_px, rows / self.height_px
        self._layers = self.samples.layers()

    @property
    def rgb(self) -> UInt8[np.ndarray, "rows columns 3"]:
        """The whole picture, in the size in which it was decoded."""
        return self.samples.rgb()

    @property
    def nbytes(self) -> int:
        """Bytes of its samples."""
        return self.samples.nbytes

    def kept(self) -> "Picture":
        """The same picture with samples of its own, which stay when the next frame comes."""
        own = self.samples.copy()
        samples = own if isinstance(own, Planes) else own.colours
        return Picture(samples, width_px=self.width_px, height_px=self.height_px)

    def square(self, displayed_from_square: Float[np.ndarray, "2 3"], size_px: int, *, averaged: bool) -> Square:
        """A part of the picture, moved, turned and scaled to a square.

        Args:
            displayed_from_square: From pixel centres of the square to places in the picture: a similarity, with or
                without reflection.
            size_px: Side of the square.
            averaged: Spare it even the little that aliases where the picture shrinks up to twice; see
                `pipeline.faces.sampling`.
        """
        (a, b, x), (c, d, y) = displayed_from_square.tolist()
        place = Place(a, b, x, c, d, y)
        if self._across != 1 or self._down != 1:
            place = place.on_smaller(self._across, self._down)
        return Square(self.samples, self._layers, place, size_px, averaged=averaged)

    def thumbnail(
        self, wide: int, high: int, *, samples_per_pixel: int | None = None
    ) -> UInt8[np.ndarray, "high wide 3"]:
        """The whole picture in another size, averaged where that is smaller.

        Args:
            wide: Width of the result.
            high: Its height.
            samples_per_pixel: Average only so many samples across and down each of its pixels, which is faster.
        """
        return self.samples.thumbnail(wide, high, samples_per_pixel)


def thumbnails_of(
    pictures: Sequence[Picture], wide: int, high: int, *, samples_per_pixel: int
) -> UInt8[np.ndarray, "pictures high wide 3"]:
    """`Picture.thumbnail` of several pictures, which takes less than one after the other where planes were decoded."""
    planes = [picture.samples for picture in pictures if isinstance(picture.samples, Planes)]
    if len(planes) == len(pictures) and len({each.matrix for each in planes}) == 1:
        return thumbnails_of_planes(planes, wide, high, samples_per_pixel)
    return np.stack([each.thumbnail(wide, high, samples_per_pixel=samples_per_pixel) for each in pictures])
