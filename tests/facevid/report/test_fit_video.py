"""The drawing of a fit over its video, on a synthetic face in a grey video."""

import dataclasses
import subprocess
from pathlib import Path

import numpy as np
import pytest

from facevid.report.fit_video import write_fit_video
from fitting.face_model import FaceModel, load_face_model
from fitting.fit_file import fit_file
from fitting.saved_fit import SavedFit
from fitting.synthetic import SyntheticOptions, synthetic_track
from pipeline.faces.probe import ffmpeg_program
from pipeline.faces.video import open_video

FRAMES = 12
FIRST = 3
"""The landmarks begin with this frame of the video."""


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return load_face_model()


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "grey.mp4"
    source = f"color=c=gray:s=400x360:r=30:d={(FRAMES + FIRST) / 30}"
    subprocess.run(
        [ffmpeg_program(), "-loglevel", "error", "-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p", str(path)],
        check=True,
    )
    return path


@pytest.fixture(scope="module")
def fit(model: FaceModel, video: Path) -> SavedFit:
    truth = synthetic_track(model, "ibug68", SyntheticOptions(frames=FRAMES, yaw_deg=5.0), seed=2)
    landmarks = video.with_name("landmarks.npz")
    np.savez(landmarks, landmarks=truth.sequence.observed_px, frame=np.arange(FIRST, FIRST + FRAMES))
    return fit_file(landmarks, video.with_name("fit.npz"), scheme="ibug68")


def test_landmarks_are_drawn_on_the_left_and_the_mesh_on_the_right_of_the_frames_that_were_fitted(
    model: FaceModel, video: Path, fit: SavedFit, tmp_path: Path
) -> None:
    out = tmp_path / "drawn.mp4"
    write_fit_video(video, fit, model, out, report=lambda _: None)
    with open_video(out) as drawn:
        pictures = [frame.rgb.copy() for frame in drawn]
    assert len(pictures) == FRAMES + FIRST
    assert pictures[0].shape == (360, 800, 3)
    first = int(fit.frame[0])
    grey = pictures[0][0, 0].astype(int)
    for number, picture in enumerate(pictures):
        changed = (np.abs(picture.astype(int) - grey).max(axis=-1) > 40).astype(float)
        left, right = changed[:, :400].mean(), changed[:, 400:].mean()
        if number < first:
            assert left == right == 0
        else:
            assert 0 < left < 0.5 * right  # lines on one side, a surface on the other
    index = 5
    x, y = fit.track.fitted_px[index, 30].round().astype(int)
    assert np.abs(pictures[first + index][y, x + 400].astype(int) - grey).max() > 20


def test_a_video_without_the_fits_frames_is_refused(
    model: FaceModel, video: Path, fit: SavedFit, tmp_path: Path
) -> None:
    other = dataclasses.replace(fit, frame=fit.frame + 1000)
    with pytest.raises(ValueError, match="none of the fit's frames 100"):
        write_fit_video(video, other, model, tmp_path / "drawn.mp4", report=lambda _: None)
    assert not list(tmp_path.iterdir())


def test_a_drawing_over_its_own_video_is_refused(model: FaceModel, video: Path, fit: SavedFit) -> None:
    with pytest.raises(ValueError, match="would overwrite"):
        write_fit_video(video, fit, model, video, report=lambda _: None)
