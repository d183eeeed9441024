"""Lids of an eye that did not change are kept, and of no other."""

import numpy as np
import pytest

from facevid import assets
from pipeline.faces.eyes import EyeReader
from pipeline.faces.landmarks import MediapipeDetector
from pipeline.faces.lids import LidsOfFaces
from pipeline.faces.picture import Picture
from pipeline.faces.schemes import LIDS_LEFT
from pipeline.faces.video import open_video


@pytest.fixture(scope="module")
def networks():
    return assets.fetch_landmark_networks()


@pytest.fixture(scope="module")
def pictures():
    with open_video(assets.fetch("single_face.mp4")) as video:
        return [Picture(frame.rgb) for frame, _ in zip(video, range(12), strict=False)]


def followed(detector, pictures):
    face = detector.landmarks(pictures[0], detector.region_of(detector.find_faces(pictures[0])[0]))
    looks = []
    for picture in pictures:
        face = detector.landmarks(picture, face.region)
        looks.append((picture, face))
    return looks


def test_a_picture_that_is_shown_twice_has_the_same_lids_and_asks_no_network(networks, pictures):
    detector = MediapipeDetector(networks)
    face = detector.landmarks(pictures[0], detector.region_of(detector.find_faces(pictures[0])[0]))
    (first,), eyes = detector.with_lids([(pictures[0], face)], None)
    (again,), _ = detector.with_lids([(pictures[0], face)], eyes)
    assert (detector.eyes.asked, detector.eyes.reused) == (2, 2)
    np.testing.assert_allclose(again.points_px, first.points_px, atol=1e-4)
    assert np.abs(first.points_px - face.points_px)[36:48].max() > 1
    np.testing.assert_array_equal(first.points_px[:36], face.points_px[:36])


def test_lids_that_were_found_are_not_looked_for_again(networks, pictures):
    detector = MediapipeDetector(networks)
    ((picture, face),) = followed(detector, pictures[:1])
    (complete,), eyes = detector.with_lids([(picture, face)], None)
    with pytest.raises(ValueError, match="its lids were found already"):
        detector.with_lids([(picture, face), (picture, complete)], eyes)
    with pytest.raises(ValueError, match="looks is empty"):
        detector.with_lids([], eyes)


@pytest.mark.parametrize("at_once", [1, 5, 12])
def test_kept_lids_are_those_that_the_network_would_give_however_many_frames_come_at_once(networks, pictures, at_once):
    thrifty, thorough = MediapipeDetector(networks), MediapipeDetector(networks, reuse_eyes=False)
    looks = followed(thrifty, pictures)
    ours, eyes = [], None
    for first in range(0, len(looks), at_once):
        faces, eyes = thrifty.with_lids(looks[first : first + at_once], eyes)
        ours += faces
    truth, last = thorough.with_lids(looks, None)
    assert thrifty.eyes.reused >= 10
    assert thrifty.eyes.asked + thrifty.eyes.reused == 2 * len(pictures)
    assert (thorough.eyes.reused, thorough.eyes.asked) == (0, 2 * len(pictures))
    for one, other in zip(ours, truth, strict=True):
        apart = np.linalg.norm(one.points_px - other.points_px, axis=1)
        assert apart.max() < 0.015 * np.linalg.norm(other.points_px[36] - other.points_px[45])
        np.testing.assert_array_equal(one.points_px[:36], other.points_px[:36])
    again, _ = thrifty.with_lids(looks[-1:], last)
    np.testing.assert_allclose(again[0].points_px, truth[-1].points_px, atol=1e-3)


def test_an_eye_that_is_covered_is_looked_at_and_the_other_is_not(networks, pictures):
    reader = EyeReader(networks)
    mesh = MediapipeDetector(networks).mesh_points(pictures[0])
    covered = pictures[0].rgb.copy()
    x, y = mesh[list(LIDS_LEFT)].mean(axis=0).astype(int)
    covered[y - 4 : y + 4, x - 12 : x + 12] = 90
    _, seen = reader([(pictures[0], mesh)], None)
    (refined,), now = reader([(Picture(covered), mesh)], seen)
    assert (reader.asked, reader.reused) == (3, 1)
    assert now[0] is seen[0]
    assert now[1] is not seen[1]
    np.testing.assert_array_equal(refined[30], mesh[30])


def test_a_face_keeps_its_eyes_until_it_is_forgotten(networks, pictures):
    detector = MediapipeDetector(networks)
    ((picture, face),) = followed(detector, pictures[:1])
    lids = LidsOfFaces(detector)
    complete, none = lids([picture, picture], [{4: face}, {}])
    assert complete[4].mesh is None
    assert none == {}
    (complete,) = lids([picture], [{3: face, 4: face}])
    assert list(complete) == [3, 4]
    assert (detector.eyes.asked, detector.eyes.reused) == (4, 2)
    lids.forget(4)
    lids([picture], [{4: face}])
    assert (detector.eyes.asked, detector.eyes.reused) == (6, 2)


def test_faces_of_a_detector_without_lids_of_its_own_stay_as_they_are(networks, pictures):
    class Complete:
        name = scheme = weights_sha256 = ""

        def find_faces(self, picture, window=None): ...

        def region_of(self, box): ...

        def landmarks(self, picture, region): ...

    detector = MediapipeDetector(networks)
    face = detector.landmarks(pictures[0], detector.region_of(detector.find_faces(pictures[0])[0]))
    assert LidsOfFaces(Complete())(pictures[:1], [{0: face}]) == [{0: face}]
