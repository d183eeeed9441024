import cv2
import numpy as np
import pytest

from pipeline.faces.picture import Picture
from pipeline.faces.planes import Colours, Planes
from pipeline.faces.regions import mapped
from pipeline.faces.register import (
    CROP_SIZE_PX,
    INNER_POINTS,
    TEMPLATE68_PX,
    Crop,
    encoded,
    quality,
    register,
    registered,
    similarity,
)
from pipeline.faces.schemes import IBUG68_MIRROR


def crop_of(rgb):
    samples = Colours(colours=rgb)
    return Crop(samples=samples, light=samples.light(), inside=None, crop_from_frame=np.eye(2, 3, dtype=np.float32))


def turned(points, *, scale, angle, shift):
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return (points @ np.array([[c, s], [-s, c]]) + shift).astype(np.float32)


def test_the_template_is_a_face_upright_and_nearly_symmetric():
    mirrored = TEMPLATE68_PX[list(IBUG68_MIRROR)] * [-1, 1] + [CROP_SIZE_PX, 0]
    assert np.abs(mirrored - TEMPLATE68_PX).max() < 12
    assert TEMPLATE68_PX[36, 0] < TEMPLATE68_PX[45, 0]
    assert TEMPLATE68_PX[30, 1] < TEMPLATE68_PX[51, 1] < TEMPLATE68_PX[8, 1]


@pytest.mark.parametrize(("scale", "angle", "shift"), [(1, 0, (0, 0)), (2.5, 0.4, (30, -20)), (0.1, -3.0, (500, 900))])
def test_a_similarity_is_found_again(scale, angle, shift):
    source = np.random.default_rng(0).normal(scale=50, size=(51, 2)).astype(np.float32)
    found = similarity(source, turned(source, scale=scale, angle=angle, shift=shift))
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    assert np.allclose(found, [[c, -s, shift[0]], [s, c, shift[1]]], rtol=1e-4, atol=1e-3)


def test_a_mirrored_face_is_turned_and_scaled_but_never_mirrored():
    source = np.random.default_rng(1).normal(scale=50, size=(51, 2)).astype(np.float32)
    found = similarity(source, source * np.float32([-1, 1]))
    assert np.linalg.det(found[:, :2]) >= 0


def test_points_that_coincide_are_refused():
    with pytest.raises(ValueError, match="all points of source coincide"):
        similarity(np.ones((5, 2), dtype=np.float32), np.zeros((5, 2), dtype=np.float32))


@pytest.mark.parametrize(("scale", "angle"), [(0.4, 0.2), (1.0, 0.0), (1.7, -0.5), (4.6, 0.1)])
def test_what_lies_at_a_landmark_lies_at_its_place_in_the_template(scale, angle):
    points = turned(TEMPLATE68_PX - 112, scale=scale, angle=angle, shift=(700, 600))
    picture = np.full((1200, 1400, 3), 40, dtype=np.uint8)
    x, y = points[30]
    # A disc with a soft edge, so that its centre is known below a pixel.
    rows, columns = np.mgrid[:1200, :1400]
    disc = np.clip(8 * scale - np.hypot(columns - x, rows - y) + 0.5, 0, 1)[..., None]
    picture = np.round(picture + disc * 200).astype(np.uint8)
    crop = register(Picture(picture), points)
    assert np.allclose(mapped(points, crop.crop_from_frame), TEMPLATE68_PX, atol=0.02)
    weight = crop.rgb[..., 0].astype(float) - 40
    rows, columns = np.mgrid[:CROP_SIZE_PX, :CROP_SIZE_PX]
    near = np.hypot(columns - TEMPLATE68_PX[30, 0], rows - TEMPLATE68_PX[30, 1]) < 14
    weight = np.where(near, np.clip(weight, 0, None), 0)
    centre = np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()
    assert np.abs(centre - TEMPLATE68_PX[30]).max() < 0.15


def test_a_crop_is_the_same_in_any_company():
    picture = Picture(np.random.default_rng(4).integers(0, 256, (400, 500, 3)).astype(np.uint8))
    faces = [
        (picture, turned(TEMPLATE68_PX, scale=0.5 + 0.3 * k, angle=0.2 * k, shift=(40 * k, 30))) for k in range(5)
    ]
    for crop, (one, points) in zip(registered(faces), faces, strict=True):
        alone = register(one, points)
        assert (crop.crop_from_frame == alone.crop_from_frame).all()
        assert (crop.rgb == alone.rgb).all()


