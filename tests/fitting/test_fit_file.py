"""From a landmarks file to a fit and on to ARKit, OBJ and glTF, on a face whose truth is known."""

import csv
import dataclasses
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pygltflib
import pytest
from jaxtyping import Float64
from scipy.spatial.transform import Rotation

from fitting.arkit import arkit_weights
from fitting.face_model import FaceModel, load_face_model
from fitting.fit_file import fit_file
from fitting.gltf import write_gltf
from fitting.landmark_video import LandmarkVideo
from fitting.mediapipe_mesh import mesh_ids
from fitting.mesh_export import write_arkit_csv, write_obj
from fitting.metrics import accuracy
from fitting.options import FitOptions
from fitting.saved_fit import SavedFit, read_fit, write_fit
from fitting.solver import fit_tracks
from fitting.synthetic import SyntheticOptions, SyntheticTrack, synthetic_track

ROOT = Path(__file__).parents[2]
FRAMES = 40
ARKIT_PX = 4.0
"""How far a landmark of the face with weights in [0, 1] may lie from the fitted one, at 89 px between the eyes."""


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return load_face_model()


@pytest.fixture(scope="module")
def truth(model: FaceModel) -> SyntheticTrack:
    return synthetic_track(model, "ibug68", SyntheticOptions(frames=FRAMES, missing_share=0.05), seed=4)


