from dataclasses import replace

import numpy as np
import pytest
from synthetic import POINTS, landmark_track

from pipeline.steadiness import jitter


def test_jitter_is_zero_for_even_motion_and_known_for_one_jump() -> None:
    frames = np.arange(5, dtype=np.float32)
    still = np.zeros((5, POINTS, 2), np.float32)
    track = replace(landmark_track(5), observed_px=still + 3 * frames[:, None, None])
    size = np.full(5, 50.0, np.float32)
    assert jitter(track, size) == 0.0

    jump = still.copy()
    jump[2] = [1.0, 0.0]
    # Second differences of 0 0 1 0 0 are 1, -2, 1.
    assert jitter(replace(track, observed_px=jump), size) == pytest.approx(np.sqrt(6 / 3) / 50)


def test_jitter_ignores_bridged_frames() -> None:
    jump = np.zeros((5, POINTS, 2), np.float32)
    jump[2] = 9.0
    confidence = np.array([1, 1, 0, 1, 1], np.float32)
    track = replace(landmark_track(5), observed_px=jump, confidence=confidence)

    assert jitter(track, np.full(5, 50.0, np.float32)) == 0.0