def test_a_large_face_is_averaged_not_sampled():
    points = turned(TEMPLATE68_PX, scale=4, angle=0, shift=(40, 40))
    fine = np.zeros((1000, 1000, 3), dtype=np.uint8)
    fine[::2, ::2], fine[1::2, 1::2] = 255, 255
    crop = register(Picture(fine), points)
    inside = crop.rgb[40:180, 40:180].astype(float)
    assert abs(inside.mean() - 127.5) < 3
    assert inside.std() < 3


def test_outside_the_picture_is_black():
    crop = register(Picture(np.full((224, 112, 3), 200, dtype=np.uint8)), np.array(TEMPLATE68_PX))
    assert (crop.rgb[:, 120:] == 0).all()
    assert (crop.rgb[:, :100] == 200).all()
    assert (crop.inside[:, :100] == 1).all()
    assert (crop.inside[:, 120:] == 0).all()


def test_too_few_landmarks_are_refused():
    with pytest.raises(ValueError, match="landmarks_px has 51 points"):
        register(Picture(np.zeros((10, 10, 3), dtype=np.uint8)), np.array(TEMPLATE68_PX[INNER_POINTS]))


def test_blur_lowers_sharpness_and_brightness_is_the_mean():
    noise = np.random.default_rng(2).integers(0, 256, (224, 224, 3)).astype(np.uint8)
    sharp, blurred = quality(crop_of(noise)), quality(crop_of(cv2.GaussianBlur(noise, (0, 0), 2)))
    assert blurred.sharpness < sharp.sharpness / 10
    assert blurred.brightness == pytest.approx(sharp.brightness, abs=0.02)
    assert quality(crop_of(np.full((224, 224, 3), 51, dtype=np.uint8))).brightness == pytest.approx(0.2, abs=1e-3)


def test_what_lies_outside_the_picture_changes_neither_sharpness_nor_brightness():
    draw = np.random.default_rng(3)
    picture = cv2.GaussianBlur(draw.integers(0, 256, (224, 224, 3)).astype(np.uint8), (0, 0), 1)
    whole = quality(register(Picture(picture), np.array(TEMPLATE68_PX)))
    half = quality(register(Picture(picture[:, :120]), np.array(TEMPLATE68_PX)))
    assert half.brightness == pytest.approx(whole.brightness, rel=0.02)
    assert half.sharpness == pytest.approx(whole.sharpness, rel=0.05)
    nothing = quality(register(Picture(picture), TEMPLATE68_PX + np.float32(1000)))
    assert (nothing.sharpness, nothing.brightness) == (0, 0)


def test_jpegs_are_rgb_and_the_quality_is_checked():
    red = np.zeros((224, 224, 3), dtype=np.uint8)
    red[..., 0] = 200
    decoded = cv2.imdecode(np.frombuffer(encoded(crop_of(red), jpeg_quality=92), np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(decoded[100, 100].astype(int) - [0, 0, 200]).max() < 5
    with pytest.raises(ValueError, match="jpeg_quality=0 is not between 1 and 100"):
        encoded(crop_of(red), jpeg_quality=0)


@pytest.mark.parametrize("matrix", ["bt601", "bt709", "bt2020"])
def test_a_jpeg_shows_the_colours_of_the_crop_whatever_the_matrix_of_the_video(matrix):
    rows, columns = np.mgrid[:224, :224]
    luma, half = 60 + rows * 0.5 + columns * 0.2, np.s_[::2, ::2]
    blue, red = 108 + columns[half] * 0.18, 150 - rows[half] * 0.2
    planes = Planes(
        **{name: np.round(plane).astype(np.uint8) for name, plane in (("luma", luma), ("blue", blue), ("red", red))},
        matrix=matrix,
    )
    crop = Crop(samples=planes, light=planes.light(), inside=None, crop_from_frame=np.eye(2, 3, dtype=np.float32))
    decoded = cv2.imdecode(np.frombuffer(encoded(crop, jpeg_quality=98), np.uint8), cv2.IMREAD_COLOR_RGB)
    apart = decoded.astype(int) - crop.rgb
    assert np.abs(apart).max() <= 6
    assert np.abs(apart.mean(axis=(0, 1))).max() < 0.5


def test_what_is_blacker_than_black_is_black():
    planes = Planes(
        luma=np.full((224, 224), 3, np.uint8), blue=np.full((112, 112), 128, np.uint8),
        red=np.full((112, 112), 128, np.uint8), matrix="bt709",
    )  # fmt: skip
    crop = Crop(samples=planes, light=planes.light(), inside=None, crop_from_frame=np.eye(2, 3, dtype=np.float32))
    assert quality(crop).brightness == 0
    assert cv2.imdecode(np.frombuffer(encoded(crop, jpeg_quality=92), np.uint8), cv2.IMREAD_COLOR).max() == 0
