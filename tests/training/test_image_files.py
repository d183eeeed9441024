"""Images as people have them: of any depth, with transparency, turned by a camera, moving, or from a phone."""

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from training.image_files import images_among, pictures_in, read_image, refuse_heif

RGB = np.kron(np.array([[[250, 10, 30], [20, 240, 60]]], np.uint8), np.ones((24, 20, 1), np.uint8))
BGR = RGB[..., ::-1]


@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("plain.png", BGR),
        ("transparent.png", np.dstack([BGR, np.full(BGR.shape[:2], 120, np.uint8)])),
        ("deep.png", BGR.astype(np.uint16) * 257),
        ("pages.tiff", BGR),
        ("lossless.bmp", BGR),
    ],
)
def test_whatever_the_file_holds_it_is_read_as_eight_bits_of_red_green_and_blue(
    tmp_path: Path, name: str, pixels: np.ndarray
) -> None:
    cv2.imwrite(str(tmp_path / name), pixels)
    assert images_among([tmp_path / name]) == ((tmp_path / name,), ())
    np.testing.assert_array_equal(read_image(tmp_path / name), RGB)


def test_grey_is_read_as_three_equal_channels(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), BGR[..., 0])
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), np.repeat(BGR[..., :1], 3, axis=2))


def test_a_photo_is_turned_as_the_camera_says(tmp_path: Path) -> None:
    _, jpeg = cv2.imencode(".jpg", BGR, [cv2.IMWRITE_JPEG_QUALITY, 100])
    # Orientation (0x112) 6: to be shown turned by 90 degrees clockwise.
    exif = b"Exif\0\0II*\0" + struct.pack("<IHHHIII", 8, 1, 0x112, 3, 1, 6, 0)
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    (tmp_path / "photo.jpg").write_bytes(jpeg.tobytes()[:2] + segment + jpeg.tobytes()[2:])
    seen = read_image(tmp_path / "photo.jpg")
    assert seen.shape == (40, 24, 3)
    np.testing.assert_allclose(seen[5, 5], RGB[5, 5], atol=25)
    np.testing.assert_allclose(seen[-5, 5], RGB[5, -5], atol=25)


def test_of_a_moving_image_the_first_picture_is_read(tmp_path: Path) -> None:
    path = tmp_path / "moving.png"
    cv2.imwritemulti(str(tmp_path / "moving.tiff"), [BGR, BGR[:, ::-1], BGR])
    cv2.imwrite(str(path), BGR)
    assert (pictures_in(path), pictures_in(tmp_path / "moving.tiff")) == (1, 3)
    np.testing.assert_array_equal(read_image(tmp_path / "moving.tiff"), RGB)


@pytest.mark.parametrize("brand", [b"heic", b"mif1", b"avif"])
def test_a_heif_image_is_named_with_what_to_do(tmp_path: Path, brand: bytes) -> None:
    (tmp_path / "photo").write_bytes(b"\0\0\0\x18ftyp" + brand + b"\0" * 40)
    with pytest.raises(ValueError, match=r"photo is a HEIF image .* convert it to JPEG or PNG"):
        refuse_heif(tmp_path / "photo")
    (tmp_path / "clip.mp4").write_bytes(b"\0\0\0\x18ftypisom" + b"\0" * 40)
    (tmp_path / "short").write_bytes(b"\0")
    refuse_heif(tmp_path / "clip.mp4")
    refuse_heif(tmp_path / "short")


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_what_is_cut_short_is_no_image(tmp_path: Path, share: float) -> None:
    _, png = cv2.imencode(".png", BGR)
    (tmp_path / "half.png").write_bytes(png.tobytes()[: int(len(png) * share)])
    with pytest.raises(ValueError, match=r"half\.png is no image that can be read: damaged, or cut short"):
        read_image(tmp_path / "half.png")