@pytest.fixture(scope="module")
def landmarks(truth: SyntheticTrack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV whose frames count from 100."""
    path = tmp_path_factory.mktemp("landmarks") / "face.csv"
    names = ",".join(f"x{p},y{p}" for p in range(68))
    rows = [
        f"{100 + frame}," + ",".join("" if math.isnan(v) else repr(v) for v in row.ravel().tolist())
        for frame, row in enumerate(truth.sequence.observed_px)
    ]
    path.write_text("\n".join([f"frame,{names}", *rows]))
    return path


@pytest.fixture(scope="module")
def fit(landmarks: Path) -> SavedFit:
    return fit_file(landmarks, landmarks.with_name("fit.npz"), scheme="ibug68")


def test_a_file_of_landmarks_becomes_the_face_behind_them(
    model: FaceModel, truth: SyntheticTrack, fit: SavedFit, landmarks: Path
) -> None:
    seen = accuracy(model, truth, fit.track)
    nobody = dataclasses.replace(
        fit.track, identity=np.zeros_like(fit.track.identity), expression=np.zeros_like(fit.track.expression)
    )
    mean_face = accuracy(model, truth, nobody)
    assert seen.identity_similarity_mm < 0.7 * mean_face.identity_similarity_mm
    assert seen.expression_mm < 0.6 * mean_face.expression_mm
    assert seen.nme_percent < 0.8
    saved = read_fit(landmarks.with_name("fit.npz"))
    np.testing.assert_array_equal(saved.track.expression, fit.track.expression)
    assert (saved.scheme, saved.face_model, saved.face_model_sha256) == ("ibug68", model.name, model.sha256)
    np.testing.assert_array_equal(saved.frame, np.arange(100, 100 + FRAMES))


@pytest.mark.parametrize("scheme", ["ibug68", "mediapipe68"])
def test_the_formula_of_the_camera_gives_the_fitted_landmarks(model: FaceModel, scheme: str) -> None:
    sequence = synthetic_track(model, scheme, SyntheticOptions(frames=4), seed=6).sequence
    track = fit_tracks([sequence], model, FitOptions())[0]
    # As the README has it: px = scale * (R @ head_mm)[:2] + translation.
    head_mm = model.landmarks_mm(scheme, track.identity, track.expression)
    turn = Rotation.from_quat(track.rotation_wxyz, scalar_first=True).as_matrix()
    seen = np.einsum("fij,fpj->fpi", turn, head_mm)[..., :2] * track.scale_px_per_mm[:, None, None]
    np.testing.assert_allclose(seen + track.translation_px[:, None], track.fitted_px, atol=0.01)
    corner = model.embedding(scheme).vertex_ids[36, model.embedding(scheme).weights[36].argmax()]
    vertices_mm = model.vertices_mm(track.identity, track.expression)
    assert np.linalg.norm(vertices_mm[:, corner] - head_mm[:, 36], axis=1).max() < 8.0


def test_the_report_tells_what_was_read_and_how_it_went(landmarks: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    fit_file(landmarks, tmp_path / "fit.npz", scheme="ibug68", report=lines.append)
    assert lines[0].startswith("40 frames of 68 ibug68 landmarks over 1.3 s, ")
    assert lines[0].endswith("% missing; no times in the file, taken as 30 frames per second")
    assert "re-projection error" in lines[1]
    assert lines[1].endswith("face model facevid-cc0, CC0-1.0")
    saved = read_fit(tmp_path / "fit.npz")
    assert saved.options == dataclasses.asdict(FitOptions())
    assert "; method two_stage, camera scaled_orthographic, contour fixed; face model sha256 " in lines[2]
    assert f"energy {saved.track.energy:.6g};" in lines[2]
    assert saved.face_model_sha256 in lines[2]
    assert f"torch {saved.versions['torch']}" in lines[2]


def test_the_times_are_those_of_the_videos_frames_where_neither_file_nor_option_says_them(
    landmarks: Path, tmp_path: Path
) -> None:
    gaps_s = np.where(np.arange(50) % 3 == 0, 0.1, 0.02)
    asked: list[int] = []

    def frame_times(frames: int) -> Float64[np.ndarray, " frames"]:
        asked.append(frames)
        return np.cumsum(gaps_s)[:frames]

    video = LandmarkVideo(
        path=Path("face.mp4"), picture_px=(640, 480), frame_times=frame_times, most_frames=None, first_frame=97
    )
    options = FitOptions(identity_iterations=1, frame_iterations=2)

    def fitted(fps: float | None) -> tuple[Float64[np.ndarray, " frames"], str]:
        lines: list[str] = []
        fit = fit_file(
            landmarks, tmp_path / "fit.npz", scheme="ibug68", fps=fps, video=video, options=options, report=lines.append
        )
        return fit.pts_s, lines[0].partition("taken ")[2]

    pts_s, said = fitted(None)
    assert np.array_equal(pts_s, np.cumsum(gaps_s)[3:43])
    assert said == "from the frames of the video"
    pts_s, said = fitted(50.0)
    assert np.array_equal(pts_s, np.arange(40) / 50)
    assert said == "as 50 frames per second"
    assert asked == [43]  # the video was decoded once, and no further than landmarks go


def test_frames_beyond_the_video_get_the_times_of_one_that_goes_on() -> None:
    def video(times_s: list[float]) -> LandmarkVideo:
        return LandmarkVideo(
            path=Path("v.mp4"), picture_px=(640, 480), frame_times=lambda n: np.array(times_s[:n]), most_frames=None
        )

    frame = np.array([-2, 0, 1, 2, 3, 5])
    np.testing.assert_allclose(
        video([0.5, 0.6, 0.9, 1.0]).times_s(Path("in.npz"), frame, 0), [0.3, 0.5, 0.6, 0.9, 1.0, 1.2]
    )
    np.testing.assert_allclose(video([0.5, 0.6]).times_s(Path("in.npz"), np.array([7, 8]), 7), [0.5, 0.6])
    with pytest.raises(ValueError, match=r"in\.npz has the frames 9 to 10, but the video those from 7 to 8: is it"):
        video([0.5, 0.6]).times_s(Path("in.npz"), np.array([9, 10]), 7)
    with pytest.raises(ValueError, match=r"in\.npz has the frames 9 to 10, but the video those from 11 on: is it"):
        video([0.5, 0.6]).times_s(Path("in.npz"), np.array([9, 10]), 11)
    with pytest.raises(ValueError, match=r"v\.mp4' has one frame, .* give --fps"):
        video([0.5]).times_s(Path("in.npz"), np.array([0, 1]), 0)
    assert video([0.5]).times_s(Path("in.npz"), np.array([4]), 4).tolist() == [0.5]


def test_all_that_tell_the_size_of_the_picture_must_agree(
    truth: SyntheticTrack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fitting.fit_file.fit_tracks", lambda *_, **__: pytest.fail("they were fitted"))
    np.savez(tmp_path / "in.npz", landmarks=truth.sequence.observed_px, scheme="ibug68", picture_px=(640, 480))
    video = LandmarkVideo(
        path=Path("face.mp4"), picture_px=(400, 360), frame_times=lambda _: pytest.fail("decoded"), most_frames=None
    )
    for given, of_video, message in (
        ((640, 480), video, r"picture_px says that .* 640 x 480 pixels, but video='face.mp4' says 400 x 360: give the"),
        (None, video, r"video='face.mp4' says that the picture has 400 x 360 pixels, but .*in\.npz says 640 x 480"),
        ((400, 360), None, r"picture_px says that the picture has 400 x 360 pixels, but .*in\.npz says 640 x 480"),
        ((400, 360), video, r"picture_px says that the picture has 400 x 360 pixels, but .*in\.npz says 640 x 480"),
        ((0, 360), None, r"picture_px=\(0, 360\) is no width and height"),
    ):
        with pytest.raises(ValueError, match=message):
            fit_file(tmp_path / "in.npz", tmp_path / "fit.npz", picture_px=given, video=of_video)


def test_a_perspective_fit_tells_the_focal_length(model: FaceModel, tmp_path: Path) -> None:
    truth = synthetic_track(model, "ibug68", SyntheticOptions(frames=3), seed=4)
    np.savez(tmp_path / "in.npz", landmarks=truth.sequence.observed_px, scheme="ibug68", picture_px=(640, 480))
    lines: list[str] = []
    options = FitOptions(camera="perspective", identity_iterations=1, frame_iterations=2)
    focal_px = fit_file(tmp_path / "in.npz", tmp_path / "fit.npz", options=options, report=lines.append).track.focal_px
    assert focal_px is not None
    assert 0.6 * 640 * 0.999 < focal_px < 4.5 * 640 * 1.001
    assert f"; focal length {focal_px:.0f} px; face model" in lines[-1]
    plain = fit_file(str(tmp_path / "in.npz"), tmp_path / "fit.npz", report=lines.append)
    assert plain.track.focal_px is None
    assert "focal" not in lines[-1]


def test_a_long_fit_says_how_far_it_is(
    landmarks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    fit_file(landmarks, tmp_path / "fit.npz", scheme="ibug68", report=lines.append)
    assert not [line for line in lines if line.startswith("fitting: ")]
    monkeypatch.setattr("fitting.fit_file._REPORT_EVERY_S", 0.0)
    fit_file(landmarks, tmp_path / "fit.npz", scheme="ibug68", report=lines.append)
    told = [line for line in lines if line.startswith("fitting: ")]
    assert re.fullmatch(r"fitting: \d+% of 40 frames done, \d+/s, about \d+ s left", told[0])
    assert told[-1].startswith("fitting: 100% of 40 frames done, ")


def test_mediapipes_mesh_in_shares_of_the_picture_gives_the_fit_of_the_same_points_in_pixels(
    model: FaceModel, tmp_path: Path
) -> None:
    truth = synthetic_track(model, "mediapipe68", SyntheticOptions(frames=6), seed=2)
    width, height = 1280, 720
    seen_px = truth.sequence.observed_px
    mesh = np.full((6, 478, 3), 0.5)
    mesh[:, mesh_ids("mediapipe68"), :2] = (seen_px + 0.5) / np.array([width, height])
    np.savez(tmp_path / "mesh.npz", landmarks=mesh, picture_px=(width, height))
    np.savez(tmp_path / "pixels.npz", landmarks=seen_px, scheme="mediapipe68")
    of_mesh = fit_file(tmp_path / "mesh.npz", tmp_path / "a.npz", normalised=True)
    of_pixels = fit_file(tmp_path / "pixels.npz", tmp_path / "b.npz")
    np.testing.assert_allclose(of_mesh.track.fitted_px, of_pixels.track.fitted_px, atol=0.01)
    np.testing.assert_allclose(of_mesh.track.identity, of_pixels.track.identity, atol=0.01)

    with pytest.raises(ValueError, match=r"they must be pixels; shares of the picture, .* --normalised"):
        fit_file(tmp_path / "mesh.npz", tmp_path / "c.npz")
    with pytest.raises(ValueError, match=r"normalised=True, but the landmarks of a frame in .*pixels\.npz lie up to "):
        fit_file(tmp_path / "pixels.npz", tmp_path / "c.npz", normalised=True, picture_px=(width, height))
    np.savez(tmp_path / "nowhere.npz", landmarks=mesh)
    with pytest.raises(ValueError, match=r"normalised=True needs the size of the picture, which .*nowhere\.npz does"):
        fit_file(tmp_path / "nowhere.npz", tmp_path / "c.npz", normalised=True)
    assert not (tmp_path / "c.npz").exists()


def test_mistakes_write_nothing(landmarks: Path, tmp_path: Path, truth: SyntheticTrack) -> None:
    out = tmp_path / "fit.npz"
    with pytest.raises(ValueError, match=r"out='.*fit\.json' must end in \.npz"):
        fit_file(landmarks, tmp_path / "fit.json", scheme="ibug68")
    with pytest.raises(ValueError, match=r"'facevid-cc0' has no landmarks for scheme='dlib5'; it has: "):
        fit_file(landmarks, out, scheme="dlib5")
    with pytest.raises(ValueError, match=r"has 68 points a frame; scheme 'mediapipe_dense' of face model .* has 200"):
        fit_file(landmarks, out, scheme="mediapipe_dense")
    np.savez(tmp_path / "in.npz", landmarks=truth.sequence.observed_px)
    with pytest.raises(ValueError, match=r"is the landmarks file itself"):
        fit_file(tmp_path / "in.npz", tmp_path / "." / "in.npz", scheme="ibug68")
    np.savez(tmp_path / "mirrored.npz", landmarks=truth.sequence.observed_px * np.array([-1, 1], np.float32))
    with pytest.raises(ValueError, match=r"mirrored\.npz: no face fits these landmarks\. Are they ibug68"):
        fit_file(tmp_path / "mirrored.npz", out, scheme="ibug68")
    np.savez(tmp_path / "shares.npz", landmarks=truth.sequence.observed_px / 640)
    with pytest.raises(ValueError, match=r"shares\.npz: the landmarks of a frame lie at most 0\.\d+ apart, but"):
        fit_file(tmp_path / "shares.npz", out, scheme="ibug68")
    from_1 = np.pad(truth.sequence.observed_px, ((0, 0), (1, 0), (0, 0)), constant_values=np.nan)
    np.savez(tmp_path / "from_1.npz", landmarks=from_1)
    with pytest.raises(ValueError, match=r"has 69 points a frame; .* has 68 \(point 0 is never there: points"):
        fit_file(tmp_path / "from_1.npz", out, scheme="ibug68")
    np.savez(tmp_path / "small.npz", landmarks=truth.sequence.observed_px, picture_px=(9, 5))
    with pytest.raises(ValueError, match=r"small\.npz: 100% of the landmarks lie outside the picture, which has 9 x 5"):
        fit_file(tmp_path / "small.npz", out, scheme="ibug68")
    assert not out.exists()


def test_arkit_weights_come_as_a_table(model: FaceModel, fit: SavedFit, tmp_path: Path) -> None:
    write_arkit_csv(tmp_path / "arkit.csv", fit, model)
    with (tmp_path / "arkit.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert model.arkit is not None
    assert tuple(rows[0]) == ("frame", "pts_s", *model.arkit.names)
    assert [int(row["frame"]) for row in rows] == list(range(100, 100 + FRAMES))
    np.testing.assert_array_equal([float(row["pts_s"]) for row in rows], fit.pts_s)
    values = np.array([[float(row[name]) for name in model.arkit.names] for row in rows])
    assert values.min() >= 0
    assert values.max() <= 1
    np.testing.assert_allclose(values, arkit_weights(model, fit.track.expression), atol=1e-5)


def test_a_fit_is_no_face_model(fit: SavedFit, tmp_path: Path) -> None:
    write_fit(tmp_path / "fit.npz", fit)
    with pytest.raises(ValueError, match=r"fit\.npz is no face model file: it is a facevid fit"):
        load_face_model(tmp_path / "fit.npz")


def test_an_obj_is_the_mesh_of_that_frame(model: FaceModel, fit: SavedFit, tmp_path: Path) -> None:
    write_obj(tmp_path / "face.obj", fit, model, frame=107)
    lines = [line.split() for line in (tmp_path / "face.obj").read_text().splitlines()]
    vertices = np.array([[float(v) for v in line[1:]] for line in lines if line[0] == "v"])
    faces = np.array([[int(v) for v in line[1:]] for line in lines if line[0] == "f"])
    wanted = model.vertices_mm(fit.track.identity, fit.track.expression[7])
    np.testing.assert_allclose(vertices, wanted, atol=1e-5)
    np.testing.assert_array_equal(faces, model.triangles + 1)


def test_a_frame_that_is_not_there_is_named(model: FaceModel, fit: SavedFit, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frame=7 is not in the fit, whose 40 frames lie between 100 and 139"):
        write_obj(tmp_path / "face.obj", fit, model, frame=7)
    assert not (tmp_path / "face.obj").exists()


def array_of(document: pygltflib.GLTF2, number: int) -> np.ndarray:
    """An accessor's values; counts, bounds and alignment are checked on the way."""
    accessor = document.accessors[number]
    view = document.bufferViews[accessor.bufferView]
    assert view.byteOffset % 4 == 0
    width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}[accessor.type]
    kind = {pygltflib.FLOAT: "<f4", pygltflib.UNSIGNED_INT: "<u4"}[accessor.componentType]
    data = document.binary_blob()[view.byteOffset : view.byteOffset + view.byteLength]
    values = np.frombuffer(data, kind).reshape(-1, width)
    assert len(values) == accessor.count
    assert np.isfinite(values).all()
    if accessor.min:  # pygltflib reads absent ones as empty
        np.testing.assert_array_equal(values.min(0), np.array(accessor.min, np.float32))
        np.testing.assert_array_equal(values.max(0), np.array(accessor.max, np.float32))
    return values


