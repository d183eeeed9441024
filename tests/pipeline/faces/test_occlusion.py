"""Covered faces: what the detector says of them, when it is asked, and what lies between."""

import math

import cv2
import numpy as np
import pytest

from facevid import assets
from pipeline.faces.appearance import LOOK_VALUES
from pipeline.faces.landmarks import FaceLandmarks, MediapipeDetector
from pipeline.faces.occlusion import OcclusionDetector, OcclusionSampler
from pipeline.faces.picture import Picture
from pipeline.faces.regions import FaceRegion
from pipeline.faces.register import CropQuality
from pipeline.faces.sightings import Sighting, Sightings
from pipeline.faces.video import open_video

FACE = FaceLandmarks(
    scheme="mediapipe68",
    points_px=np.zeros((68, 2), np.float32),
    confidence=0.9,
    box_px=np.array([0, 0, 9, 9], np.float32),
    region=FaceRegion(x=5.0, y=5.0, side_px=10.0, angle_rad=0.0),
)
BLANK = Picture(np.zeros((20, 20, 3), np.uint8))


class Counting(MediapipeDetector):
    """Says how often it was asked."""

    def __init__(self) -> None:
        self.scheme, self.weights_sha256 = "mediapipe68", ""
        self.asked = 0

    def occlusion(self, picture: Picture, region: FaceRegion) -> float:
        self.asked += 1
        return self.asked / 10


class Silent:
    """Cannot tell."""

    name, scheme, weights_sha256 = "silent", "mediapipe68", ""

    def find_faces(self, picture, window=None):
        return []

    def region_of(self, box):
        return FACE.region

    def landmarks(self, picture, region):
        return None


@pytest.fixture(scope="module")
def detector() -> MediapipeDetector:
    return MediapipeDetector(assets.fetch_landmark_networks())


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    with open_video(assets.fetch("single_face.mp4")) as video:
        return next(iter(video)).rgb.copy()


@pytest.mark.parametrize("half", ["top", "bottom"])
@pytest.mark.parametrize("cover", ["grey", "noise"])
def test_half_a_face_that_is_covered_is_told_from_a_face(
    detector: MediapipeDetector, rgb: np.ndarray, half: str, cover: str
) -> None:
    face = detector.landmarks(Picture(rgb), detector.region_of(detector.find_faces(Picture(rgb))[0]))
    assert face is not None
    assert detector.occlusion(Picture(rgb), face.region) < 0.1
    x0, y0, x1, y1 = face.box_px.round().astype(int).tolist()
    y = (y0 + y1) // 2
    part = {"top": np.s_[y0:y, x0:x1], "bottom": np.s_[y:y1, x0:x1]}[half]
    covered = rgb.copy()
    noise = np.random.default_rng(0).integers(0, 256, covered[part].shape).astype(np.uint8)
    covered[part] = 128 if cover == "grey" else cv2.blur(noise, (9, 9))
    assert detector.occlusion(Picture(covered), face.region) > 0.9


def test_a_face_is_asked_about_at_first_sight_and_then_now_and_then() -> None:
    sampler = OcclusionSampler(Counting())
    told = {frame: sampler(7, frame, BLANK, FACE) for frame in range(3, 44)}
    assert {frame: value for frame, value in told.items() if not math.isnan(value)} == {3: 0.1, 20: 0.2, 40: 0.3}
    assert sampler(8, 24, BLANK, FACE) == 0.4


def test_a_detector_that_cannot_tell_is_not_asked(detector: MediapipeDetector) -> None:
    assert isinstance(detector, OcclusionDetector)
    assert not isinstance(Silent(), OcclusionDetector)
    assert math.isnan(OcclusionSampler(Silent())(0, 0, BLANK, FACE))


def test_what_lies_between_is_interpolated_in_time() -> None:
    def over_time(*told: float | None) -> list[float]:
        sightings = Sightings()
        for frame, value in enumerate(told):
            if value is None:
                sightings.miss(frame, frame / 25)
                continue
            quality = CropQuality(sharpness=1.0, brightness=0.5)
            sightings.add(frame, frame / 25, Sighting(FACE, quality, np.zeros(LOOK_VALUES, np.float32), value))
        return sightings.occlusion.tolist()

    nan = math.nan
    assert over_time(nan, 0.2, nan, None, 0.8, nan) == pytest.approx([0.2, 0.2, 0.4, 0.6, 0.8, 0.8])
    assert all(math.isnan(value) for value in over_time(nan, nan))
