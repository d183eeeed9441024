import numpy as np
import pytest

from pipeline.faces.overlaps import overlap
from pipeline.faces.picture import Picture
from pipeline.faces.regions import FaceRegion, around_points, look_into, mapped
from pipeline.faces.schemes import OUTER_EYES


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(("side", "angle"), [(60.0, 0.0), (150.0, 0.5), (500.0, -0.8), (901.0, 0.1)])
def test_a_spot_in_the_region_is_where_the_map_says(side, angle, mirrored):
    rows, columns = np.mgrid[:800, :1000]
    spot = (540.3, 371.8)
    glow = 220 * np.exp(-((columns - spot[0]) ** 2 + (rows - spot[1]) ** 2) / (2 * (side / 30) ** 2))
    picture = np.repeat(np.round(glow)[..., None], 3, axis=2).astype(np.uint8)
    region = FaceRegion(x=520.0, y=380.0, side_px=side, angle_rad=angle)
    to_frame = region.frame_from_square(192, mirrored=mirrored)
    square = Picture(picture).square(to_frame, 192, averaged=False).rgb
    weight = square[..., 0].astype(float)
    rows, columns = np.mgrid[:192, :192]
    seen = np.array([[(weight * columns).sum(), (weight * rows).sum()]]) / weight.sum()
    assert np.abs(mapped(seen, to_frame)[0] - spot).max() < max(0.1, 0.2 * side / 192)
    assert (np.linalg.det(to_frame[:, :2]) < 0) == mirrored


def test_a_region_outside_the_picture_is_black():
    picture = np.full((100, 100, 3), 255, dtype=np.uint8)
    square, _ = look_into(Picture(picture), FaceRegion(x=900.0, y=900.0, side_px=500.0, angle_rad=0.0), 64)
    assert (square == 0).all()


@pytest.mark.parametrize("angle", [0.0, 0.7, -1.2])
def test_a_rolled_head_keeps_the_size_of_its_region(angle):
    points = np.random.default_rng(0).uniform(-50, 50, (468, 2))
    points[OUTER_EYES[0]], points[OUTER_EYES[1]] = (-40, -10), (40, -10)
    points[0], points[1] = (-50, -70), (50, 80)
    c, s = np.cos(angle), np.sin(angle)
    rolled = (points @ np.array([[c, s], [-s, c]]) + [300, 200]).astype(np.float32)
    box, region = around_points(rolled, growth=1.5)
    np.testing.assert_allclose(box, [*rolled.min(axis=0), *rolled.max(axis=0)])
    assert region.side_px == pytest.approx(1.5 * 150, rel=1e-4)
    assert region.angle_rad == pytest.approx(angle, abs=1e-4)
    assert (region.x, region.y) == pytest.approx((300 - 5 * s, 200 + 5 * c), abs=0.01)


@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf])
def test_a_mesh_that_is_not_finite_has_a_square_that_is_not(strange):
    points = np.random.default_rng(0).uniform(-50, 50, (468, 2)).astype(np.float32)
    points[7, 1] = strange
    assert not np.isfinite(around_points(points, growth=1.5)[1].side_px)


def test_overlap_is_intersection_over_union():
    box = np.array([0, 0, 10, 10], dtype=np.float32)
    assert overlap(box, box) == pytest.approx(1)
    assert overlap(box, box + 5) == pytest.approx(25 / 175)
    assert overlap(box, box + 20) == 0
