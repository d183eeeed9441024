"""What is made of the faces of several frames at once: their crops, and all that is told from a crop.

Each step is taken for all of them before the next one, so that its code and tables stay in the processor's caches.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from pipeline.faces.appearance import Look, looks_of
from pipeline.faces.picture import Picture
from pipeline.faces.register import CropQuality, encoded, quality, registered

_AT_ONCE = 16
"""Many faces in many frames: their crops need not all be in memory."""


class CroppedFace(NamedTuple):
    """What a face's crop gives.

    Attributes:
        quality: Of the crop.
        look: How the face looks; see `appearance`.
        jpeg: The crop as a file; None where none is wanted.
        crop_from_frame: The similarity from pixels of the displayed picture to pixels of the crop.
    """

    quality: CropQuality
    look: Look
    jpeg: bytes | None
    crop_from_frame: Float32[np.ndarray, "2 3"]


def cropped(
    faces: Sequence[tuple[Picture, Float32[np.ndarray, "points 2"]]], *, jpeg_quality: int | None,
    kept: Sequence[bool] | None = None,
) -> Iterator[CroppedFace]:
    """The crops of faces, in their order; that of each is the same in whatever company.

    Args:
        faces: Pictures, and the landmarks of a face in each.
        jpeg_quality: Of the files, 1 to 100; None for no files.
        kept: Which of the faces get a file; without it, all.

    Raises:
        ValueError: There are fewer than 68 landmarks, they coincide, or the quality is none.
    """
    for first in range(0, len(faces), _AT_ONCE):
        crops = registered(faces[first : first + _AT_ONCE])
        qualities = [quality(crop) for crop in crops]
        looks = looks_of(crops)
        wanted = [True] * len(crops) if kept is None else kept[first : first + _AT_ONCE]
        jpegs = [
            encoded(crop, jpeg_quality=jpeg_quality) if jpeg_quality is not None and its_wanted else None
            for crop, its_wanted in zip(crops, wanted, strict=True)
        ]
        for crop, its_quality, look, jpeg in zip(crops, qualities, looks, jpegs, strict=True):
            yield CroppedFace(its_quality, look, jpeg, crop.crop_from_frame)
