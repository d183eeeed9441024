"""Lids of an eye that did not change are kept, and of no other."""

import numpy as np
import pytest

from facevid import assets
from pipeline.faces import eyes
from pipeline.faces.eyes import EyeReader
from pipeline.faces.landmarks import MediapipeDetector
from pipeline.faces.lids import LidsOfFaces
from pipeline.faces.picture import Picture
from pipeline.faces.schemes import LIDS_LEFT
from pipeline.faces.video import open_video

LIDS = np.arange(32, dtype=np.float32).reshape(16, 2)


def eye(*, x=0.0, y=0.0, gap=6.0, gain=1.0, brightness=0.0, noise=0.0):
    """A square with a dark almond on skin, its middle and its height as asked for."""
    rows, columns = np.mgrid[:64, :64]
    across, down = (columns - 31.5 - x) / 14, rows - 31.5 - y
    inside = gap * (1 - across**2) - np.abs(down)
    level = gain * (180 - 120 / (1 + np.exp(-1.5 * inside)) + 10 * np.sin(rows / 9) + 10 * np.cos(columns / 11))
    level += brightness
    level = level + noise * np.random.default_rng(0).standard_normal(level.shape)
    return np.clip(np.round(level), 0, 255).astype(np.uint8)


def kept(now, then):
    last = eyes._eye_seen(LIDS, eyes._grey_around_eye(then))
    return last.still_there(eyes._grey_around_eye(now)[1:-1, 1:-1].reshape(-1))


@pytest.mark.parametrize(("x", "y"), [(0, 0), (0.4, 0), (0, -0.5), (0.6, 0.6), (-0.8, 0.5)])
def test_lids_go_with_an_eye_that_moved_a_little(x, y):
    np.testing.assert_allclose(kept(eye(x=x, y=y), eye()) - LIDS, np.tile([x, y], (16, 1)), atol=0.15)


def test_light_that_flickers_is_no_change():
    np.testing.assert_allclose(kept(eye(brightness=12, x=0.3), eye()), LIDS + np.array([0.3, 0]), atol=0.15)


def test_noise_of_a_camera_is_no_change():
    np.testing.assert_allclose(kept(eye(noise=3), eye()), LIDS, atol=0.2)


@pytest.mark.parametrize("gain", [1.0, 0.2])
@pytest.mark.parametrize("gap", [0.5, 2.0, 4.0, 8.0])
def test_an_eye_that_opens_or_closes_is_another_in_any_light(gap, gain):
    assert kept(eye(gap=gap, gain=gain), eye(gain=gain)) is None


def test_an_eye_that_is_elsewhere_or_in_other_light_is_another():
    assert kept(eye(x=4), eye()) is None
    assert kept(eye(gain=0.8), eye()) is None


def test_where_nothing_can_be_seen_nothing_is_kept():
    black = np.zeros((64, 64), dtype=np.uint8)
    assert kept(black, black) is None


@pytest.fixture(scope="module")
def networks():
    return assets.fetch_landmark_networks()


@pytest.fixture(scope="module")
def pictures():
    with open_video(assets.fetch("single_face.mp4")) as video:
        return [Picture(frame.rgb) for frame, _ in zip(video, range(12), strict=False)]


def followed(detector, pictures):
    face = detector.landmarks(pictures[0], detector.region_of(detector.find_faces(pictures[0])[0]))
    faces, looks, eyes = [], [], None
    for picture in pictures:
        face = detector.landmarks(picture, face.region)
        complete, eyes = detector.with_lids(picture, face, eyes)
        faces.append(complete)
        looks.extend(eyes)
    return faces, looks


def test_a_picture_that_is_shown_twice_has_the_same_lids_and_asks_no_network(networks, pictures):
    detector = MediapipeDetector(networks)
    face = detector.landmarks(pictures[0], detector.region_of(detector.find_faces(pictures[0])[0]))
    first, eyes = detector.with_lids(pictures[0], face, None)
    again, _ = detector.with_lids(pictures[0], face, eyes)
    assert (detector.eyes.asked, detector.eyes.reused) == (2, 2)
    np.testing.assert_allclose(again.points_px, first.points_px, atol=1e-4)
    assert np.abs(first.points_px - face.points_px)[36:48].max() > 1
    np.testing.assert_array_equal(first.points_px[:36], face.points_px[:36])


def test_lids_that_were_found_are_not_looked_for_again(networks, pictures):
    detector = MediapipeDetector(networks)
    (face,), _ = followed(detector, pictures[:1])
    with pytest.raises(ValueError, match="its lids were found already"):
        detector.with_lids(pictures[0], face, None)


def test_kept_lids_are_those_that_the_network_would_give_and_compared_with_what_it_saw(networks, pictures):
    thrifty, thorough = MediapipeDetector(networks), MediapipeDetector(networks, reuse_eyes=False)
    (ours, looks), (truth, _) = followed(thrifty, pictures), followed(thorough, pictures)
    assert thrifty.eyes.reused >= 10
    assert (thorough.eyes.reused, thorough.eyes.asked) == (0, 2 * len(pictures))
    for one, other in zip(ours, truth, strict=True):
        apart = np.linalg.norm(one.points_px - other.points_px, axis=1)
        assert apart.max() < 0.015 * np.linalg.norm(other.points_px[36] - other.points_px[45])
        np.testing.assert_array_equal(one.points_px[:36], other.points_px[:36])
    assert len({id(look) for look in looks}) == thrifty.eyes.asked


def test_an_eye_that_is_covered_is_looked_at_and_the_other_is_not(networks, pictures):
    reader = EyeReader(networks)
    mesh = MediapipeDetector(networks).mesh_points(pictures[0])
    covered = pictures[0].rgb.copy()
    x, y = mesh[list(LIDS_LEFT)].mean(axis=0).astype(int)
    covered[y - 4 : y + 4, x - 12 : x + 12] = 90
    _, seen = reader(pictures[0], mesh, None)
    refined, now = reader(Picture(covered), mesh, seen)
    assert (reader.asked, reader.reused) == (3, 1)
    assert now[0] is seen[0]
    assert now[1] is not seen[1]
    np.testing.assert_array_equal(refined[30], mesh[30])


def test_a_face_that_was_missed_keeps_its_eyes_and_one_that_is_gone_does_not(networks, pictures):
    detector = MediapipeDetector(networks)
    face = detector.landmarks(pictures[0], detector.region_of(detector.find_faces(pictures[0])[0]))
    lids = LidsOfFaces(detector)
    complete = lids(pictures[0], {4: face}, ())
    assert complete[4].mesh is None
    assert lids(pictures[0], {}, (4,)) == {}
    lids(pictures[0], {4: face}, ())
    assert (detector.eyes.asked, detector.eyes.reused) == (2, 2)
    lids(pictures[0], {}, ())
    lids(pictures[0], {4: face}, ())
    assert (detector.eyes.asked, detector.eyes.reused) == (4, 2)


def test_faces_of_a_detector_without_lids_of_its_own_stay_as_they_are(networks, pictures):
    class Complete:
        name = scheme = weights_sha256 = ""

        def find_faces(self, picture, window=None): ...

        def region_of(self, box): ...

        def landmarks(self, picture, region): ...

    detector = MediapipeDetector(networks)
    face = detector.landmarks(pictures[0], detector.region_of(detector.find_faces(pictures[0])[0]))
    assert LidsOfFaces(Complete())(pictures[0], {0: face}, ()) == {0: face}
