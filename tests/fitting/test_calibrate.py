"""Calibration: what went into synthetic tracks comes out of them, and a fit that knows it is better."""

from dataclasses import replace

import numpy as np
import pytest

from fitting.alignment import similarity
from fitting.calibrate import Learnt, Shrinkage, calibrate
from fitting.calibration import DetectorCalibration, calibration_table
from fitting.calibration_em import CAMERA_SD, Corpus, moments
from fitting.evidence import FARTHEST, evidence_ratio
from fitting.expression_prior import mirrored_expression, with_expression_prior
from fitting.face_model import FaceModel, load_face_model
from fitting.landmark_basis import landmark_fields
from fitting.linear_track import LinearTrack
from fitting.metrics import aligned_distance
from fitting.options import FitOptions
from fitting.solver import fit_tracks
from fitting.synthetic import SyntheticOptions, SyntheticTrack, synthetic_track
from fitting.tracks import LandmarkSequence

NO_BELIEF = Shrinkage(
    offset_mm=5.0, corpus_faces=0.01, landmark_faces=0.5, expression_frames=1.0, frames_per_face=16.0
)
TRUE_COVARIANCE = np.diag(np.array([4.0, 1.0, 0.25, 1.0, 2.0, 1.0, 0.5, 1.0]))
TRUE_COVARIANCE[0, 1] = TRUE_COVARIANCE[1, 0] = 1.4
TRUE_MEAN = np.array([0.0, 0.0, 0.7, 0.0, 0.0, -0.7, 0.0, 0.0])
OPTIONS = FitOptions()
SIZE_PX = 89.0


def detected(model: FaceModel, errors: DetectorCalibration, seed: int, frames: int = 40) -> SyntheticTrack:
    """A track of a face as a detector with such errors sees it; noise in every frame is new."""
    seen = replace(model, calibrations={"toy68": errors})
    truth = synthetic_track(seen, "toy68", SyntheticOptions(frames=frames, noise_px=0.0), seed=seed)
    rng = np.random.default_rng(1000 + seed)
    unit_px = truth.scale_px_per_mm * SIZE_PX / truth.scale_px_per_mm.mean()
    own = rng.normal(size=(68, 2)) * errors.bias_ratio[:, None] * OPTIONS.landmark_bias
    noise = rng.normal(size=truth.clean_px.shape) * errors.noise_ratio[:, None] * OPTIONS.landmark_noise
    points = (truth.clean_px + (own + noise) * unit_px[:, None, None]).astype(np.float32)
    return replace(truth, sequence=replace(truth.sequence, observed_px=points, smoothed_px=points))


@pytest.fixture(scope="module")
def errors() -> DetectorCalibration:
    rng = np.random.default_rng(4)
    return DetectorCalibration(
        offset_mm=rng.normal(0, 1.5, (68, 3)).astype(np.float32) * np.array([1, 1, 0], np.float32),
        noise_ratio=np.where(np.arange(68) % 4 == 0, 1.2, 0.3).astype(np.float32),
        bias_ratio=np.where(np.arange(68) % 4 == 1, 1.0, 0.3).astype(np.float32),
        faces=1,
    )


@pytest.fixture(scope="module")
def lively(toy_model: FaceModel) -> FaceModel:
    """The toy model whose faces do other things than its unit Gaussian says."""
    return with_expression_prior(toy_model, TRUE_MEAN, TRUE_COVARIANCE)


@pytest.fixture(scope="module")
def learnt(toy_model: FaceModel, lively: FaceModel, errors: DetectorCalibration) -> Learnt:
    return calibrate(
        [detected(lively, errors, seed).sequence for seed in range(12)], toy_model, OPTIONS, expression_prior=True,
        shrinkage=NO_BELIEF, evidence=np.ones(68),
    )  # fmt: skip


