"""Windows in which small faces are looked for: together they miss none, and there are not too many."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.faces.search import around, search_windows

SMALL = 28.0


def holds(window, box):
    x0, y0, x1, y1 = box
    right, bottom = window.left + window.side_px, window.top + window.side_px
    return window.left <= x0 + 1e-6 and window.top <= y0 + 1e-6 and x1 <= right + 1e-6 and y1 <= bottom + 1e-6


def is_large_enough(window, side):
    return side >= window.side_px / 16.001


@given(
    width=st.integers(64, 1920), height=st.integers(64, 1080), side=st.floats(SMALL, 60),
    x=st.floats(0, 1), y=st.floats(0, 1),
)  # fmt: skip
def test_every_face_lies_in_a_window_in_which_it_is_large_enough(width, height, side, x, y):
    x0, y0 = x * (width - side) - 0.5, y * (height - side) - 0.5
    windows = search_windows(width, height, min_face_px=SMALL)
    assert any(holds(w, (x0, y0, x0 + side, y0 + side)) and is_large_enough(w, 1.21 * side) for w in windows)


@pytest.mark.parametrize("size", [(512, 512), (1280, 720), (1920, 1080), (3840, 2160), (720, 1280), (16, 9)])
def test_the_whole_picture_comes_first_and_there_are_few_parts(size):
    whole, *parts = search_windows(*size, min_face_px=SMALL)
    assert whole.side_px == max(size)
    assert holds(whole, (-0.5, -0.5, size[0] - 0.5, size[1] - 0.5))
    assert len(parts) <= 24
    assert (not parts) == (max(size) <= 512)


def test_larger_faces_need_fewer_parts():
    counts = [len(search_windows(1920, 1080, min_face_px=float(side))) for side in (28, 40, 60, 120)]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 1


def test_a_window_around_a_box_is_a_square_with_the_same_middle():
    window = around((10.0, 20.0, 30.0, 60.0), growth=4.0)
    assert window.side_px == 160
    assert np.allclose([window.left + 80, window.top + 80], [20, 40])
