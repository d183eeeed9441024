"""The drawing of a fit over its video, on a synthetic face in a grey video."""

import dataclasses
import subprocess
from pathlib import Path

import numpy as np
import pytest

from facevid import cli
from facevid.report import fit_video
from facevid.report.fit_video import write_fit_video
from fitting.face_model import FaceModel, load_face_model
from fitting.fit_file import fit_file
from fitting.saved_fit import SavedFit, read_fit
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


def test_how_long_drawing_takes_is_told_once_a_frame_was_drawn(
    model: FaceModel, video: Path, fit: SavedFit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_video, "_REPORT_EVERY_S", -1.0)
    said: list[str] = []
    write_fit_video(video, fit, model, tmp_path / "drawn.mp4", report=said.append)
    assert said[0] == f"drawing: 0 of {FRAMES} frames; 1 frames of the video"
    assert " s left" not in "".join(said[:FIRST])
    assert all(" s left" in line for line in said[FIRST:])


def test_a_video_without_the_fits_frames_is_refused(
    model: FaceModel, video: Path, fit: SavedFit, tmp_path: Path
) -> None:
    other = dataclasses.replace(fit, frame=fit.frame + 1000)
    with pytest.raises(ValueError, match=r"none of the fit's frames 1003 to 1014: it has the frames 0 to 14"):
        write_fit_video(video, other, model, tmp_path / "drawn.mp4", report=lambda _: None)
    assert not list(tmp_path.iterdir())


def test_a_video_whose_frames_count_from_1_is_drawn_from_there(
    model: FaceModel, video: Path, fit: SavedFit, tmp_path: Path
) -> None:
    told: list[str] = []
    counted_from_1 = dataclasses.replace(fit, frame=fit.frame + 1)
    write_fit_video(video, fit, model, tmp_path / "from_0.mp4", report=told.append)
    write_fit_video(video, counted_from_1, model, tmp_path / "from_1.mp4", first_frame=1, report=told.append)
    assert (tmp_path / "from_0.mp4").read_bytes() == (tmp_path / "from_1.mp4").read_bytes()
    assert not told
    says_so = dataclasses.replace(counted_from_1, first_frame=1)
    write_fit_video(video, says_so, model, tmp_path / "of_fit.mp4", report=told.append)
    assert (tmp_path / "of_fit.mp4").read_bytes() == (tmp_path / "from_1.mp4").read_bytes()
    assert not told
    write_fit_video(video, counted_from_1, model, tmp_path / "late.mp4", report=told.append)
    assert told[-1].startswith("1 of the fit's 12 frames are not among the video's, which are 0 to 14; ")


def test_landmarks_of_another_video_are_refused_before_they_are_fitted(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fitting.fit_file.fit_tracks", lambda *_, **__: pytest.fail("they were fitted"))
    np.savez(tmp_path / "in.npz", landmarks=np.zeros((2, 68, 2)), frame=[1000, 1001], scheme="ibug68")
    words = ["fit", str(tmp_path / "in.npz"), "--out", str(tmp_path / "fit.npz"), "--video", str(video)]
    assert cli.main([*words, "--overlay", str(tmp_path / "drawn.mp4")]) == 2
    assert "has the frames 1000 to 1001, but the video those from 0 to " in capsys.readouterr().err
    assert cli.main([*words, "--overlay", str(tmp_path / "drawn.mp4"), "--first-frame", "-9"]) == 2
    assert "but the video those from -9 to " in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["in.npz"]


def test_frames_of_openface_keep_their_numbers_and_are_found_in_the_video(
    model: FaceModel, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = synthetic_track(model, "ibug68", SyntheticOptions(frames=FRAMES, yaw_deg=5.0), seed=2)
    names = ["frame", "timestamp", "confidence", "success"]
    names += [f"{axis}_{point}" for axis in "xy" for point in range(68)]
    rows = [
        [FIRST + 1 + number, (FIRST + number) / 30, 1, 1, *points.T.ravel().tolist()]
        for number, points in enumerate(truth.sequence.observed_px)
    ]
    table = tmp_path / "openface.csv"
    table.write_text("\n".join(",".join(map(str, row)) for row in [names, *rows]) + "\n", encoding="utf-8")
    words = ["fit", str(table), "--out", str(tmp_path / "fit.npz"), "--obj", str(tmp_path / "face.obj"), "--frame"]
    of_video = ["--video", str(video), "--overlay", str(tmp_path / "drawn.mp4")]
    assert cli.main([*words, str(FIRST), *of_video]) == 2
    assert f"whose {FRAMES} frames lie between {FIRST + 1} and {FIRST + FRAMES}" in capsys.readouterr().err
    assert cli.main([*words, str(FIRST + FRAMES), *of_video]) == 0
    assert "not among the video's" not in capsys.readouterr().err
    saved = read_fit(tmp_path / "fit.npz")
    assert (saved.first_frame, saved.frame.tolist()) == (1, list(range(FIRST + 1, FIRST + 1 + FRAMES)))
    with open_video(tmp_path / "drawn.mp4") as drawn:
        left = [frame.rgb[:, :400].astype(int) for frame in drawn]
    marked = [bool((np.abs(picture - left[0][0, 0]).max(axis=-1) > 40).any()) for picture in left]
    assert marked == [False] * FIRST + [True] * FRAMES


def test_a_drawing_over_its_own_video_is_refused(model: FaceModel, video: Path, fit: SavedFit) -> None:
    with pytest.raises(ValueError, match="would overwrite"):
        write_fit_video(video, fit, model, video, report=lambda _: None)