def test_offsets_come_out_as_they_went_in_but_for_what_a_face_can_be(
    learnt: Learnt, errors: DetectorCalibration, toy_model: FaceModel
) -> None:
    mean, identity, expression = landmark_fields(toy_model, "toy68")
    # A common shift, turn, size, identity or expression of all faces is no error of the detector's.
    free = [mean, *np.eye(3)[:, None].repeat(68, axis=1), *np.cross(np.eye(3)[:, None], mean), *identity, *expression]
    basis, _ = np.linalg.qr(np.stack([one[:, :2].ravel() for one in free]).T)

    def told(offset: np.ndarray) -> np.ndarray:
        flat = offset[:, :2].ravel().astype(np.float64)
        return flat - basis @ (basis.T @ flat)

    true, seen = told(errors.offset_mm), told(learnt.calibration.offset_mm)
    assert np.corrcoef(true, seen)[0, 1] > 0.95
    assert np.sqrt(((seen - true) ** 2).mean()) < 0.3 * np.sqrt((true**2).mean())


def test_noise_and_bias_come_out_as_they_went_in(learnt: Learnt, errors: DetectorCalibration) -> None:
    known = learnt.calibration
    loud, still = errors.noise_ratio > 1, errors.noise_ratio < 1
    np.testing.assert_allclose(known.noise_ratio[loud].mean(), 1.2, rtol=0.15)
    np.testing.assert_allclose(known.noise_ratio[still].mean(), 0.3, rtol=0.15)
    wrong, right = errors.bias_ratio == 1.0, (errors.bias_ratio < 1) & still
    np.testing.assert_allclose(known.bias_ratio[wrong].mean(), 1.0, rtol=0.3)
    assert known.bias_ratio[right].mean() < 0.6 * known.bias_ratio[wrong].mean()
    assert known.faces == learnt.faces == 12


def test_a_calibrated_model_fits_faces_that_it_was_not_learnt_from_better(
    learnt: Learnt, errors: DetectorCalibration, toy_model: FaceModel, lively: FaceModel
) -> None:
    truths = [detected(lively, errors, seed) for seed in range(100, 103)]

    def errors_mm(model: FaceModel) -> tuple[float, float]:
        identity, moved = [], []
        for truth, fit in zip(truths, fit_tracks([one.sequence for one in truths], model, OPTIONS), strict=True):
            # Coefficients of the three models differ; faces with their expressions do not.
            true, seen = (
                face.vertices_mm(np.tile(track.identity, (7, 1)).astype(np.float32), path.astype(np.float32))
                for face, track, path in ((lively, truth, truth.expression[::6]), (model, fit, fit.expression[::6]))
            )
            identity.append(aligned_distance(*(x.mean(0).astype(np.float64) for x in (seen, true)), scaled=True).mean())
            moved.append(np.linalg.norm((seen - seen.mean(0)) - (true - true.mean(0)), axis=-1).mean())
        return float(np.mean(identity)), float(np.mean(moved))

    before, after = errors_mm(toy_model), errors_mm(learnt.model)
    assert after[0] < 0.9 * before[0]
    assert after[1] < 0.8 * before[1]


def test_the_expressions_mean_and_covariance_come_out_as_they_went_in(
    learnt: Learnt, toy_model: FaceModel, lively: FaceModel
) -> None:
    seen, true = np.diag(learnt.expression_covariance), np.diag(TRUE_COVARIANCE)
    np.testing.assert_allclose(seen, true, rtol=0.6)
    assert np.corrcoef(seen, true)[0, 1] > 0.9
    assert 0.5 < learnt.expression_covariance[0, 1] / TRUE_COVARIANCE[0, 1] < 1.6
    basis = learnt.model.expression_basis_mm
    assert np.linalg.norm(basis - lively.expression_basis_mm) < 0.6 * np.linalg.norm(
        toy_model.expression_basis_mm - lively.expression_basis_mm
    ), "one unit is now nearer to what the faces did"
    assert learnt.model.name == "toy-calibrated"


