"""What the stages make of one clip. Results in the store are found by stage version: new results, new version."""

import subprocess
from pathlib import Path

import numpy as np
from imageio_ffmpeg import get_ffmpeg_exe
from synthetic import MODEL

from facevid import assets
from fitting.options import FitOptions
from fitting.solver import fit_tracks
from fitting.tracks import LandmarkSequence
from pipeline import job
from pipeline.faces.landmarks import open_detector
from pipeline.faces.options import FacesOptions
from pipeline.faces.tracks import track_faces

# Written out, as a new default is a new key by itself.
FACES_OPTIONS = FacesOptions(
    detector="mediapipe", scheme="mediapipe68", margin=0.25, max_misses=5, min_track_s=0.5, min_face_px=28.0,
    min_confidence=0.5,
)  # fmt: skip
FIT_OPTIONS = FitOptions(
    landmark_noise=0.02, landmark_bias=0.02, expression_smoothness=16.0, keyframes=64, identity_iterations=8,
    frame_iterations=6, robust=True,
)  # fmt: skip
# The stage's version, and what it made then; CPUs differ in the last digits, far below the tolerances.
FACES = (8, [
    292.84, 202.37, 266.02, 244.32, 294.34, 235.41, 295.2, 255.22, 292.97, 202.19, 265.96, 244.22, 294.42, 235.27,
    295.25, 255.15, 211.49, 98.52, 365.78, 289.18,
])  # fmt: skip
FIT = (9, [-0.202, -0.727, -0.969, 1.039, -0.487, -0.41, 0.177, -0.63, 0.39, 0.72, 1.104, 3.362, 0.362])


def test_a_stage_that_makes_something_else_has_a_new_version(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    source = str(assets.fetch("single_face.mp4"))
    cut = ["-nostdin", "-v", "error", "-i", source, "-an", "-frames:v", "16", "-c", "copy", str(clip)]
    subprocess.run([get_ffmpeg_exe(), *cut], check=True)
    detector = open_detector(FACES_OPTIONS, assets.fetch_landmark_networks())

    (track,) = track_faces(clip, detector, FACES_OPTIONS).tracks

    nose_and_mouth = [30, 48, 51, 57]
    faces = np.concatenate([
        track.observed_px[8, nose_and_mouth].ravel(), track.smoothed_px[8, nose_and_mouth].ravel(), track.box_px[8],
    ])  # fmt: skip
    changed = "{0} makes something else than before: raise {0}_VERSION in pipeline/job.py, and put version and {1} here"
    seen = [round(float(number), 2) for number in faces]
    assert FACES[0] == job.FACES_VERSION, changed.format("FACES", seen)
    np.testing.assert_allclose(faces, FACES[1], atol=0.05, err_msg=changed.format("FACES", seen))

    (fit,) = fit_tracks([
        LandmarkSequence(
            scheme=track.scheme, observed_px=track.observed_px, smoothed_px=track.smoothed_px, pts_s=track.pts_s,
            weight=np.repeat(track.confidence[:, None], track.observed_px.shape[1], axis=1),
        )
    ], MODEL, FIT_OPTIONS)  # fmt: skip

    fitted = np.concatenate([
        fit.identity[:4], fit.expression[8, :4], fit.expression_sigma[8, :2], fit.scale_px_per_mm[8:9],
        np.linalg.norm(fit.identity, keepdims=True), 100 * fit.reprojection_error[8:9],
    ])  # fmt: skip
    seen = [round(float(number), 3) for number in fitted]
    assert FIT[0] == job.FIT_VERSION, changed.format("FIT", seen)
    np.testing.assert_allclose(fitted, FIT[1], atol=0.02, err_msg=changed.format("FIT", seen))
