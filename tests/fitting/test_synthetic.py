"""The generator of tracks with truth, and the metrics that compare with it."""

import dataclasses

import numpy as np
import pytest
import torch

from fitting.face_model import FaceModel
from fitting.landmark_basis import landmark_fields
from fitting.metrics import accuracy, aligned_distance, mean_accuracy, rotation_angle_deg
from fitting.rotation import matrix_from_quaternion
from fitting.synthetic import SyntheticOptions, smooth_paths, synthetic_track
from fitting.tracks import FittedTrack


def test_the_same_seed_gives_the_same_track(toy_model: FaceModel) -> None:
    options = SyntheticOptions(frames=20, missing_share=0.1)
    first, again = (synthetic_track(toy_model, "toy68", options, seed=4) for _ in range(2))
    np.testing.assert_array_equal(first.sequence.observed_px, again.sequence.observed_px)
    other = synthetic_track(toy_model, "toy68", options, seed=5)
    assert not np.array_equal(first.identity, other.identity)


def test_noise_outliers_and_missing_points_are_as_ordered(toy_model: FaceModel) -> None:
    options = SyntheticOptions(frames=300, noise_px=2.0, outlier_share=0.05, missing_share=0.2)
    track = synthetic_track(toy_model, "toy68", options, seed=0)
    missing = track.sequence.weight == 0
    assert abs(missing.mean() - 0.2) < 0.02
    assert np.isnan(track.sequence.observed_px[missing]).all()
    error = (track.sequence.observed_px - track.clean_px)[~missing]
    far = np.linalg.norm(error, axis=-1) > 10
    assert abs(far.mean() - 0.05 * 0.88) < 0.01, "of normal outliers of 20 px, 88% are farther than 10 px"
    assert abs(np.median(np.abs(error)) / 0.6745 - 2.0) < 0.2


def test_noise_remembers_and_bias_lasts_as_ordered(toy_model: FaceModel) -> None:
    options = SyntheticOptions(frames=400, noise_px=2.0, noise_memory=0.8)
    track = synthetic_track(toy_model, "toy68", options, seed=0)
    error = track.sequence.observed_px - track.clean_px
    assert error.std() == pytest.approx(2.0, rel=0.05)
    assert np.mean(error[1:] * error[:-1]) / 4 == pytest.approx(0.8, abs=0.05)
    lasting = SyntheticOptions(frames=400, noise_px=1.0, bias_px=3.0)
    error = (track := synthetic_track(toy_model, "toy68", lasting, seed=0)).sequence.observed_px - track.clean_px
    assert error.mean(axis=0).std() == pytest.approx(3.0, rel=0.2)
    assert (error - error.mean(axis=0)).std() == pytest.approx(1.0, rel=0.05)
    np.testing.assert_allclose(track.noise_sd_px, np.sqrt(10))


def test_an_occlusion_hides_a_side_of_the_face_and_whole_frames_go_missing(toy_model: FaceModel) -> None:
    track = synthetic_track(toy_model, "toy68", SyntheticOptions(frames=100, occlusions=1), seed=3)
    hidden = track.sequence.weight == 0
    frames = np.flatnonzero(hidden.any(axis=1))
    assert len(frames) == frames[-1] - frames[0] + 1 == 15
    assert (hidden[frames] == hidden[frames[0]]).all()
    assert abs(int(hidden[frames[0]].sum()) - 68 / 3) < 2
    gone = synthetic_track(toy_model, "toy68", SyntheticOptions(frames=400, missing_frame_share=0.25), seed=0)
    whole = (gone.sequence.weight == 0).all(axis=1)
    assert whole.mean() == pytest.approx(0.25, abs=0.07)
    assert (gone.sequence.weight[~whole] == 1).all()