def test_a_new_unit_of_expression_makes_the_same_faces() -> None:
    model = load_face_model()
    rng = np.random.default_rng(0)
    root = rng.normal(size=(28, 28)) / 28 + np.eye(28)
    mean, covariance = rng.normal(size=28), root @ root.T
    other = with_expression_prior(model, mean, covariance)
    values, vectors = np.linalg.eigh(covariance)
    u = rng.normal(size=28)
    e = mean + vectors * np.sqrt(values) @ vectors.T @ u
    still = np.zeros(80, np.float32)
    np.testing.assert_allclose(
        other.vertices_mm(still, u.astype(np.float32)), model.vertices_mm(still, e.astype(np.float32)), atol=1e-3
    )
    np.testing.assert_allclose(
        other.vertices_mm(still, other.neutral_expression),
        model.vertices_mm(still, model.neutral_expression),
        atol=1e-3,
    )
    assert model.arkit is not None
    assert other.arkit is not None
    np.testing.assert_allclose(
        other.arkit.offset + other.arkit.matrix @ u, model.arkit.offset + model.arkit.matrix @ e, atol=1e-4
    )


def test_the_mirror_of_an_expression_has_the_mirrored_vertices() -> None:
    model = load_face_model()
    operator = mirrored_expression(model)
    assert operator is not None
    assert model.mirror_vertex is not None
    e = np.random.default_rng(1).normal(size=28)
    still = np.zeros(80, np.float32)
    face = model.vertices_mm(still, e.astype(np.float32))
    mirrored = model.vertices_mm(still, (operator @ e).astype(np.float32))
    np.testing.assert_allclose(mirrored, face[model.mirror_vertex] * [-1, 1, 1], atol=0.02)
    assert mirrored_expression(replace(model, mirror_vertex=None)) is None


def test_few_faces_change_little(toy_model: FaceModel, errors: DetectorCalibration) -> None:
    sequences = [detected(toy_model, errors, seed, frames=20).sequence for seed in range(3)]
    few = calibrate(sequences, toy_model, OPTIONS, expression_prior=False, evidence=np.ones(68)).calibration
    assert (few.noise_ratio > 0.6).all(), "near the options' own, though most were seen to be 0.3"
    assert few.noise_ratio.max() / few.noise_ratio.min() < 2.0


def test_too_few_tracks_and_other_landmarks_are_refused(toy_model: FaceModel, errors: DetectorCalibration) -> None:
    sequences = [detected(toy_model, errors, seed, frames=20).sequence for seed in range(3)]
    with pytest.raises(ValueError, match="2 tracks are too few to calibrate from; at least 3 are needed"):
        calibrate(sequences[:2], toy_model, OPTIONS, expression_prior=True)
    with pytest.raises(ValueError, match=r"landmark_bias=0\.0: a bias is learnt as a multiple of it"):
        calibrate(sequences, toy_model, FitOptions(landmark_bias=0.0), expression_prior=True)
    shuffled = [mixed(sequence) for sequence in sequences]
    with pytest.raises(ValueError, match=r"only 0 of 3 tracks can be fitted; is their scheme 'toy68'\?"):
        calibrate(shuffled, toy_model, OPTIONS, expression_prior=True)


def mixed(sequence: LandmarkSequence) -> LandmarkSequence:
    rng = np.random.default_rng(0)
    points = rng.normal(0, 100, sequence.smoothed_px.shape).astype(np.float32)
    return replace(sequence, smoothed_px=points, observed_px=points)


