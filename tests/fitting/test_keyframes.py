"""The choice of key frames."""

import numpy as np

from fitting.keyframes import choose_keyframes


def test_key_frames_reach_both_ends_of_the_pose_and_of_the_time() -> None:
    times = np.arange(300) / 30
    yaw = 40 * np.sin(times)
    chosen = choose_keyframes(times, np.column_stack([yaw, 0 * yaw]), np.ones(300, bool), 16, 0.15)
    assert len(chosen) == 16
    assert (np.diff(times[chosen]) >= 0.15 - 1e-9).all()
    assert yaw[chosen].max() > 35
    assert yaw[chosen].min() < -35
    assert chosen[0] < 30
    assert chosen[-1] > 270


def test_only_usable_frames_are_chosen_and_short_tracks_give_fewer() -> None:
    usable = np.zeros(20, bool)
    usable[[3, 4, 15]] = True
    chosen = choose_keyframes(np.arange(20) / 30, np.zeros((20, 2)), usable, 16, 0.15)
    assert set(chosen) <= {3, 4, 15}
    assert len(chosen) == 2, "3 and 4 lie too close together"
    assert choose_keyframes(np.zeros(2), np.zeros((2, 2)), np.zeros(2, bool), 4, 0.15).size == 0
