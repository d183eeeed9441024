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
