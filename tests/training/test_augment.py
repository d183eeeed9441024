"""A changed crop keeps its label, or gets the mirrored one; the same key gives the same change."""

import numpy as np

from training.augment import Augmentation

CROP = np.random.default_rng(0).integers(0, 255, (224, 224, 3), np.uint8)
LABEL = np.array([1.0, -2.0, 0.5, 0.0], np.float32)
SWAP = np.eye(4, dtype=np.float32)[[1, 0, 2, 3]]


def square(x: int, y: int) -> np.ndarray:
    crop = np.zeros((224, 224, 3), np.uint8)
    crop[y - 6 : y + 6, x - 6 : x + 6] = 255
    return crop


def centre(crop: np.ndarray) -> tuple[float, float]:
    y, x = np.nonzero(crop.mean(axis=2) > 128)
    return float(x.mean()), float(y.mean())


def test_the_same_seed_epoch_and_example_give_the_same_change() -> None:
    change = Augmentation(seed=7, epoch=3, mirror=SWAP)
    first, again = change(CROP, LABEL, 11), change(CROP, LABEL, 11)
    np.testing.assert_array_equal(first[0], again[0])
    for other in (change(CROP, LABEL, 12), Augmentation(seed=7, epoch=4, mirror=SWAP)(CROP, LABEL, 11),
                  Augmentation(seed=8, epoch=3, mirror=SWAP)(CROP, LABEL, 11)):
        assert (other[0] != first[0]).mean() > 0.5


def test_the_label_is_mirrored_exactly_when_the_picture_is() -> None:
    change = Augmentation(seed=0, epoch=0, mirror=SWAP)
    flips = 0
    for example in range(60):
        crop, label = change(square(50, 100), LABEL, example)
        x, y = centre(crop)
        flipped = x > 112
        flips += flipped
        assert abs(x - (174 if flipped else 50)) < 16
        assert abs(y - 100) < 16
        np.testing.assert_array_equal(label, SWAP @ LABEL if flipped else LABEL)
    assert 15 < flips < 45


def test_without_a_mirror_operator_nothing_is_flipped() -> None:
    change = Augmentation(seed=0, epoch=0, mirror=None)
    for example in range(30):
        crop, label = change(square(50, 100), LABEL, example)
        assert centre(crop)[0] < 112
        np.testing.assert_array_equal(label, LABEL)


def test_the_middle_of_the_face_stays_in_the_middle() -> None:
    change = Augmentation(seed=0, epoch=0, mirror=SWAP)
    middles = np.array([centre(change(square(112, 112), LABEL, example)[0]) for example in range(200)])
    # The template is symmetric about x = 112, so a flip takes 111.5 to 112.5.
    np.testing.assert_allclose(middles.mean(axis=0), [112.0, 111.5], atol=0.8)
    assert np.abs(middles - 111.5).max() < 8.0


def test_the_caller_s_crop_is_not_touched() -> None:
    before = CROP.copy()
    Augmentation(seed=0, epoch=0, mirror=SWAP)(CROP, LABEL, 0)
    np.testing.assert_array_equal(CROP, before)


def test_colour_changes_by_a_gain_and_an_offset_per_channel_and_nothing_wraps_around() -> None:
    change = Augmentation(seed=0, epoch=0, mirror=None)
    ramp = np.repeat(np.arange(224, dtype=np.uint8)[:, None, None], 224, axis=1).repeat(3, axis=2)
    gains, greys = [], []
    for example in range(60):
        crop, _ = change(ramp, LABEL, example)
        middle = crop[:, 100:124].mean(axis=1)  # rows of one grey, moved up or down a little
        assert (np.diff(middle, axis=0) > -3.0).all()  # JPEG rings by a level or two
        greys.append(middle[112].mean())
        gains.append((middle[140] - middle[84]) / 56)
    assert abs(np.mean(greys) - 112) < 8  # 4 standard deviations of the mean of 60 offsets of +-25
    assert 30 < np.ptp(greys) < 75
    # Contrast of exp(+-0.25) and scale of exp(+-0.06), channels of exp(+-0.06) apart.
    assert 0.65 < np.min(gains) < 0.85
    assert 1.2 < np.max(gains) < 1.55
    apart = np.ptp(np.array(gains), axis=1)
    assert 0.02 < apart.max() < 0.25
