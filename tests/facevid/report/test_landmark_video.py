"""What a video tells the fit of landmarks found in it, on grey videos whose frames come at known times."""

import dataclasses
import subprocess
from pathlib import Path

import numpy as np
import pytest

from facevid import cli
from facevid.report import landmark_video as of_video
from facevid.report.landmark_video import frame_times, landmark_video, most_frames
from fitting.landmark_video import LandmarkVideo
from pipeline.faces.errors import VideoError
from pipeline.faces.probe import ffmpeg_program, probe

FRAMES = 15
TIMES_S = np.where(np.arange(FRAMES) < 5, np.arange(FRAMES), 4 * np.arange(FRAMES) - 15) / 30
"""From the sixth on, the frames come four times as slowly."""


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "grey.mp4"
    slower = "setpts=(if(lt(N\\,5)\\,N\\,4*N-15))/30/TB"
    subprocess.run(
        [ffmpeg_program(), "-loglevel", "error", "-f", "lavfi", "-i", f"color=c=gray:s=400x360:r=30:d={FRAMES / 30}",
         "-vf", slower, "-fps_mode", "vfr", "-pix_fmt", "yuv420p", str(path)],
        check=True,
    )  # fmt: skip
    return path


def test_times_are_those_of_the_frames_and_no_more_are_read_than_wanted(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_video, "_REPORT_EVERY_S", -1.0)
    said: list[str] = []
    np.testing.assert_allclose(frame_times(video, 1000, report=said.append), TIMES_S, atol=1e-3)
    assert len(said) == FRAMES
    assert said[0].startswith("times: 1 of 1000 frames of the video, ")
    np.testing.assert_allclose(frame_times(video, 7, report=said.append), TIMES_S[:7], atol=1e-3)
    assert len(said) == FRAMES + 7


def test_what_a_video_tells_goes_to_the_fit(video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, LandmarkVideo | None]] = []

    def note(*_: object, picture_px: object, video: LandmarkVideo | None, **__: object) -> None:
        asked.append((picture_px, video))
        raise ValueError("enough")

    monkeypatch.setattr("fitting.fit_file.fit_file", note)
    words = ["fit", str(tmp_path / "in.npz"), "--out", str(tmp_path / "fit.npz")]
    with_video = ["--video", str(video), "--overlay", str(tmp_path / "drawn.mp4")]
    for more in (with_video, [*with_video, "--picture-px", "640", "480", "--first-frame", "0"], []):
        assert cli.main([*words, *more]) == 2
    (first_size, first), (second_size, second), neither = asked
    assert (first_size, second_size, neither) == (None, (640, 480), (None, None))
    assert first is not None
    assert second is not None
    assert (first.path, first.picture_px, first.most_frames) == (video, (400, 360), most_frames(probe(video)))
    assert (first.first_frame, second.first_frame) == (None, 0)
    np.testing.assert_allclose(first.frame_times(FRAMES), TIMES_S, atol=1e-3)


def test_the_frames_that_a_video_may_have_are_not_fewer_than_it_has(video: Path) -> None:
    info = probe(video)
    most = most_frames(info)
    assert most is not None
    assert FRAMES < most < 3 * FRAMES + 30
    assert most_frames(dataclasses.replace(info, duration_s=None)) is None


def test_a_video_that_cannot_be_read_is_said_before_anything_is_fitted(tmp_path: Path) -> None:
    (tmp_path / "no.mp4").write_text("no video")
    with pytest.raises(VideoError, match=r"no\.mp4 is no video file"):
        landmark_video(tmp_path / "no.mp4", first_frame=None, report=lambda _: None)
