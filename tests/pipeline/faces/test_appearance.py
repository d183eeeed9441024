"""The look of a face: what it tells apart, and what must not matter to it."""

import cv2
import numpy as np
import pytest

from pipeline.faces.appearance import STRETCH_FRAMES, Look, RecentLooks, looks_of
from pipeline.faces.landmarks import FaceLandmarks
from pipeline.faces.options import FacesOptions
from pipeline.faces.planes import Colours
from pipeline.faces.regions import FaceRegion
from pipeline.faces.register import TEMPLATE68_PX, Crop, CropQuality
from pipeline.faces.sightings import Sighting, Sightings

LIMIT = FacesOptions().max_appearance_jump
SHIFT = np.eye(2, 3, dtype=np.float32)


def crop_of(rgb):
    samples = Colours(colours=rgb)
    return Crop(samples=samples, light=samples.light(), inside=None, crop_from_frame=SHIFT)


def person(seed, *, shift=0.0, gain=1.0, closed=False):
    """A crop with a face of its own: blobs where a face has its parts, their places and shades drawn by lot."""
    rng = np.random.default_rng(seed)
    rgb = np.full((224, 224, 3), rng.uniform(120, 190, 3))
    for x, y in TEMPLATE68_PX[17:].astype(int) + rng.integers(-6, 7, (51, 2)):
        cv2.circle(rgb, (int(x), int(y)), int(rng.integers(4, 14)), rng.uniform(30, 230, 3).tolist(), -1)
    if closed:
        for x, y in ((64, 50), (160, 50)):
            cv2.ellipse(rgb, (x, y), (18, 9), 0, 0, 360, rng.uniform(120, 190, 3).tolist(), -1)
    rgb = cv2.warpAffine(rgb * gain, SHIFT + np.float32([[0, 0, shift], [0, 0, shift]]), (224, 224), borderMode=1)
    blurred = np.clip(cv2.GaussianBlur(rgb, (0, 0), 2), 0, 255).astype(np.uint8)
    return crop_of(blurred)


def look_of(crop: Crop) -> Look:
    return looks_of([crop])[0]


def difference(first: Look, second: Look) -> float:
    return float(np.square(first - second, dtype=np.float32).sum()) / 2


def looks(*crops):
    return np.stack([look_of(crop) for crop in crops])


def test_the_same_crop_looks_the_same():
    assert difference(look_of(person(0)), look_of(person(0))) == 0


@pytest.mark.parametrize("change", [{"shift": 2.0}, {"gain": 0.8}, {"closed": True}], ids=str)
def test_noise_of_the_landmarks_light_and_a_blink_are_no_other_face(change):
    assert difference(look_of(person(1)), look_of(person(1, **change))) < LIMIT / 2


@pytest.mark.parametrize("seed", range(5))
def test_another_face_is_further_than_the_limit(seed):
    assert difference(look_of(person(seed)), look_of(person(seed + 100))) > LIMIT


def test_a_look_is_the_same_in_any_company():
    crops = [person(seed) for seed in range(9)]
    together = looks_of(crops)
    assert all((look == look_of(crop)).all() for look, crop in zip(together, crops, strict=True))
    assert all((look == other).all() for look, other in zip(together[2:5], looks_of(crops[2:5]), strict=True))
    assert looks_of([]) == []


def test_a_look_knows_which_way_an_edge_goes():
    rows, columns = np.mgrid[:224, :224]
    darker_right, darker_down = (
        crop_of(np.repeat((220 - half)[..., None], 3, axis=2).astype(np.uint8)) for half in (columns // 2, rows // 2)
    )
    weights = look_of(darker_right)[144 : 144 + 512].reshape(8, 64).sum(axis=1)
    turned = look_of(darker_down)[144 : 144 + 512].reshape(8, 64).sum(axis=1)
    # Across, down, both diagonals; then the same backwards.
    assert weights.argmax() == 4
    assert turned.argmax() == 5
    np.testing.assert_allclose(weights[[6, 3]], weights[4] * 0.5**0.25, rtol=1e-2)
    np.testing.assert_allclose(turned[[6, 7]], turned[5] * 0.5**0.25, rtol=1e-2)
    assert weights[[0, 1, 2, 5, 7]].max() < weights[4] / 3


def test_a_leap_is_the_nearest_pair_across_the_moment():
    every = looks(*(person(seed, shift=0.4 * k) for seed in (1, 2) for k in range(STRETCH_FRAMES + 2)))
    recent = RecentLooks()
    found = [recent.add(look) for look in every]
    for now, leap in enumerate(found):
        middle = now + 1 - STRETCH_FRAMES
        before, after = every[max(0, middle - STRETCH_FRAMES) : max(0, middle)], every[max(0, middle) : now + 1]
        pairs = [difference(a, b) for a in before for b in after] if len(before) == STRETCH_FRAMES else [0.0]
        assert leap == pytest.approx(min(pairs), rel=1e-4, abs=1e-6)
    assert int(np.argmax(found)) == 2 * STRETCH_FRAMES + 1


def test_black_crops_and_crops_of_one_shade_have_looks_too():
    for value in (0, 128):
        assert np.isfinite(look_of(crop_of(np.full((224, 224, 3), value, np.uint8)))).all()


def sighting(seed, k):
    face = FaceLandmarks(
        scheme="mediapipe68", points_px=TEMPLATE68_PX + np.float32(k), confidence=0.9,
        box_px=np.array([k, 0, 100 + k, 100], np.float32),
        region=FaceRegion(x=50.0, y=50.0, side_px=100.0, angle_rad=0.0),
    )  # fmt: skip
    return Sighting(face, CropQuality(sharpness=1.0, brightness=0.5), look_of(person(seed, shift=0.3 * (k % 3))))


def seen(*parts, missed=()):
    sightings, found = Sightings(), []
    for frame, seed in enumerate(seed for seed, frames in parts for _ in range(frames)):
        if frame in missed:
            sightings.miss(frame, frame / 25)
            continue
        sightings.add(frame, frame / 25, sighting(seed, frame))
        if (at := sightings.leap_beyond(LIMIT)) is not None:
            found.append(at)
    return sightings, found


def test_the_frame_with_which_another_face_comes_is_told_and_no_other():
    assert seen((1, 20), (2, 20))[1] == [20]
    assert seen((1, 20), (2, 20), missed=(19, 20, 21))[1] == [22]
    assert seen((1, 40))[1] == []


def test_parting_leaves_each_person_its_own_frames():
    sightings, _ = seen((1, 20), (2, 15))
    before, after = sightings.split(20, 20)
    assert before.frame.tolist() == list(range(20))
    assert after.frame.tolist() == list(range(20, 35))
    assert sightings.similarity.min() < 0.8 < min(before.similarity.min(), after.similarity.min())
    assert sightings.jump.max() > LIMIT > 10 * max(before.jump.max(), after.jump.max())


def test_frames_of_a_transition_belong_to_neither_part_and_a_part_begins_with_a_sighting():
    sightings, _ = seen((1, 40), missed=(20, 21))
    before, after = sightings.split(12, 20)
    assert before.frame.tolist() == list(range(12))
    assert after.frame.tolist() == list(range(22, 40))
    assert (after.confidence > 0).all()


def test_what_may_still_be_somebody_else_is_not_sure():
    sightings, _ = seen((1, 20), (2, STRETCH_FRAMES - 1))
    assert sightings.surely_one_until < 20
    assert Sightings().surely_one_until == -1
