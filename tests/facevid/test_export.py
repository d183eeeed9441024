"""One face out of a dataset: what is exported is the fit that the tables hold, and its landmarks give it again."""

import csv
import dataclasses
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from facevid import cli, storage
from facevid.dataset import open_dataset
from facevid.description import DatasetDescription
from facevid.schema import frames_schema, tracks_schema
from facevid.shards import write_shard
from fitting.arkit import arkit_weights
from fitting.face_model import FaceModel, load_face_model
from fitting.options import FitOptions
from fitting.saved_fit import read_fit
from fitting.solver import fit_tracks
from fitting.synthetic import SyntheticOptions, synthetic_track
from fitting.tracks import FittedTrack, LandmarkSequence
from pipeline.faces.probe import ffmpeg_program
from pipeline.faces.video import open_video

FRAMES, LATE, FPS = 8, 5, 25
"""The dataset is of a part of the video: its frame 0 is frame `LATE` there."""
SIZE_PX = (400, 360)


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return load_face_model()


@pytest.fixture(scope="module")
def sequence(model: FaceModel) -> LandmarkSequence:
    """Noisy landmarks and smoothed ones, one frame missed."""
    truth = synthetic_track(model, "mediapipe68", SyntheticOptions(frames=FRAMES, yaw_deg=5.0), seed=4)
    seen_px = truth.sequence.observed_px
    weight = np.full(seen_px.shape[:2], 0.9, np.float32)
    weight[3] = 0.0
    return LandmarkSequence(
        scheme="mediapipe68", observed_px=seen_px, smoothed_px=(seen_px + truth.clean_px.astype(np.float32)) / 2,
        weight=weight, pts_s=np.arange(LATE, LATE + FRAMES) / FPS, picture_px=SIZE_PX,
    )  # fmt: skip


@pytest.fixture(scope="module")
def fitted(model: FaceModel, sequence: LandmarkSequence) -> FittedTrack:
    return fit_tracks([sequence], model, FitOptions())[0]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "grey.mp4"
    source = f"color=c=gray:s={SIZE_PX[0]}x{SIZE_PX[1]}:r={FPS}:d={(2 * LATE + FRAMES) / FPS}"
    subprocess.run(
        [ffmpeg_program(), "-loglevel", "error", "-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p", str(path)],
        check=True,
    )
    return path


