"""An eye is another where its lids moved, and nowhere else; what lies between two is told from what does not."""

import numpy as np
import pytest

from pipeline.faces import eye_changes
from pipeline.faces.eye_changes import explained, grey_around_eye


def eye(*, x=0.0, y=0.0, gap=6.0, gain=1.0, brightness=0.0, noise=0.0):
    """A square with a dark almond on skin, its middle and its height as asked for."""
    rows, columns = np.mgrid[:64, :64]
    across, down = (columns - 31.5 - x) / 14, rows - 31.5 - y
    inside = gap * (1 - across**2) - np.abs(down)
    level = gain * (180 - 120 / (1 + np.exp(-1.5 * inside)) + 10 * np.sin(rows / 9) + 10 * np.cos(columns / 11))
    level += brightness
    level = level + noise * np.random.default_rng(0).standard_normal(level.shape)
    return np.clip(np.round(level), 0, 255).astype(np.uint8)


def registered(now, then):
    """By how much the eye moved since, or None where it is another."""
    key = eye_changes.key_of(grey_around_eye(then))
    differences = key.differences(grey_around_eye(now)[1:-1, 1:-1].reshape(1, -1))
    return differences.shifts_px[0] if key.explains(differences).all() else None


def told(*eyes, before=None):
    """How pictures are explained: (key, other) of each, and their shares."""
    key = None if before is None else eye_changes.key_of(grey_around_eye(before))
    how, keys = explained([grey_around_eye(one) for one in eyes], key)
    assert {each.key for each in how} | {each.other for each in how} <= {*keys, -1}
    return [(each.key, each.other) for each in how], [each.share for each in how], sorted(keys)


@pytest.mark.parametrize(("x", "y"), [(0, 0), (0.4, 0), (0, -0.5), (0.6, 0.6), (-0.8, 0.5)])
def test_an_eye_that_moved_a_little_is_registered(x, y):
    np.testing.assert_allclose(registered(eye(x=x, y=y), eye()), [x, y], atol=0.15)


def test_light_that_flickers_is_no_change():
    np.testing.assert_allclose(registered(eye(brightness=12, x=0.3), eye()), [0.3, 0], atol=0.15)


def test_noise_of_a_camera_is_no_change():
    np.testing.assert_allclose(registered(eye(noise=3), eye()), [0, 0], atol=0.2)


@pytest.mark.parametrize("gain", [1.0, 0.2])
@pytest.mark.parametrize("gap", [0.5, 2.0, 4.0, 8.0])
def test_an_eye_that_opens_or_closes_is_another_in_any_light(gap, gain):
    assert registered(eye(gap=gap, gain=gain), eye(gain=gain)) is None


def test_an_eye_that_is_elsewhere_or_in_other_light_is_another():
    assert registered(eye(x=4), eye()) is None
    assert registered(eye(gain=0.8), eye()) is None


def test_where_nothing_can_be_seen_nothing_is_kept():
    black = np.zeros((64, 64), dtype=np.uint8)
    assert registered(black, black) is None


def test_a_still_eye_has_one_key_and_a_block_of_it_none_of_its_own():
    assert told(eye(), eye(noise=2), eye(x=0.5)) == ([(0, 0)] * 3, [0.0] * 3, [0])
    assert told(eye(), eye(y=-0.4), before=eye()) == ([(-1, -1)] * 2, [0.0] * 2, [])


def test_a_lid_that_moves_slowly_is_asked_about_at_the_ends():
    how, shares, keys = told(eye(gap=6.7), eye(gap=7.3), eye(gap=8.0), before=eye(gap=6.0))
    assert keys == [2]
    assert how == [(-1, 2), (-1, 2), (2, 2)]
    assert shares == pytest.approx([0.35, 0.65, 0.0], abs=0.08)


def test_a_blink_is_nowhere_between_two_open_eyes():
    how, _, keys = told(eye(), eye(gap=1.0), eye(x=0.3), before=eye())
    assert how[1] == (1, 1)
    assert 1 in keys


def test_every_frame_of_a_fast_lid_is_a_key():
    gaps = (8.0, 3.0, 6.5, 1.0)
    assert told(*(eye(gap=gap) for gap in gaps))[2] == [0, 1, 2, 3]


def test_no_key_lies_further_ahead_than_it_may():
    slow = [eye(gap=4.0 + 0.9 * step) for step in range(8)]
    how, _, keys = told(*slow)
    gaps = np.diff(keys)
    assert gaps.max() > 1
    assert gaps.max() <= eye_changes._FRAMES_AHEAD + 1
    assert all(key <= frame <= other for frame, (key, other) in enumerate(how))
