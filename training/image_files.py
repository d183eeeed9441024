"""Files of images: which they are, told by how they begin and not by their names, and what they show."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

# The "major brand" of an ISO media file (ISO/IEC 23008-12, and AVIF's of the AV1 specification).
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis"}
_BRAND = slice(8, 12)


def images_among(files: Sequence[Path]) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """The files that begin as an image does, and the others; of these no more is read."""
    images: list[Path] = []
    others: list[Path] = []
    for file in files:
        (images if cv2.haveImageReader(str(file)) else others).append(file)
    return tuple(images), tuple(others)


def refuse_heif(path: Path) -> None:
    """Refuse an image that is not read here, and would be taken for a damaged video, since it begins as one.

    Raises:
        ValueError: It is a HEIF image.
    """
    with path.open("rb") as file:
        head = file.read(_BRAND.stop)
    if head[4:8] == b"ftyp" and head[_BRAND] in _HEIF_BRANDS:
        raise ValueError(
            f"{path} is a HEIF image (HEIC or AVIF, as phones save them), which is not read here; convert it to JPEG "
            "or PNG"
        )


def pictures_in(path: Path) -> int:
    """How many pictures an image file holds: more than one in a moving GIF, WebP or PNG, or in a TIFF with pages."""
    return int(cv2.imcount(str(path)))


def read_image(path: Path) -> UInt8[np.ndarray, "height width 3"]:
    """An image file as RGB, turned as its EXIF orientation says; the first picture of a file that holds more.

    Raises:
        ValueError: The file is no image that OpenCV reads.
    """
    try:
        bgr = cv2.imdecode(np.frombuffer(path.read_bytes() or b"\0", dtype=np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ValueError(f"{path} is an image that OpenCV does not take: {error.err}") from error
    if bgr is None:
        raise ValueError(f"{path} is no image that can be read: damaged, or cut short")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)
