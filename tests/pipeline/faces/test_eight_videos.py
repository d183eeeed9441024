"""On real videos, which are not part of the project: FACEVID_VIDEOS names their folder."""

import csv
import functools
import os
from pathlib import Path

import numpy as np
import pytest

from facevid import assets
from pipeline.faces.errors import NoFaceError
from pipeline.faces.landmarks import open_detector
from pipeline.faces.options import FacesOptions
from pipeline.faces.regions import mapped
from pipeline.faces.register import INNER_POINTS, TEMPLATE68_PX, similarity
from pipeline.faces.tracks import track_faces

FOLDER = os.environ.get("FACEVID_VIDEOS")
pytestmark = pytest.mark.skipif(not FOLDER, reason="FACEVID_VIDEOS does not name the folder of the test videos")
OPTIONS = FacesOptions()
FACES = {
    "carphone_176x144.mp4": [],
    "face_480_25fps.mp4": [],
    "face_480_30fps.mp4": [],
    "face_512_25fps.mp4": [],
    "noface_face_960x540.mov": [96, 168],  # to a face, to black
    "single_face_640x360.mp4": [],
    "talk_512_30fps.mp4": [],
}


@pytest.fixture(scope="module")
def detector():
    return open_detector(OPTIONS, assets.fetch_landmark_networks())


@pytest.fixture(scope="module")
def tracked(detector):
    return functools.cache(lambda name: track_faces(Path(FOLDER) / name, detector, OPTIONS))


@pytest.fixture(scope="module")
def shown():
    with (Path(FOLDER) / "faces.csv").open(newline="") as file:
        return {row["file"]: range(int(row["first_frame"]), int(row["last_frame"]) + 1) for row in csv.DictReader(file)}


def jitter_within_the_face(points):
    """On the template, where neither the head nor the camera moves."""
    still = np.stack([mapped(p, similarity(p[INNER_POINTS], TEMPLATE68_PX[INNER_POINTS])) for p in points])
    return np.sqrt((np.diff(still[:, INNER_POINTS], 2, axis=0) ** 2).sum(axis=2).mean())


def opening(points):
    """Of the right eye: height over width."""
    heights = np.linalg.norm(points[:, [37, 38]] - points[:, [41, 40]], axis=2).mean(axis=1)
    return heights / np.linalg.norm(points[:, 36] - points[:, 39], axis=1)


@pytest.mark.parametrize("name", FACES)
def test_faces_are_tracked_where_they_show_and_cuts_are_where_they_are(name, tracked, shown):
    result = tracked(name)
    frames = {int(n) for track in result.tracks for n in track.frame}
    assert len(frames & set(shown[name])) >= 0.95 * len(shown[name])
    assert frames <= set(shown[name])
    assert [(one.begin, one.end) for one in result.transitions] == [(cut, cut) for cut in FACES[name]]
    [track] = result.tracks
    assert track.confidence.min() > 0.5
    assert jitter_within_the_face(track.smoothed_px) < 0.85 * jitter_within_the_face(track.observed_px)


def test_no_face_gives_no_track(tracked):
    with pytest.raises(NoFaceError, match=r"no_face_960x540\.mp4 shows no face"):
        tracked("no_face_960x540.mp4")


def test_eyes_close_and_open_and_blinks_keep_their_depth(tracked):
    [track] = tracked("talk_512_30fps.mp4").tracks
    seen, smooth = opening(track.observed_px), opening(track.smoothed_px)
    assert seen.min() < 0.1
    assert seen.max() > 0.35
    # Frames 48 to 62: closed, opened for four frames, closed.
    for eye in (seen, smooth):
        assert eye[48:52].min() < 0.15
        assert eye[53:56].max() > 0.25
        assert eye[57:60].min() < 0.12
    assert np.ptp(smooth[48:60]) > 0.85 * np.ptp(seen[48:60])
