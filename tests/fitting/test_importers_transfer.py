"""Landmarks carried from one mesh to another by a few named points."""

from dataclasses import replace

import numpy as np
import pytest

from fitting.face_model import FaceModel, load_face_model
from fitting.importers.ibug68 import at_vertices
from fitting.importers.transfer import POINTS, positions, similarity, transfer_landmarks


@pytest.fixture(scope="module")
def cc0() -> FaceModel:
    return load_face_model()


def _named(model: FaceModel, scheme: str = "ibug68") -> dict[str, int]:
    corners = model.embedding(scheme)
    ids = corners.vertex_ids[np.arange(len(corners.weights)), corners.weights.argmax(axis=1)]
    return {name: int(ids[number]) for name, number in POINTS.items()}


def _rotation() -> np.ndarray:
    axis, angle = np.array([0.48, 0.6, 0.64]), 1.1
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


@pytest.mark.parametrize("scheme", ["ibug68", "mediapipe_dense"])
def test_a_turned_and_scaled_copy_gets_every_landmark_where_it_was(cc0: FaceModel, scheme: str) -> None:
    # On vertices, so that the named points lie on the landmarks exactly.
    corners = cc0.embedding(scheme)
    at = corners.vertex_ids[np.arange(len(corners.weights)), corners.weights.argmax(axis=1)]
    cc0 = replace(cc0, landmarks={scheme: at_vertices(at)})
    turned = 0.37 * cc0.mean_mm.astype(np.float64) @ _rotation().T + [5.0, -20.0, 100.0]
    points = {name: vertex for name, vertex in _named(cc0, scheme).items() if name != "chin"}
    carried = transfer_landmarks(cc0, turned, cc0.triangles, points, scheme=scheme)
    wanted = positions(turned.astype(np.float32), cc0.embedding(scheme))
    assert np.linalg.norm(positions(turned, carried) - wanted, axis=1).max() / 0.37 < 1e-3
    assert carried.weights.min() >= 0
    assert carried.weights.sum(axis=1) == pytest.approx(1)


def test_a_similarity_is_found_from_its_own_points() -> None:
    points = np.random.default_rng(0).normal(size=(6, 3))
    scale, rotation, shift = similarity(points, 2.5 * points @ _rotation().T + [1.0, 2.0, 3.0])
    assert scale == pytest.approx(2.5)
    assert rotation == pytest.approx(_rotation())
    assert shift == pytest.approx([1.0, 2.0, 3.0])


def test_on_another_model_the_landmarks_come_within_what_two_mark_ups_differ_by(
    cc0: FaceModel, ict_model: FaceModel
) -> None:
    carried = transfer_landmarks(cc0, ict_model.mean_mm, ict_model.triangles, _named(ict_model))
    known = positions(ict_model.mean_mm, ict_model.embedding("ibug68"))
    off_mm = np.linalg.norm(positions(ict_model.mean_mm, carried) - known, axis=1)
    assert off_mm[36:48].mean() < 2.0  # eyes
    assert off_mm[48:68].mean() < 3.5  # lips
    assert off_mm[27:36].mean() < 3.5  # nose
    assert off_mm[:17].mean() < 7.0  # jaw
    assert off_mm.mean() < 5.0


def test_a_mirrored_mesh_is_told(cc0: FaceModel) -> None:
    mirrored = cc0.mean_mm * np.array([-1, 1, 1], dtype=np.float32)
    with pytest.raises(ValueError, match="points fit a mirrored face better than a face"):
        transfer_landmarks(cc0, mirrored, cc0.triangles[:, ::-1], _named(cc0))


def test_a_wrong_vertex_is_named(cc0: FaceModel) -> None:
    points = _named(cc0) | {"mouth_left": _named(cc0)["right_eye_outer"]}
    with pytest.raises(ValueError, match="points do not fit a face: mouth_left is off by"):
        transfer_landmarks(cc0, cc0.mean_mm, cc0.triangles, points)


def test_points_that_cannot_be_are_told(cc0: FaceModel) -> None:
    points = _named(cc0)
    for wrong, message in (
        (points | {"left_ear": 3}, "points names 'left_ear'; known names are right_eye_outer"),
        (points | {"chin": 10**6}, "points: chin=1000000 is no vertex of a mesh of"),
        ({"chin": 1, "nose_tip": 2}, "points has 2 names, but at least 5"),
    ):
        with pytest.raises(ValueError, match=message):
            transfer_landmarks(cc0, cc0.mean_mm, cc0.triangles, wrong)
