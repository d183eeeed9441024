"""Smoothing a face leaves its motion as a whole alone, and still takes the landmarks' noise away."""

import numpy as np
import pytest

from pipeline.faces.motion import smoothed_face

FRAMES = 150
TIMES = np.arange(FRAMES) / 25.0
ONES = np.ones(FRAMES, np.float32)
NOISE_PX = 0.5


def face(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(-60, 60, size=(68, 2))


def moved(shape: np.ndarray, centre_px: np.ndarray, turn_rad: np.ndarray, scale: np.ndarray) -> np.ndarray:
    c, s = np.cos(turn_rad) * scale, np.sin(turn_rad) * scale
    rotation = np.stack([np.stack([c, -s], -1), np.stack([s, c], -1)], -2)
    return np.einsum("fij,pj->fpi", rotation, shape) + centre_px[:, None]


def rms(difference: np.ndarray) -> float:
    return float(np.sqrt((difference**2).sum(-1).mean()))


def test_a_shaken_camera_does_not_pull_the_landmarks_off_the_face() -> None:
    rng = np.random.default_rng(0)
    truth = moved(face(rng), 200 + rng.normal(scale=15, size=(FRAMES, 2)), np.zeros(FRAMES), np.ones(FRAMES))
    noisy = (truth + rng.normal(scale=NOISE_PX, size=truth.shape)).astype(np.float32)
    assert rms(smoothed_face(noisy, TIMES, ONES) - truth) < rms(noisy - truth)


def test_noise_on_a_slow_turning_face_falls_to_under_half() -> None:
    rng = np.random.default_rng(1)
    centre = 200 + 30 * np.stack([np.sin(TIMES), np.cos(TIMES)], -1)
    truth = moved(face(rng), centre, 0.3 * np.sin(0.7 * TIMES), 1 + 0.1 * np.sin(0.5 * TIMES))
    noisy = (truth + rng.normal(scale=NOISE_PX, size=truth.shape)).astype(np.float32)
    assert rms(smoothed_face(noisy, TIMES, ONES) - truth) < 0.5 * rms(noisy - truth)


def test_a_face_that_only_moves_as_a_whole_stays_as_it_is() -> None:
    rng = np.random.default_rng(2)
    walk = 200 + np.cumsum(rng.normal(scale=5, size=(FRAMES, 2)), axis=0)
    points = moved(face(rng), walk, np.cumsum(rng.normal(scale=0.05, size=FRAMES)), np.ones(FRAMES))
    assert rms(smoothed_face(points.astype(np.float32), TIMES, ONES) - points) < 1e-2


def test_a_frame_without_the_face_is_filled_between_its_neighbours() -> None:
    rng = np.random.default_rng(3)
    centre = 200 + 30 * np.stack([np.sin(TIMES), np.cos(TIMES)], -1)
    truth = moved(face(rng), centre, np.zeros(FRAMES), np.ones(FRAMES))
    points, weight = truth.astype(np.float32), ONES.copy()
    points[70:73], weight[70:73] = 9999, 0
    assert rms(smoothed_face(points, TIMES, weight)[70:73] - truth[70:73]) < 0.2


@pytest.mark.parametrize("frames", [1, 2, 4])
def test_very_short_tracks_come_back_as_they_are(frames: int) -> None:
    points = np.random.default_rng(4).normal(size=(frames, 68, 2)).astype(np.float32) * 50
    assert np.allclose(smoothed_face(points, TIMES[:frames], ONES[:frames]), points, atol=1e-3)
