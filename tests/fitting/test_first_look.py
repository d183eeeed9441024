"""The first look: the same for every frame in whatever pieces, and landmarks that lose no digit by being centred."""

from dataclasses import fields

import numpy as np
import pytest

from fitting import first_look
from fitting.face_model import FaceModel
from fitting.first_look import FirstLook, centred, clean_weight, look_at
from fitting.landmark_basis import landmark_basis
from fitting.synthetic import SyntheticOptions, synthetic_track
from fitting.tracks import LandmarkSequence

LENGTHS = [5, 0, 12, 3, 0]


def sequences(model: FaceModel) -> list[LandmarkSequence]:
    made = [synthetic_track(model, "toy68", SyntheticOptions(frames=12), seed=seed).sequence for seed in range(5)]
    return [sequence.at(slice(length)) for sequence, length in zip(made, LENGTHS, strict=True)]


def check_same(one: FirstLook, other: FirstLook) -> None:
    for item in fields(FirstLook):
        np.testing.assert_array_equal(getattr(one, item.name), getattr(other, item.name), err_msg=item.name)


@pytest.mark.parametrize("at_once", [1, 4, 5, 7, 100])
def test_each_sequence_is_looked_at_as_if_it_were_alone_across_the_borders_of_pieces(
    toy_model: FaceModel, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    basis, given = landmark_basis(toy_model, "toy68", device="cpu"), sequences(toy_model)
    alone = [look_at([sequence], basis) for sequence in given]
    monkeypatch.setattr(first_look, "_CHUNK", at_once)
    together = look_at(given, basis)
    assert [len(look.usable) for look in together] == LENGTHS
    for look, own in zip(together, alone, strict=True):
        if len(look.usable):
            check_same(look, own[0])
            assert look.usable.all()
    np.testing.assert_allclose(together[2].centre_px, given[2].smoothed_px.mean(axis=1), rtol=1e-5)


def test_the_pieces_cover_every_frame_once_and_are_full_but_for_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_look, "_CHUNK", 8)
    pieces = list(first_look._pieces(LENGTHS))
    assert pieces == [[(0, slice(0, 5)), (2, slice(0, 3))], [(2, slice(3, 11))], [(2, slice(11, 12)), (3, slice(0, 3))]]
    assert list(first_look._pieces([8])) == [[(0, slice(0, 8))]]
    assert not list(first_look._pieces([0]))


def test_nothing_to_look_at_gives_a_look_at_nothing(toy_model: FaceModel) -> None:
    basis = landmark_basis(toy_model, "toy68", device="cpu")
    assert look_at([], basis) == []


def test_landmarks_off_their_centre_and_the_centre_are_the_landmarks_to_the_last_bit() -> None:
    # Of the same size as their centre, as a face's landmarks are: the difference is exact (Sterbenz 1974).
    rng = np.random.default_rng(0)
    raw_px = rng.uniform(700, 1300, size=(40, 68, 2)).astype(np.float32)
    centre_px = rng.uniform(700, 1300, size=(40, 2)).astype(np.float32).astype(np.float64)
    shown = rng.random((40, 68)) > 0.2
    raw_px[~shown] = np.nan
    points = centred(raw_px, shown, centre_px)
    assert points.dtype == np.float32
    np.testing.assert_array_equal((points + centre_px[:, None])[shown], raw_px[shown].astype(np.float64))
    assert not points[~shown].any()


def test_weights_are_between_0_and_1_and_0_where_nothing_is_known() -> None:
    raw_px = np.zeros((1, 7, 2), np.float32)
    raw_px[0, 5, 0], raw_px[0, 6, 1] = np.nan, np.inf
    raw_weight = np.array([[0.5, 3.0, -1.0, np.nan, 1e-7, 1.0, 1.0]], np.float32)
    np.testing.assert_array_equal(clean_weight(raw_px, raw_weight), np.float32([[0.5, 1, 0, 0, 0, 0, 0]]))
