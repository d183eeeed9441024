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
    whole, parts = Picture(Picture(planes).rgb), Picture(planes)
    for x, y, turn in ((40, 30, 0.3), (41, 33, 0.3), (0, 0, 0.0), (columns - 9, rows - 5, 1.0), (40, 30, 0.3)):
        c, s = np.cos(turn), np.sin(turn)
        place = np.array([[c, -s, x], [s, c, y]], dtype=np.float32)
        seen, expected = (picture.square(place, 24, averaged=False).rgb for picture in (parts, whole))
        # Odd sizes go through another conversion, which rounds otherwise.
        assert np.abs(seen.astype(int) - expected).max() <= 2


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
