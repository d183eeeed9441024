import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.faces.smooth import smoothed

FPS = 30.0


def times(frames):
    return np.arange(frames, dtype=np.float64) / FPS


def ones(frames):
    return np.ones(frames, dtype=np.float32)


def jitter(points):
    return float(np.sqrt((np.diff(points, 2, axis=0) ** 2).sum(axis=2).mean()))


@given(
    frames=st.integers(1, 60),
    start=st.floats(-500, 500),
    slope=st.floats(-300, 300),
    steps=st.randoms(use_true_random=False),
)
@settings(max_examples=30)
def test_a_straight_line_stays_itself_whatever_the_steps(frames, start, slope, steps):
    pts_s = np.cumsum([steps.uniform(0.01, 0.2) for _ in range(frames)])
    line = np.stack([start + slope * pts_s, start - slope * pts_s], axis=1)[:, None].astype(np.float32)
    assert np.allclose(smoothed(line, pts_s, ones(frames)), line, atol=1e-3 * (1 + abs(start) + abs(slope)))


@pytest.mark.parametrize("frames", [1, 2, 3, 4])
def test_very_short_tracks_come_back_unchanged(frames):
    points = np.random.default_rng(0).normal(size=(frames, 3, 2)).astype(np.float32)
    assert np.array_equal(smoothed(points, times(frames), ones(frames)), points)


def test_frames_that_were_seen_too_far_apart_to_tell_noise_from_motion_stay_as_they_are():
    points = np.random.default_rng(0).normal(size=(801, 2, 2)).astype(np.float32)
    weight = np.zeros(801, dtype=np.float32)
    weight[::200] = 1.0

    result = smoothed(points, np.arange(801) / 25.0, weight)

    assert np.allclose(result[::200], points[::200], rtol=0, atol=1e-6)
    assert np.isfinite(result).all()


def test_a_point_that_rests_and_then_moves_fast_is_stiff_at_rest_and_keeps_its_motion():
    rng, frames = np.random.default_rng(7), 200
    moves = np.where(np.arange(frames) >= 100, 20 * np.sin(np.arange(frames) * 0.9), 0)
    truth = np.stack([50 + moves, np.full(frames, 60.0)], axis=1)[:, None]
    noisy = (truth + rng.normal(scale=0.3, size=truth.shape)).astype(np.float32)
    smooth = smoothed(noisy, times(frames), ones(frames))
    assert jitter(smooth[:90]) < jitter(noisy[:90]) / 5
    assert np.abs(smooth - truth)[105:].max() < 2


def test_noise_on_slow_motion_falls_to_a_third_and_comes_nearer_to_the_truth():
    rng, t = np.random.default_rng(2), times(300)
    truth = np.stack([100 + 10 * np.sin(t), 80 + 5 * np.cos(0.7 * t)], axis=1)[:, None].repeat(8, axis=1)
    noisy = (truth + rng.normal(scale=0.5, size=truth.shape)).astype(np.float32)
    smooth = smoothed(noisy, t, ones(300))
    assert jitter(smooth) < jitter(noisy) / 3
    assert np.sqrt(((smooth - truth) ** 2).mean()) < 0.5 * 0.5


def test_blinks_keep_their_depth_though_there_is_noise():
    rng, frames = np.random.default_rng(3), 300
    depth = np.zeros(frames)
    for start in (40, 130, 220):  # 6 frames, 200 ms, as of a fast blink
        depth[start : start + 6] = [3, 9, 12, 10, 6, 2]
    truth = np.stack([np.full(frames, 50.0), 60 + depth], axis=1)[:, None]
    noisy = (truth + rng.normal(scale=0.3, size=truth.shape)).astype(np.float32)
    smooth = smoothed(noisy, times(frames), ones(frames))
    for start in (40, 130, 220):
        assert smooth[start : start + 6, 0, 1].max() - 60 > 0.85 * 12


def test_a_single_blink_of_three_frames_in_a_still_track_keeps_its_depth():
    truth = np.stack([np.full(72, 50.0), np.full(72, 60.0)], axis=1)[:, None]
    truth[26:29, 0, 1] += [3, 5, 2]
    noisy = (truth + np.random.default_rng(6).normal(scale=0.2, size=truth.shape)).astype(np.float32)
    smooth = smoothed(noisy, times(72), ones(72))
    assert smooth[27, 0, 1] - 60 > 0.85 * 5
    assert jitter(np.delete(smooth, slice(20, 35), axis=0)) < jitter(np.delete(noisy, slice(20, 35), axis=0)) / 2


def test_the_ends_do_not_run_away():
    rng, t = np.random.default_rng(4), times(120)
    truth = np.stack([50 + 40 * t, 60 + 20 * t], axis=1)[:, None]
    smooth = smoothed((truth + rng.normal(scale=0.5, size=truth.shape)).astype(np.float32), t, ones(120))
    assert np.abs(smooth - truth)[[0, 1, -2, -1]].max() < 1.0


def test_missed_frames_do_not_count_and_are_filled():
    t = times(60)
    truth = np.stack([50 + 30 * np.sin(2 * t), 60 + 30 * np.cos(2 * t)], axis=1)[:, None]
    points, weight = truth.astype(np.float32), ones(60)
    points[20:24], weight[20:24] = 9999, 0
    assert np.abs(smoothed(points, t, weight) - truth).max() < 0.1


def test_points_do_not_see_each_other():
    rng = np.random.default_rng(5)
    points = np.cumsum(rng.normal(size=(50, 70, 2)), axis=0).astype(np.float32)
    together = smoothed(points, times(50), ones(50))
    alone = smoothed(points[:, 40:41], times(50), ones(50))
    assert np.allclose(together[:, 40:41], alone, atol=1e-4)


def test_times_that_do_not_increase_are_refused():
    points = np.zeros((6, 1, 2), dtype=np.float32)
    with pytest.raises(ValueError, match="pts_s must increase strictly"):
        smoothed(points, np.array([0, 1, 1, 2, 3, 4.0]), ones(6))
    with pytest.raises(ValueError, match="weight must be finite and not negative"):
        smoothed(points, times(6), -ones(6))