def test_a_pinhole_far_away_is_orthographic_and_a_near_one_enlarges_the_nose(toy_model: FaceModel) -> None:
    still = {"frames": 5, "yaw_deg": 0.0, "noise_px": 0.0}
    flat, far, near = (
        synthetic_track(toy_model, "toy68", SyntheticOptions(**still, distance_mm=mm), seed=1)  # type: ignore[arg-type]
        for mm in (None, 1e7, 400.0)
    )
    np.testing.assert_allclose(far.clean_px, flat.clean_px, atol=0.01)
    # A point that lies behind the head's origin by a tenth of the distance appears a tenth nearer to the principal
    # point, the middle of the picture.
    rows = matrix_from_quaternion(torch.from_numpy(flat.rotation_wxyz)).numpy()
    mean, identity_basis, expression_basis = landmark_fields(toy_model, "toy68")
    head = mean + np.tensordot(flat.identity, identity_basis, 1) + np.tensordot(flat.expression, expression_basis, 1)
    depth = np.einsum("fj,fpj->fp", rows[:, 2], head)
    unit = 89 / np.linalg.norm(mean[36] - mean[45])
    away = 400.0 * unit / near.scale_px_per_mm[:, None]
    middle = 2 * 89.0
    wanted = middle + (flat.clean_px - middle) * (away / (away + depth))[..., None]
    np.testing.assert_allclose(near.clean_px, wanted, atol=1e-9)
    with pytest.raises(ValueError, match="distance_mm=50"):
        SyntheticOptions(distance_mm=50.0)


def test_paths_are_smooth_and_of_unit_variance() -> None:
    paths = smooth_paths(np.random.default_rng(0), 20000, 4, 4.0)
    np.testing.assert_allclose(paths.var(axis=0), 1, atol=0.1)
    np.testing.assert_allclose(np.diff(paths, axis=0).var(axis=0), 2 * (1 - np.exp(-1 / 64)), rtol=0.1)


def test_the_truth_itself_has_no_error_and_known_errors_are_measured(toy_model: FaceModel) -> None:
    truth = synthetic_track(toy_model, "toy68", SyntheticOptions(frames=10), seed=0)
    fit = FittedTrack(
        status="converged",
        iterations=1,
        identity=truth.identity.astype(np.float32),
        expression=truth.expression.astype(np.float32),
        expression_sigma=np.ones_like(truth.expression, np.float32),
        scale_px_per_mm=truth.scale_px_per_mm.astype(np.float32),
        rotation_wxyz=truth.rotation_wxyz.astype(np.float32),
        translation_px=truth.translation_px.astype(np.float32),
        fitted_px=truth.clean_px.astype(np.float32),
        reprojection_error=np.zeros(10, np.float32),
        holdout_error=0.0,
    )
    perfect = accuracy(toy_model, truth, fit)
    assert dataclasses.astuple(perfect) == pytest.approx((0, 0, 1, 0, 0, 0, 0, 0), abs=1e-2)
    off = dataclasses.replace(fit, fitted_px=fit.fitted_px + np.float32(8.9 / np.sqrt(2)))
    seen = accuracy(toy_model, truth, off).nme_percent
    assert 7 < seen < 13, "10% of 89 px, at a scale that varies"
    assert mean_accuracy([perfect, accuracy(toy_model, truth, off)])["nme_percent"] == pytest.approx(seen / 2, abs=1e-3)


def test_alignment_removes_turn_shift_and_size_only_as_asked() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(30, 3))
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    moved = 1.5 * points @ turn.T + [3.0, 2.0, 1.0]
    np.testing.assert_allclose(aligned_distance(moved, points, scaled=True), 0, atol=1e-12)
    assert aligned_distance(moved, points, scaled=False).mean() > 0.4
    np.testing.assert_allclose(aligned_distance(points @ turn.T, points, scaled=False), 0, atol=1e-12)


def test_the_angle_between_rotations_is_in_degrees() -> None:
    quarter = np.array([np.sqrt(0.5), 0, 0, np.sqrt(0.5)])
    np.testing.assert_allclose(rotation_angle_deg(quarter, np.array([1.0, 0, 0, 0])), 90, atol=1e-9)
