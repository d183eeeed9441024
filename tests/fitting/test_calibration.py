"""A detector's errors in a face model: what a file may say of them, and what the fit makes of them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fitting.calibration import DetectorCalibration
from fitting.cc0.detectors import read_detectors, write_detectors
from fitting.face_model import FaceModel, load_face_model
from fitting.landmark_basis import landmark_basis, landmark_fields
from fitting.metrics import accuracy, mean_accuracy
from fitting.npz import npz_bytes
from fitting.options import FitOptions
from fitting.solver import fit_tracks
from fitting.synthetic import SyntheticOptions, SyntheticTrack, synthetic_track


def calibration(points: int = 68, **changed: object) -> DetectorCalibration:
    rng = np.random.default_rng(0)
    plain = {
        "offset_mm": rng.normal(0, 1, (points, 3)).astype(np.float32),
        "noise_ratio": rng.uniform(0.3, 2.0, points).astype(np.float32),
        "bias_ratio": rng.uniform(0.3, 2.0, points).astype(np.float32),
        "faces": 6,
    }
    return DetectorCalibration(**(plain | changed))


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as archive:
        return {name: archive[name] for name in archive.files}


def write(path: Path, arrays: dict[str, np.ndarray], **header_changes: object) -> None:
    header = json.loads(arrays["header"].tobytes()) | header_changes
    path.write_bytes(npz_bytes(header, {name: array for name, array in arrays.items() if name != "header"}))


@pytest.fixture
def calibrated(toy_model: FaceModel) -> FaceModel:
    return replace(toy_model, calibrations={"toy68": calibration()})


def test_a_calibration_survives_the_models_file(calibrated: FaceModel, tmp_path: Path) -> None:
    calibrated.save(tmp_path / "model.npz")
    read = load_face_model(tmp_path / "model.npz").calibrations["toy68"]
    for name in ("offset_mm", "noise_ratio", "bias_ratio", "faces"):
        np.testing.assert_array_equal(getattr(read, name), getattr(calibrated.calibrations["toy68"], name))


def test_a_model_without_calibrations_is_written_as_before(toy_model: FaceModel, tmp_path: Path) -> None:
    toy_model.save(tmp_path / "model.npz")
    assert "calibrated_schemes" not in json.loads(arrays_of(tmp_path / "model.npz")["header"].tobytes())
    assert load_face_model(tmp_path / "model.npz").calibrations == {}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("offset_mm", np.zeros((67, 3), np.float32), r"offset_mm has shape \(67, 3\).*expected \(68, 3\)"),
        ("offset_mm", np.full((68, 3), np.nan, np.float32), r"offset_mm of landmark 0 is .*more than 15 mm"),
        ("offset_mm", np.full((68, 3), 20, np.float32), "more than 15 mm"),
        ("noise_ratio", np.zeros(68, np.float32), "noise_ratio of landmark 0 is 0, expected 0.05 to 50"),
        ("noise_ratio", np.full(68, np.inf, np.float32), "noise_ratio of landmark 0 is inf"),
        ("bias_ratio", np.ones(68, np.int64), "bias_ratio has shape .* and type int64, expected .* of numbers"),
        ("faces", np.array(0), "faces=0 is below 1"),
        ("faces", None, "lacks 'calibration/toy68/faces', but says that toy68 is calibrated"),
    ],
)
def test_a_strangers_file_cannot_say_what_no_detector_does(
    calibrated: FaceModel, tmp_path: Path, name: str, value: np.ndarray | None, message: str
) -> None:
    calibrated.save(tmp_path / "model.npz")
    arrays = arrays_of(tmp_path / "model.npz") | ({} if value is None else {f"calibration/toy68/{name}": value})
    if value is None:
        del arrays[f"calibration/toy68/{name}"]
    write(tmp_path / "other.npz", arrays)
    with pytest.raises(ValueError, match=message):
        load_face_model(tmp_path / "other.npz")


@pytest.mark.parametrize("schemes", [["unknown"], 7, "toy68"])
def test_calibrated_schemes_must_be_schemes_of_the_model(
    calibrated: FaceModel, tmp_path: Path, schemes: object
) -> None:
    calibrated.save(tmp_path / "model.npz")
    write(tmp_path / "other.npz", arrays_of(tmp_path / "model.npz"), calibrated_schemes=schemes)
    with pytest.raises(ValueError, match=r"calibrated_schemes is .*, but its schemes are toy68"):
        load_face_model(tmp_path / "other.npz")


def test_the_basis_lies_where_the_detector_marks_and_is_as_noisy_as_it(
    toy_model: FaceModel, calibrated: FaceModel
) -> None:
    known = calibrated.calibrations["toy68"]
    np.testing.assert_allclose(
        landmark_fields(calibrated, "toy68")[0] - landmark_fields(toy_model, "toy68")[0], known.offset_mm, atol=1e-5
    )
    basis = landmark_basis(calibrated, "toy68", device="cpu")
    np.testing.assert_array_equal(basis.noise_ratio.numpy(), known.noise_ratio)
    np.testing.assert_array_equal(basis.bias_ratio.numpy(), known.bias_ratio)


def noisy_tracks(model: FaceModel, ratio: np.ndarray, count: int) -> list[SyntheticTrack]:
    """Synthetic tracks whose landmarks have the given noise, as multiples of 0.02 of the outer-eye distance."""
    tracks = []
    for seed in range(count):
        clean = synthetic_track(model, "toy68", SyntheticOptions(frames=90, noise_px=0.0), seed=seed)
        noise = np.random.default_rng(100 + seed).normal(size=clean.clean_px.shape) * ratio[:, None] * 0.02 * 89.0
        points = (clean.clean_px + noise).astype(np.float32)
        tracks.append(replace(clean, sequence=replace(clean.sequence, observed_px=points, smoothed_px=points)))
    return tracks


def test_a_fit_that_knows_each_landmarks_noise_is_nearer_to_the_truth_and_knows_how_near(toy_model: FaceModel) -> None:
    ratio = np.where(np.arange(68) % 3 == 0, 0.5, 3.0).astype(np.float32)
    truths = noisy_tracks(toy_model, ratio, 4)
    knows = replace(
        toy_model,
        calibrations={"toy68": calibration(offset_mm=np.zeros((68, 3), np.float32), noise_ratio=ratio)},
    )
    options = FitOptions(landmark_bias=0.0, expression_smoothness=16.0)

    def means(model: FaceModel) -> dict[str, float]:
        fits = fit_tracks([truth.sequence for truth in truths], model, options)
        return mean_accuracy([accuracy(model, truth, fit) for truth, fit in zip(truths, fits, strict=True)])

    plain, informed = means(toy_model), means(knows)
    assert informed["expression_mm"] < 0.75 * plain["expression_mm"]
    assert informed["identity_similarity_mm"] < 0.8 * plain["identity_similarity_mm"]
    assert 0.8 < informed["sigma_z"] < 1.25


def test_the_shipped_model_holds_the_detectors_errors_that_its_recipe_names() -> None:
    shipped = load_face_model()
    recipe = read_detectors()
    assert set(recipe) == set(shipped.calibrations) == {"mediapipe68", "mediapipe_dense"}
    for scheme, known in recipe.items():
        assert known.faces == shipped.calibrations[scheme].faces
        for name in ("offset_mm", "noise_ratio", "bias_ratio"):
            np.testing.assert_array_equal(getattr(known, name), getattr(shipped.calibrations[scheme], name))


def test_the_recipes_file_reads_back_as_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fitting.cc0.detectors.DETECTORS_PATH", tmp_path / "detectors.json")
    written = calibration()
    write_detectors({"toy68": written})
    read = read_detectors()["toy68"]
    np.testing.assert_allclose(read.offset_mm, written.offset_mm, atol=0.0051)
    np.testing.assert_allclose(read.noise_ratio, written.noise_ratio, atol=0.00051)
    text = (tmp_path / "detectors.json").read_text()
    write_detectors({"toy68": read})
    assert (tmp_path / "detectors.json").read_text() == text