@pytest.fixture(scope="module")
def dataset(
    model: FaceModel, sequence: LandmarkSequence, fitted: FittedTrack, video: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:  # fmt: skip
    """Of video `a` the fitted track as number 1, its second half marked; others that nobody asks for."""
    root = tmp_path_factory.mktemp("data") / "out"
    keys = [("a", 0, 4, True), ("a", 1, FRAMES, True), ("a", 2, FRAMES, False), ("b", 0, 4, True)]
    frames = [
        _frame_row(sequence, fitted, index) | {"video_id": video_id, "track": track, "kept": kept and index < 4}
        for video_id, track, count, kept in keys
        for index in range(count)
    ]
    row = _track_row(fitted, video)
    tracks = [
        row | {"video_id": video_id, "track": track, "frames": count, "kept": kept}
        for video_id, track, count, kept in keys
    ]
    tables = {
        "frames": pa.Table.from_pylist(frames, frames_schema(points=68, n_expression=model.n_expression)),
        "tracks": pa.Table.from_pylist(tracks, tracks_schema(n_identity=model.n_identity)),
    }
    shards = tuple(write_shard(str(root), name, 0, 1, table) for name, table in tables.items())
    description = DatasetDescription(
        program_version="0", config={"fit": dataclasses.asdict(FitOptions())}, config_hash="c" * 64,
        face_model=model.name, face_model_sha256=model.save(root / "face_model.npz"), face_model_licence=model.licence,
        n_identity=model.n_identity, n_expression=model.n_expression, detector="mediapipe", detector_sha256="d" * 64,
        landmark_scheme="mediapipe68", points=68, funnel=(), shards=shards,
    )  # fmt: skip
    (root / "facevid.json").write_text(description.to_json(), encoding="utf-8")
    return root


def _frame_row(sequence: LandmarkSequence, fit: FittedTrack, index: int) -> dict[str, Any]:
    return {
        "frame": index, "pts_s": float(sequence.pts_s[index]), "box_px": [0, 0, 9, 9],
        "landmarks_px": sequence.observed_px[index].ravel().tolist(),
        "smoothed_px": sequence.smoothed_px[index].ravel().tolist(),
        "landmark_confidence": float(sequence.weight[index, 0]),
        "scale_px_per_mm": float(fit.scale_px_per_mm[index]), "rotation_wxyz": fit.rotation_wxyz[index].tolist(),
        "translation_px": fit.translation_px[index].tolist(), "expression": fit.expression[index].tolist(),
        "expression_sigma": fit.expression_sigma[index].tolist(),
        "reprojection_error": float(fit.reprojection_error[index]), "face_size_px": 90.0, "sharpness": 1.0,
        "brightness": 0.5, "yaw_deg": 0.0, "pitch_deg": 0.0, "roll_deg": 0.0, "in_frame": 1.0, "occlusion": 0.1,
        "motion_per_s": 0.1, "jitter": 0.001,
    }  # fmt: skip


def _track_row(fit: FittedTrack, video: Path) -> dict[str, Any]:
    return {
        "split": "train", "first_frame": 0, "last_frame": FRAMES - 1, "start_s": LATE / FPS, "end_s": 0.5,
        "identity": fit.identity.tolist(), "identity_norm": 1.0, "fit_status": fit.status,
        "fit_iterations": fit.iterations, "reprojection_error": 0.01, "holdout_error": fit.holdout_error,
        "jitter": 0.001, "appearance_similarity": 0.9, "appearance_jump": 0.1, "url": str(video),
        "source_sha256": storage.sha256(video), "width_px": SIZE_PX[0], "height_px": SIZE_PX[1], "fps": 25.0,
        "codec": "h264", "landmark_scheme": "mediapipe68", "detector": "mediapipe", "detector_sha256": "d" * 64,
        "face_model": "facevid-cc0", "face_model_sha256": "f" * 64,
    }  # fmt: skip


def test_the_exported_landmarks_of_a_track_fitted_again_give_the_exported_fit(
    dataset: Path, fitted: FittedTrack, sequence: LandmarkSequence, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    first, landmarks, again = (tmp_path / name for name in ("fit.npz", "landmarks.npz", "again.npz"))
    words = ["--video-id", "a", "--out", str(first), "--landmarks", str(landmarks)]
    assert cli.main(["export", str(dataset), *words]) == 0
    assert capsys.readouterr().out.split() == [str(first), str(landmarks)]
    assert cli.main(["fit", str(landmarks), "--out", str(again)]) == 0
    exported, refitted = read_fit(first), read_fit(again)
    for name in ("identity", "expression", "expression_sigma", "scale_px_per_mm", "rotation_wxyz", "translation_px",
                 "reprojection_error", "lens"):  # fmt: skip
        np.testing.assert_array_equal(getattr(exported.track, name), getattr(refitted.track, name))
        np.testing.assert_array_equal(getattr(exported.track, name), getattr(fitted, name))
    np.testing.assert_allclose(exported.track.fitted_px, fitted.fitted_px, atol=1e-3)  # pixels
    assert exported.frame.tolist() == refitted.frame.tolist() == list(range(FRAMES))
    np.testing.assert_array_equal(exported.pts_s, sequence.pts_s)
    assert exported.options == dataclasses.asdict(FitOptions())
    with np.load(landmarks) as plain:
        assert plain["picture_px"].tolist() == list(SIZE_PX)


def test_meshes_and_weights_of_a_track_are_those_of_its_coefficients(
    dataset: Path, model: FaceModel, fitted: FittedTrack, tmp_path: Path
) -> None:
    weights, mesh, animated = (tmp_path / name for name in ("w.csv", "face.obj", "face.glb"))
    words = ["--arkit", str(weights), "--obj", str(mesh), "--frame", "6", "--gltf", str(animated)]
    assert cli.main(["export", str(dataset), "--video-id", "a", "--track", "1", *words]) == 0
    rows = list(csv.DictReader(weights.read_text("utf-8").splitlines()))
    wanted = arkit_weights(model, fitted.expression)
    assert model.arkit is not None
    np.testing.assert_allclose([float(rows[6][name]) for name in model.arkit.names], wanted[6], atol=1e-5)
    lines = [line.split()[1:] for line in mesh.read_text("utf-8").splitlines() if line.startswith("v ")]
    vertices_mm = model.vertices_mm(fitted.identity, fitted.expression[6])
    np.testing.assert_allclose(np.array(lines, np.float32), vertices_mm, atol=1e-4)
    assert animated.stat().st_size > 0


def test_a_drawing_of_a_track_shows_its_part_of_the_video_with_the_face_in_every_frame(
    dataset: Path, fitted: FittedTrack, tmp_path: Path
) -> None:
    drawing = tmp_path / "drawn.mp4"
    assert cli.main(["export", str(dataset), "--video-id", "a", "--overlay", str(drawing)]) == 0
    with open_video(drawing) as drawn:
        pictures = [frame.rgb.astype(int) for frame in drawn]
    assert len(pictures) == FRAMES
    grey = pictures[0][0, 0]
    for index, picture in enumerate(pictures):
        x, y = fitted.fitted_px[index, 30].round().astype(int)  # the tip of the nose
        assert np.abs(picture[y, x + SIZE_PX[0]] - grey).max() > 20


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "nothing to write: name a file with --gltf"),
        (("--gltf", "f.glb"), "has 2 videos with faces: name one with --video-id (a, b)"),
        (("--video-id", "A", "--gltf", "f.glb"), "video_id='A' has no face track in "),
        (("--video-id", "../x", "--gltf", "f.glb"), "; there are a, b"),
        (("--video-id", "a", "--track", "7", "--gltf", "f.glb"), "track=7 of video_id='a': there are 0, 1, 2"),
        (("--video-id", "a", "--gltf", "f.obj"), "must end in .glb"),
        (("--video-id", "a", "--obj", "f.obj", "--frame", "8"), "frame=8 is not in the fit, whose 8 frames"),
        (("--video-id", "b", "--landmarks", "f.npz", "--out", "f.npz"), "'f.npz' is the out file itself"),
    ],
)
def test_what_cannot_be_exported_is_told_and_nothing_is_written(
    words: tuple[str, ...], complaint: str, dataset: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["export", str(dataset), *words]) == 2
    assert complaint in capsys.readouterr().err
    assert not list(here.iterdir())


def test_a_track_that_is_not_there_is_named(dataset: Path) -> None:
    with pytest.raises(ValueError, match=r"track=9 of video_id='a' is not in "):
        open_dataset(dataset).track("a", 9)