@pytest.mark.parametrize("targets", ["components", "arkit"])
def test_a_gltf_played_back_draws_the_fitted_landmarks(
    model: FaceModel, fit: SavedFit, tmp_path: Path, targets: str
) -> None:
    count, worst_px = (43, ARKIT_PX) if targets == "arkit" else (28, 0.001)
    write_gltf(tmp_path / "face.glb", fit, model, targets=targets)  # type: ignore[arg-type]
    document = pygltflib.GLTF2().load(str(tmp_path / "face.glb"))
    mesh = document.meshes[0]
    part = mesh.primitives[0]
    base, normals = array_of(document, part.attributes.POSITION), array_of(document, part.attributes.NORMAL)
    assert document.accessors[part.attributes.POSITION].min
    assert 0.15 < np.ptp(base[:, 1]) < 0.35, "a head is a quarter of a metre high"
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    # The nose looks out of the face.
    assert normals[base[:, 2].argmax(), 2] > 0.5
    np.testing.assert_array_equal(array_of(document, part.indices).reshape(-1, 3), model.triangles)
    moved = np.stack([array_of(document, target["POSITION"]) for target in part.targets])
    assert moved.shape == (count, *base.shape)
    assert all(document.accessors[target["POSITION"]].min for target in part.targets)
    assert all(array_of(document, target["NORMAL"]).shape == base.shape for target in part.targets)
    assert len(mesh.extras["targetNames"]) == len(mesh.weights) == count

    animation = document.animations[0]
    tracks = {
        channel.target.path: array_of(document, animation.samplers[channel.sampler].output)
        for channel in animation.channels
    }
    times = array_of(document, animation.samplers[0].input)[:, 0]
    np.testing.assert_allclose(times, fit.pts_s - fit.pts_s[0], atol=1e-6)
    weights = tracks["weights"].reshape(FRAMES, count)
    if targets == "arkit":
        assert weights.min() >= 0
        assert weights.max() <= 1
    assert (np.einsum("fk,fk->f", tracks["rotation"][1:], tracks["rotation"][:-1]) > 0).all()

    middle = np.median(fit.track.translation_px, axis=0)
    embedding = model.embedding("ibug68")
    for frame in (0, 17, 39):
        head = base + np.tensordot(weights[frame], moved, axes=1)
        points = np.einsum("pkc,pk->pc", head[embedding.vertex_ids], embedding.weights)
        world_mm = 1000 * (turned(tracks["rotation"][frame], points) + tracks["translation"][frame])
        drawn = world_mm[:, :2] * [1, -1] * fit.track.scale_px_per_mm[frame] + middle
        assert np.abs(drawn - fit.track.fitted_px[frame]).max() < worst_px


def turned(quaternion_xyzw: np.ndarray, points: np.ndarray) -> np.ndarray:
    """v + 2 u x (u x v + w v), the rotation of the glTF specification."""
    u, w = quaternion_xyzw[:3], quaternion_xyzw[3]
    return points + 2 * np.cross(u, np.cross(u, points) + w * points)


def test_the_example_runs_as_it_stands(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "fit_landmarks.py"], cwd=tmp_path, capture_output=True, text=True,
        check=False, env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("identity (80,) expression (90, 28)\n")
    assert {"fit.npz", "arkit.csv", "face.glb", "landmarks.npz"} == {path.name for path in tmp_path.iterdir()}
