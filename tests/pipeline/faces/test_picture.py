from dataclasses import replace

import cv2
import numpy as np
import pytest

from pipeline.faces.picture import Picture
from pipeline.faces.planes import Planes

COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0], [200, 120, 60]])
# Red, green, blue in luma: ITU-R BT.601, BT.709, BT.2020.
LUMA = {"bt601": (0.299, 0.587, 0.114), "bt709": (0.2126, 0.7152, 0.0722), "bt2020": (0.2627, 0.678, 0.0593)}


def noise_planes(rows, columns, matrix="bt601"):
    draw = np.random.default_rng(rows * columns)
    half = ((rows + 1) // 2, (columns + 1) // 2)
    return Planes(
        # All of them are colours: what is no colour is cut off, and means of cut values are others.
        luma=draw.integers(80, 180, (rows, columns)).astype(np.uint8),
        blue=draw.integers(112, 144, half).astype(np.uint8),
        red=draw.integers(112, 144, half).astype(np.uint8),
        matrix=matrix,
    )


def encoded(rgb, matrix):
    """One colour as limited-range luma, blue and red difference, by the standards' equations."""
    red, green, blue = rgb / 255
    luma = np.dot(LUMA[matrix], (red, green, blue))
    difference = (blue - luma) / (2 * (1 - LUMA[matrix][2])), (red - luma) / (2 * (1 - LUMA[matrix][0]))
    return [round(v) for v in (16 + 219 * luma, 128 + 224 * difference[0], 128 + 224 * difference[1])]


@pytest.mark.parametrize("matrix", LUMA)
@pytest.mark.parametrize("size", [8, 7])
def test_colours_come_back_as_they_were_encoded(matrix, size):
    for colour in COLOURS:
        y, u, v = encoded(colour, matrix)
        half = (size + 1) // 2
        planes = Planes(
            luma=np.full((size, size), y, np.uint8), blue=np.full((half, half), u, np.uint8),
            red=np.full((half, half), v, np.uint8), matrix=matrix,
        )  # fmt: skip
        assert np.abs(Picture(planes).rgb.astype(int) - colour).max() <= 3
        assert np.abs(Picture(planes).thumbnail(3, 2).astype(int) - colour).max() <= 3


@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
@pytest.mark.parametrize(("rows", "columns"), [(96, 128), (95, 127)])
def test_what_is_looked_at_is_a_part_of_the_whole(rows, columns, matrix):
    planes = noise_planes(rows, columns, matrix)
    # Its colours change slowly: the whole has the same for four pixels, a part what lies between them.
    half = planes.blue.shape
    slowly = np.linspace(110, 140, half[1]) + np.linspace(-10, 10, half[0])[:, None]
    planes = replace(planes, blue=np.round(slowly).astype(np.uint8), red=np.round(250 - slowly).astype(np.uint8))
    whole, parts = Picture(Picture(planes).rgb), Picture(planes)
    for x, y, turn in ((40, 30, 0.3), (41, 33, 0.3), (0, 0, 0.0), (columns - 9, rows - 5, 1.0), (40, 30, 0.3)):
        c, s = np.cos(turn), np.sin(turn)
        place = np.array([[c, -s, x], [s, c, y]], dtype=np.float32)
        seen, expected = (picture.square(place, 24, averaged=False) for picture in (parts, whole))
        inside = seen.inside
        if inside is not None:
            np.testing.assert_array_equal(inside, expected.inside)
            # On the picture's border colours fade to none, in chroma over two pixels.
            inside = cv2.erode(inside, np.ones((5, 5), np.uint8)).astype(bool)
            assert inside.any()
        assert np.abs(seen.rgb.astype(int) - expected.rgb)[inside].max() <= 4


@pytest.mark.parametrize("kind", ["bt601", "bt709", "rgb"])
@pytest.mark.parametrize("size_px", [24, 25])
def test_colours_that_are_put_elsewhere_are_the_same(kind, size_px):
    planes = noise_planes(96, 128, "bt601" if kind == "rgb" else kind)
    picture = Picture(Picture(planes).rgb if kind == "rgb" else planes)
    square = picture.square(np.array([[1.1, 0, 30], [0, 1.1, 20]], dtype=np.float32), size_px, averaged=False)
    two = np.zeros((2, size_px, size_px, 3), dtype=np.uint8)
    square.put_rgb(two[1])
    np.testing.assert_array_equal(two[1], square.rgb)
    assert not two[0].any()


@pytest.mark.parametrize("averaged", [False, True])
@pytest.mark.parametrize(("shrink", "turn", "size_px"), [(0.7, 0.2, 160), (1.6, -0.4, 101), (2.9, 0.0, 64)])
def test_colours_lie_where_light_does(shrink, turn, size_px, averaged):
    spot = np.array([131.0, 97.0])
    glow = [
        np.exp(-((columns - (spot[0] + 0.5) * scale + 0.5) ** 2 + (rows - (spot[1] + 0.5) * scale + 0.5) ** 2)
               / (2 * (12 * scale) ** 2))
        for scale in (1.0, 0.5)
        for rows, columns in [np.mgrid[: int(200 * scale), : int(280 * scale)]]
    ]  # fmt: skip
    luma, chroma = np.round(16 + 200 * glow[0]).astype(np.uint8), np.round(128 + 100 * glow[1]).astype(np.uint8)
    c, s = shrink * np.cos(turn), shrink * np.sin(turn)
    x, y = spot - np.array([[c, -s], [s, c]]) @ [size_px * 0.4, size_px * 0.55]
    planes = Planes(luma=luma, blue=chroma, red=chroma, matrix="bt709")
    square = Picture(planes).square(np.array([[c, -s, x], [s, c, y]], np.float32), size_px, averaged=averaged).samples
    for plane, black, half in ((square.luma, 16.0, False), (square.blue, 128.0, True), (square.red, 128.0, True)):
        weight = np.clip(plane.astype(float) - black, 0, None) ** 2
        rows, columns = np.mgrid[: plane.shape[0], : plane.shape[1]]
        middle = np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()
        found = 2 * middle + 0.5 if half else middle
        assert np.abs(found - [size_px * 0.4, size_px * 0.55]).max() < 0.15


def test_a_picture_that_was_decoded_smaller_has_its_places_where_they_are_displayed():
    rows, columns = np.mgrid[:400, :600]
    spot = np.array([333.0, 211.0])
    glow = np.round(220 * np.exp(-((columns - spot[0]) ** 2 + (rows - spot[1]) ** 2) / 450))
    halved = glow.reshape(200, 2, 300, 2).mean(axis=(1, 3))
    smaller = Picture(np.repeat(halved[..., None], 3, axis=2).astype(np.uint8), width_px=600, height_px=400)
    square = smaller.square(np.array([[1, 0, 280], [0, 1, 160]], dtype=np.float32), 100, averaged=False).rgb
    weight = square[..., 0].astype(float)
    at = np.mgrid[:100, :100]
    found = [(weight * at[1]).sum() / weight.sum() + 280, (weight * at[0]).sum() / weight.sum() + 160]
    assert np.abs(np.array(found) - spot).max() < 0.2


@pytest.mark.parametrize("shrink", [1.6, 2.0, 3.7, 6.0])
def test_averaging_leaves_nothing_to_alias(shrink):
    stripes = np.zeros((1500, 1500, 3), dtype=np.uint8)
    stripes[::2, ::2], stripes[1::2, 1::2] = 255, 255
    place = np.array([[shrink, 0, 20.3], [0, shrink, 30.7]], dtype=np.float32)
    square = Picture(stripes).square(place, 200, averaged=True).rgb
    assert abs(square.mean() - 127.5) < 2
    assert square.std() < 12


def test_the_whole_picture_is_a_view_of_what_was_rgb():
    rgb = np.zeros((20, 30, 3), dtype=np.uint8)
    assert np.shares_memory(Picture(rgb).rgb, rgb)
    assert (Picture(rgb).width_px, Picture(rgb).height_px) == (30, 20)
