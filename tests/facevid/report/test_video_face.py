"""From a video to one fitted face: which face it is, and that it is the one that a build would make."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pygltflib
import pytest

from facevid import cli
from facevid.report import video_face
from fitting.face_model import load_face_model
from fitting.options import FitOptions
from fitting.saved_fit import read_fit
from fitting.solver import fit_tracks
from fitting.synthetic import SyntheticOptions, synthetic_track
from fitting.tracks import LandmarkSequence
from pipeline.faces.errors import NoFaceError
from pipeline.faces.landmark_track import LandmarkTrack
from pipeline.faces.options import FacesOptions
from pipeline.faces.probe import VideoInfo

FRAMES, FIRST = 8, 5
SIZE_PX = (640, 480)


def seen_face(*, seed: int, side_px: float, first: int = FIRST) -> LandmarkTrack:
    """What the faces stage makes of a face: noisy landmarks, smoothed ones, one frame missed."""
    truth = synthetic_track(load_face_model(), "mediapipe68", SyntheticOptions(frames=FRAMES), seed=seed)
    points = truth.sequence.observed_px
    confidence = np.full(FRAMES, 0.9, np.float32)
    confidence[3] = 0.0
    nothing = np.zeros(FRAMES, np.float32)
    return LandmarkTrack(
        scheme="mediapipe68",
        frame=np.arange(first, first + FRAMES, dtype=np.int32),
        pts_s=np.arange(first, first + FRAMES) / 25.0,
        box_px=np.tile(np.array([10, 20, 10 + side_px, 20 + side_px], np.float32), (FRAMES, 1)),
        observed_px=points,
        smoothed_px=(points + truth.clean_px.astype(np.float32)) / 2,
        confidence=confidence,
        sharpness=nothing, brightness=nothing, in_frame=nothing, similarity=nothing, jump=nothing, occlusion=nothing,
    )  # fmt: skip


SMALL, LARGE = seen_face(seed=1, side_px=40), seen_face(seed=2, side_px=90)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[FacesOptions]:
    """The options with which faces were looked for; every video shows a small face and a large one."""
    asked: list[FacesOptions] = []

    def track_faces(
        path: Path, detector: object, options: FacesOptions, *, on_frame: Callable[[float], None]
    ) -> SimpleNamespace:
        asked.append(options)
        for number in range(FRAMES):
            on_frame(number / 25)
        if "empty" in path.name:
            raise NoFaceError(f"{path.name} shows no face in any of its {FRAMES} frames")
        return SimpleNamespace(tracks=(SMALL, LARGE))

    info = VideoInfo(
        width_px=SIZE_PX[0], height_px=SIZE_PX[1], fps=25.0, duration_s=FRAMES / 25, codec="h264", rotation_deg=0.0
    )
    monkeypatch.setattr(video_face, "probe", lambda _: info)
    monkeypatch.setattr(video_face, "open_detector", lambda *_: None)
    monkeypatch.setattr(video_face.assets, "fetch_landmark_networks", lambda: None)
    monkeypatch.setattr(video_face, "track_faces", track_faces)
    return asked


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip.mp4").write_bytes(b"never read: its faces are given")
    return tmp_path / "clip.mp4"


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize(("words", "face"), [((), LARGE), (("--track", "0"), SMALL)])
def test_the_largest_face_of_a_video_is_fitted_as_a_build_fits_it_or_the_one_that_is_asked_for(
    words: tuple[str, ...], face: LandmarkTrack, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, mesh = tmp_path / "fit.npz", tmp_path / "face.glb"
    assert cli.main(["fit", str(clip), "--out", str(out), "--gltf", str(mesh), *words]) == 0
    shown = capsys.readouterr()
    assert shown.out.split() == [str(out), str(mesh)]
    assert "2 face tracks: 0 (0.2 to 0.5 s, 40 px), 1 (0.2 to 0.5 s, 90 px)" in shown.err
    assert ("another one by --track" in shown.err) == (not words)
    as_in_a_build = LandmarkSequence(
        scheme=face.scheme, observed_px=face.observed_px, smoothed_px=face.smoothed_px,
        weight=np.broadcast_to(face.confidence[:, None], face.observed_px.shape[:2]), pts_s=face.pts_s,
        picture_px=SIZE_PX,
    )  # fmt: skip
    wanted = fit_tracks([as_in_a_build], load_face_model(), FitOptions())[0]
    fit = read_fit(out)
    np.testing.assert_array_equal(fit.track.identity, wanted.identity)
    np.testing.assert_array_equal(fit.track.expression, wanted.expression)
    np.testing.assert_array_equal(fit.track.fitted_px, wanted.fitted_px)
    assert (fit.frame.tolist(), fit.first_frame) == (face.frame.tolist(), 0)
    np.testing.assert_array_equal(fit.pts_s, face.pts_s)
    assert len(pygltflib.GLTF2().load(str(mesh)).animations) == 1


def test_the_scheme_of_a_video_is_one_that_can_be_found(
    asked: list[FacesOptions], clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["fit", str(clip), "--out", str(tmp_path / "fit.npz"), "--scheme"]
    for scheme in ("ibug68", "wflw98"):
        assert cli.main([*words, scheme]) == 2
        assert f"scheme='{scheme}': in a video mediapipe68 and mediapipe_dense are found" in capsys.readouterr().err
    assert not asked
    assert cli.main([*words, "mediapipe_dense", "--track", "2"]) == 2
    assert [options.scheme for options in asked] == ["mediapipe_dense"]
    assert "track=2: clip.mp4 has the face tracks 0 (" in capsys.readouterr().err


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize(
    ("source", "words", "complaint"),
    [
        ("clip.mp4", ("--fps", "25"), "fps=25.0 goes with a file of landmarks (.npz, .csv), and "),
        ("clip.mp4", ("--first-frame", "0"), "first_frame=0 goes with a file of landmarks"),
        ("clip.mp4", ("--normalised",), "normalised=True goes with a file of landmarks"),
        ("clip.mp4", ("--video", "clip.mp4", "--overlay", "o.mp4"), "video=clip.mp4 goes with a file of landmarks"),
        ("clip.mp4", ("--overlay", "clip.mp4"), "'clip.mp4' is the video file itself"),
        ("clip.mp4", ("--obj", "face.obj", "--frame", "4"), "frame=4 is not among the frames 5 to 12"),
        ("none.mp4", (), "source='none.mp4': there is no such file"),
        ("folder", (), "source='folder': this is a folder, and a fit takes one video"),
        ("photo.mp4", (), "source='photo.mp4' is an image, and a fit takes a video or a file of landmarks; of images"),
        ("empty.mp4", (), "empty.mp4 shows no face in any of its 8 frames"),
        ("landmarks.npz", ("--track", "1"), "track=1 is one of a video; landmarks.npz holds one face"),
    ],
)
def test_what_does_not_go_with_a_video_is_one_line_and_writes_nothing(
    source: str, words: tuple[str, ...], complaint: str, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty.mp4").write_bytes(b"")
    Path("folder").mkdir()
    Path("photo.mp4").write_bytes(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    assert cli.main(["fit", source, "--out", "fit.npz", *words]) == 2
    assert complaint in capsys.readouterr().err.splitlines()[-1]
    assert sorted(path.name for path in clip.parent.iterdir()) == ["clip.mp4", "empty.mp4", "folder", "photo.mp4"]


@pytest.mark.usefixtures("asked")
def test_looking_for_faces_says_how_far_it_is(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_face, "_REPORT_EVERY_S", -1.0)
    told: list[str] = []
    video_face.face_of_video(clip, scheme=None, track=None, report=told.append)
    assert len(told) == FRAMES + 1
    assert told[0].startswith("faces: 1 of about 8 frames, ")
    assert told[-2].endswith(" about 0 s left")