def test_the_expected_moments_are_those_of_the_joint_gaussian() -> None:
    rng = np.random.default_rng(2)
    frames, points, n_identity, n_expression = 3, 5, 4, 2
    track = LinearTrack(
        observed_mm=rng.normal(size=(frames, points, 2)), weight=rng.uniform(0.2, 1, (frames, points)),
        camera=rng.normal(size=(frames, points, 2, 6)), expression=rng.normal(size=(frames, points, 2, n_expression)),
        identity=rng.normal(size=(frames, points, 2, n_identity)), rotation=rng.normal(size=(frames, 2, 3)),
    )  # fmt: skip
    corpus = Corpus(
        offset_mm=rng.normal(size=(points, 3)), bias_mm=rng.uniform(0.5, 2, points),
        noise_mm=rng.uniform(0.5, 2, points), expression_mean=rng.normal(size=n_expression),
        expression_covariance=np.array([[2.0, 0.3], [0.3, 0.5]]),
    )  # fmt: skip
    own, rows = 6 + n_expression, 2 * points
    at = frames * own
    jacobian = np.zeros((frames * rows, at + n_identity + 3 * points))
    prior = np.zeros((jacobian.shape[1], jacobian.shape[1]))
    pull = np.zeros(len(prior))
    for f in range(frames):
        here = slice(f * rows, (f + 1) * rows)
        jacobian[here, f * own : f * own + 6] = track.camera[f].reshape(rows, -1)
        jacobian[here, f * own + 6 : (f + 1) * own] = track.expression[f].reshape(rows, -1)
        jacobian[here, at : at + n_identity] = track.identity[f].reshape(rows, -1)
        jacobian[here, at + n_identity :] = np.kron(np.eye(points), track.rotation[f])
        prior[np.arange(6) + f * own, np.arange(6) + f * own] = CAMERA_SD**-2
        there = slice(f * own + 6, (f + 1) * own)
        prior[there, there] = np.linalg.inv(corpus.expression_covariance)
        pull[there] = prior[there, there] @ corpus.expression_mean
    shared = np.arange(at, len(prior))
    prior[shared, shared] = np.concatenate([np.ones(n_identity), np.repeat(corpus.bias_mm**-2, 3)])
    pull[at + n_identity :] = np.repeat(corpus.bias_mm**-2, 3) * corpus.offset_mm.ravel()
    weight = np.repeat((track.weight / corpus.noise_mm**2).ravel(), 2)
    covariance = np.linalg.inv(jacobian.T @ (weight[:, None] * jacobian) + prior)
    mean = covariance @ (jacobian.T @ (weight * track.observed_mm.ravel()) + pull)

    seen = moments(track, corpus)

    np.testing.assert_allclose(seen.displaced_mm.ravel(), mean[at + n_identity :], atol=1e-5)
    variance = covariance.diagonal()[at + n_identity :].reshape(points, 3).mean(1)
    np.testing.assert_allclose(seen.displaced_variance, variance, atol=1e-5)
    square = (track.observed_mm.ravel() - jacobian @ mean) ** 2 + ((jacobian @ covariance) * jacobian).sum(1)
    square = (track.weight[..., None] * square.reshape(frames, points, 2)).sum(0) / track.weight.sum(0)[:, None]
    np.testing.assert_allclose(seen.squared_residual, square, atol=1e-5)
    e = np.stack([mean[f * own + 6 : (f + 1) * own] for f in range(frames)])
    own_covariance = sum(covariance[f * own + 6 : (f + 1) * own, f * own + 6 : (f + 1) * own] for f in range(frames))
    np.testing.assert_allclose(seen.expression, e.mean(0), atol=1e-5)
    np.testing.assert_allclose(seen.expression_square, (e.T @ e + own_covariance) / frames, atol=1e-5)


def test_landmarks_count_less_the_further_they_lie_from_what_the_picture_shows() -> None:
    points = landmark_fields(load_face_model(), "mediapipe_dense")[0]
    ratio = evidence_ratio(points)
    features = np.r_[17:36, 48:68]
    np.testing.assert_allclose(ratio[features], 1.0)
    assert (ratio[:17] == FARTHEST).all(), "the jaw"
    np.testing.assert_allclose(ratio[[37, 38, 40, 41, 43, 44, 46, 47]], 0.6, err_msg="lids")
    np.testing.assert_allclose(ratio[[36, 39, 42, 45]], 1.5, err_msg="corners of the eyes")
    assert ratio.max() == FARTHEST
    # The same in any unit and place: it is about the face.
    np.testing.assert_allclose(evidence_ratio(points * 3.0 + 7.0), ratio, atol=1e-9)
    assert similarity(points, points, scaled=True)[0] == pytest.approx(1.0)


def test_the_table_names_the_parts_of_the_face(errors: DetectorCalibration) -> None:
    lines = calibration_table("toy68", errors)
    assert lines[0] == "calibration of toy68, from 1 faces:"
    assert [line.split()[0] for line in lines[2:]] == ["jaw", "brows", "nose", "eyes", "lips"]
