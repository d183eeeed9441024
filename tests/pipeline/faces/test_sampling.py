"""Squares out of planes: where they lie, what lies outside, and that nothing depends on what was asked before."""

import numpy as np
import pytest

from pipeline.faces.sampling import Layer, Place

SHRINKS = (0.6, 1.0, 1.7, 2.3, 5.1)


def place(*, shrink, turn, x, y, mirrored=False):
    c, s = shrink * np.cos(turn), shrink * np.sin(turn)
    return Place(-c if mirrored else c, -s, x, -s if mirrored else s, c, y)


@pytest.mark.parametrize("averaged", [False, True])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("shrink", SHRINKS)
def test_a_slope_stays_the_slope_that_the_place_makes_of_it(shrink, mirrored, averaged):
    rows, columns = np.mgrid[:500, :600]
    plane = np.round(30 + 0.25 * columns + 0.15 * rows).astype(np.uint8)
    at = place(shrink=shrink, turn=0.4, x=400.0 if mirrored else 260.0, y=130.0, mirrored=mirrored)
    (square,) = Layer(plane, outside=0).squares(at, 40, averaged=averaged)
    down, right = np.mgrid[:40, :40]
    x, y = at.a * right + at.b * down + at.x, at.c * right + at.d * down + at.y
    assert np.abs(square - (30 + 0.25 * x + 0.15 * y)).max() < 1.3


@pytest.mark.parametrize("shrink", SHRINKS)
def test_inside_is_where_nothing_but_the_picture_is_seen(shrink):
    layer = Layer(np.full((203, 301), 200, np.uint8), outside=0)
    asked = set()
    for x, y in ((1.2, 1.7), (-3.0, 20.0), (2.6, 2.6), (299.0, 200.0), (-400.0, -900.0), (120.0, 60.0)):
        for turn in (0.0, 0.7):
            at = place(shrink=shrink, turn=turn, x=x, y=y)
            (square,) = layer.squares(at, 24, averaged=False)
            inside = layer.inside(at, 24)
            asked.add(inside is None)
            inside = np.ones_like(square) if inside is None else inside
            assert inside.dtype == np.uint8
            assert (square[inside == 1] == 200).all()
            # Of what does not count, so little may lie outside that no level tells.
            assert np.count_nonzero(square[inside == 0] == 200) <= 2
    assert False in asked


@pytest.mark.parametrize("averaged", [False, True])
def test_what_was_asked_for_before_changes_nothing(averaged):
    planes = np.random.default_rng(0).integers(0, 256, (2, 240, 320)).astype(np.uint8)
    used = Layer(*planes, outside=7)
    for number, shrink in enumerate((4.4, 2.2, 2.2, 1.3, 8.8, 4.4)):
        at = place(shrink=shrink, turn=0.1 * number, x=90.0 - 20 * number, y=70.0 - 20 * number)
        new = Layer(*planes, outside=7)
        for ours, theirs in zip(
            used.squares(at, 32, averaged=averaged), new.squares(at, 32, averaged=averaged), strict=True
        ):
            assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_a_place_on_a_smaller_plane_is_the_same_place():
    at = place(shrink=3.0, turn=0.3, x=50.5, y=20.5)
    smaller = at.on_smaller(0.5, 0.25)
    right, down = 7, 11
    x, y = at.a * right + at.b * down + at.x, at.c * right + at.d * down + at.y
    # Counted from the picture's edge, which lies half a pixel before the first centre.
    assert smaller.a * right + smaller.b * down + smaller.x + 0.5 == pytest.approx((x + 0.5) / 2)
    assert smaller.c * right + smaller.d * down + smaller.y + 0.5 == pytest.approx((y + 0.5) / 4)
    halves = at.of_halves()
    assert halves.a * 3 + halves.b * 5 + halves.x == pytest.approx(at.a * 6.5 + at.b * 10.5 + at.x)
