import cv2
import numpy as np
import pytest

from facevid import assets
from pipeline.faces.errors import NoFaceError
from pipeline.faces.follow import face_in_image
from pipeline.faces.landmarks import MediapipeDetector, detector_sha256, open_detector
from pipeline.faces.options import FacesOptions
from pipeline.faces.picture import Picture
from pipeline.faces.schemes import mirror_of, points_of
from pipeline.faces.tracks import track_faces
from pipeline.faces.video import open_video

OPTIONS = FacesOptions()
OUTER_EYES = [36, 45]


@pytest.fixture(scope="module")
def networks():
    return assets.fetch_landmark_networks()


@pytest.fixture(scope="module")
def detector(networks):
    return open_detector(OPTIONS, networks)


@pytest.fixture(scope="module")
def picture():
    with open_video(assets.fetch("single_face.mp4")) as video:
        return next(iter(video)).rgb


@pytest.fixture(scope="module")
def points(picture, detector):
    return face_in(picture, detector).points_px


def face_in(rgb, detector, options=OPTIONS):
    return face_in_image(Picture(rgb), detector, options)


def error(found, expected):
    """Median distance as a fraction of the outer-eye distance."""
    eyes = np.linalg.norm(np.subtract(*expected[OUTER_EYES]))
    return float(np.median(np.linalg.norm(found - expected, axis=1)) / eyes)


def test_the_parts_of_a_face_lie_where_they_belong(points):
    right_eye, left_eye = points[36:42].mean(axis=0), points[42:48].mean(axis=0)
    nose, mouth, chin = points[30], points[48:60].mean(axis=0), points[8]
    assert right_eye[0] < nose[0] < left_eye[0]
    assert points[17:27, 1].max() < right_eye[1] < nose[1] < mouth[1] < chin[1]
    assert points[0, 0] < right_eye[0]
    assert left_eye[0] < points[16, 0]
    assert points[48, 0] < points[54, 0]
    assert (points[61:64, 1] <= points[[67, 66, 65], 1] + 0.5).all()  # closed, or nearly


def test_flipping_the_picture_mirrors_the_landmarks(picture, detector, points):
    flipped = face_in(np.ascontiguousarray(picture[:, ::-1]), detector).points_px
    flipped[:, 0] = picture.shape[1] - 1 - flipped[:, 0]
    assert error(flipped[mirror_of("mediapipe68")], points) < 0.03


@pytest.mark.parametrize("degrees", [-30, 20, 45])
def test_a_rolled_head_is_found_with_the_same_landmarks(picture, detector, points, degrees):
    height, width = picture.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 0.8)
    found = face_in(cv2.warpAffine(picture, turn, (width, height)), detector)
    assert error(found.points_px, (points @ turn[:, :2].T + turn[:, 2]).astype(np.float32)) < 0.03
    assert np.rad2deg(found.region.angle_rad) == pytest.approx(-degrees, abs=6)


def test_a_face_that_is_small_in_the_picture_is_found(picture, detector, points):
    canvas = np.full((720, 1280, 3), 90, dtype=np.uint8)
    small = cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    canvas[300 : 300 + small.shape[0], 800 : 800 + small.shape[1]] = small
    found = face_in(canvas, detector)
    assert error(found.points_px, points / 2 + np.float32([800, 300])) < 0.03


def test_no_face_gives_none(detector):
    blank = np.full((240, 320, 3), 128, dtype=np.uint8)
    assert face_in(blank, detector) is None
    assert detector.mesh_points(Picture(blank)) is None


def test_the_mesh_gives_every_scheme_and_the_same_points(picture, networks, detector, points):
    mesh = detector.mesh_points(Picture(picture))
    assert mesh.shape == (468, 2)
    assert np.allclose(mesh[points_of("mediapipe68")], points, atol=1e-3)
    dense = face_in(picture, MediapipeDetector(networks, scheme="mediapipe_dense"))
    assert np.allclose(mesh[points_of("mediapipe_dense")], dense.points_px, atol=1e-3)


def test_faces_below_the_smallest_size_are_left_out(picture, detector):
    assert face_in(picture, detector, FacesOptions(min_face_px=2000.0)) is None


def test_the_detector_names_itself_and_its_weights(networks, detector):
    assert (detector.name, detector.scheme) == ("mediapipe", "mediapipe68")
    assert len(bytes.fromhex(detector.weights_sha256)) == 32
    assert detector_sha256(OPTIONS, networks) == detector.weights_sha256
    assert MediapipeDetector(networks, scheme="mediapipe_dense").weights_sha256 == detector.weights_sha256


def test_missing_networks_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"there is no landmark network at .*face_detection_short_range\.tflite"):
        open_detector(OPTIONS, tmp_path)


def test_a_file_that_is_no_network_is_named(tmp_path, networks):
    for path in networks.glob("*.tflite"):
        (tmp_path / path.name).write_bytes(b"no network" * 10)
    with pytest.raises(ValueError, match=r"face_detection_short_range\.tflite is no network that LiteRT can run"):
        open_detector(OPTIONS, tmp_path)


def test_a_real_video_without_a_face_fails_as_no_face(detector):
    with pytest.raises(NoFaceError) as caught:
        track_faces(assets.fetch("no_face.mp4"), detector, OPTIONS)
    assert caught.value.code == "no_face"
