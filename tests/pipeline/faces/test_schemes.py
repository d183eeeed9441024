import numpy as np
import pytest

from pipeline.faces.schemes import LIDS_LEFT, LIDS_RIGHT, MESH_POINTS, mirror_of, points_of

SCHEMES = ["mediapipe68", "mediapipe_dense"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_points_are_distinct_points_of_the_mesh(scheme):
    ids = points_of(scheme)
    assert len(set(ids.tolist())) == len(ids)
    assert ids.min() >= 0
    assert ids.max() < MESH_POINTS


def test_every_scheme_begins_with_the_68():
    assert len(points_of("mediapipe68")) == 68
    assert np.array_equal(points_of("mediapipe_dense")[:68], points_of("mediapipe68"))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_mirroring_twice_changes_nothing(scheme):
    mirror = mirror_of(scheme)
    assert np.array_equal(np.sort(mirror), np.arange(len(points_of(scheme))))
    assert np.array_equal(mirror[mirror], np.arange(len(mirror)))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_mirror_takes_right_lids_to_left_ones(scheme):
    # The eye network's lids are tables of their own, in the same order.
    partner = dict(zip(LIDS_RIGHT, LIDS_LEFT, strict=True))
    ids, mirror = points_of(scheme).tolist(), mirror_of(scheme)
    right = [k for k, point in enumerate(ids) if point in partner]
    assert len(right) >= 6
    assert [ids[mirror[k]] for k in right] == [partner[ids[k]] for k in right]


def test_the_dense_scheme_has_all_lid_points():
    lids = set(LIDS_RIGHT) | set(LIDS_LEFT)
    assert lids <= set(points_of("mediapipe_dense").tolist())


def test_an_unknown_scheme_is_named():
    with pytest.raises(ValueError, match="unknown landmark scheme='dlib'"):
        points_of("dlib")
