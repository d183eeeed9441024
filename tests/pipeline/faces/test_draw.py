import numpy as np
import pytest

from pipeline.faces.draw import draw_landmarks
from pipeline.faces.register import TEMPLATE68_PX


def test_drawing_marks_the_landmarks_and_leaves_the_frame_alone():
    frame = np.zeros((300, 300, 3), dtype=np.uint8)
    points = TEMPLATE68_PX + np.float32(30)
    drawn = draw_landmarks(frame, points)
    assert not frame.any()
    for x, y in points:
        assert drawn[round(float(y)), round(float(x))].max() > 100
    assert not drawn[:30].any()


def test_points_beyond_the_68_and_outside_the_frame_are_fine():
    points = np.concatenate([np.array(TEMPLATE68_PX), np.array([[500, -80], [100, 200]], dtype=np.float32)])
    drawn = draw_landmarks(np.zeros((224, 224, 3), dtype=np.uint8), points)
    assert drawn[200, 100].max() > 100


def test_too_few_points_are_refused():
    with pytest.raises(ValueError, match="landmarks_px has 5 points"):
        draw_landmarks(np.zeros((9, 9, 3), dtype=np.uint8), np.zeros((5, 2), dtype=np.float32))
