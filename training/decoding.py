"""A crop's file to pixels: what a stranger's shard holds is looked at before it is decoded."""

import struct

import cv2
import numpy as np
import simplejpeg
from jaxtyping import UInt8

_SIDE_PX = 224
_LARGEST_CROP_BYTES = 256 << 10
"""More than its pixels take without any compression."""
_JPEG_SIGNATURE = b"\xff\xd8\xff"
_PNG_HEADER = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR"
_PNG_SIZE = struct.Struct(">II")  # width, height


def decoded_crop(data: bytes) -> UInt8[np.ndarray, "224 224 3"] | str:
    """The pixels, RGB, of a JPEG or PNG file, or what is wrong with it.

    Decoders read a score of other formats, and a file of a kilobyte that says so becomes a picture of gigabytes.
    """
    if len(data) > _LARGEST_CROP_BYTES:
        return "is no picture"
    try:
        return _from_jpeg(data) if data.startswith(_JPEG_SIGNATURE) else _from_png(data)
    except ValueError:
        return "is no picture"


def _from_jpeg(data: bytes) -> UInt8[np.ndarray, "224 224 3"] | str:
    """The same pixels as OpenCV's, in two thirds of its time.

    Raises:
        ValueError: It is no JPEG file, or not a whole one.
    """
    height_px, width_px, *_ = simplejpeg.decode_jpeg_header(data)
    return _unexpected(height_px, width_px) or simplejpeg.decode_jpeg(data, "RGB")


def _from_png(data: bytes) -> UInt8[np.ndarray, "224 224 3"] | str:
    if not data.startswith(_PNG_HEADER) or len(data) < len(_PNG_HEADER) + _PNG_SIZE.size:
        return "is no picture"
    width_px, height_px = _PNG_SIZE.unpack_from(data, len(_PNG_HEADER))
    if said := _unexpected(height_px, width_px):
        return said
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if picture is None or picture.shape != (_SIDE_PX, _SIDE_PX, 3):
        return "is no picture"
    return np.asarray(picture, np.uint8)


def _unexpected(height_px: int, width_px: int) -> str:
    if (height_px, width_px) == (_SIDE_PX, _SIDE_PX):
        return ""
    return f"is {width_px} x {height_px} pixels, not {_SIDE_PX} x {_SIDE_PX}"
