"""Contour landmarks: where the jaw may be seen, and where it is seen."""

import numpy as np
import pytest
import torch

from fitting.contour import CONTOUR_POINTS, contour_curves
from fitting.contour_slide import outline, sliding_contour
from fitting.face_model import FaceModel, load_face_model
from fitting.landmark_basis import landmark_basis
from fitting.rotation import compose, matrix_from_quaternion, quaternion_from_rotation_vector

FRONTAL = torch.tensor([[0.0, 1.0, 0.0, 0.0]])


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return load_face_model()


def curves_mm(model: FaceModel) -> np.ndarray:
    curves = contour_curves(model, "ibug68")
    return np.einsum("lkvc,lkv->lkc", model.mean_mm[curves.vertex_ids], curves.weights)


def turned_by(yaw_deg: float) -> torch.Tensor:
    turn = torch.tensor([[0.0, np.deg2rad(yaw_deg), 0.0]], dtype=torch.float32)
    return matrix_from_quaternion(compose(quaternion_from_rotation_vector(turn), FRONTAL))


def seen_outline(model: FaceModel, yaw_deg: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outline and landmarks in the picture (mm), and the rotation."""
    contour = sliding_contour(model, "ibug68", device="cpu")
    assert contour is not None
    head = landmark_basis(model, "ibug68", device="cpu").mean[None]
    rotation = turned_by(yaw_deg)
    found = outline(contour.mean[None], head, rotation, count=17)
    rows = rotation[:, :2]
    return torch.bmm(rows, found.head)[0].numpy(), torch.bmm(rows, head)[0].numpy(), rotation[0].numpy()


def test_every_curve_begins_at_its_landmark_and_runs_over_the_skin_towards_the_front(model: FaceModel) -> None:
    curves = curves_mm(model)
    embedding = model.embedding("ibug68")
    points = np.einsum("pkc,pk->pc", model.mean_mm[embedding.vertex_ids], embedding.weights)
    assert np.linalg.norm(curves[:, 0] - points[CONTOUR_POINTS], axis=-1).max() < 1.5
    steps = np.linalg.norm(np.diff(curves, axis=1), axis=-1)
    assert steps.max() < 12  # no jump to another sheet of the mesh
    assert (curves[:, -1, 2] > curves[:, 0, 2] + 10).all()
    reach = np.linalg.norm(curves[:, -1] - curves[:, 0], axis=-1)
    assert ((reach > 15) & (reach < 70)).all()


def test_curves_of_the_left_and_the_right_mirror_each_other(model: FaceModel) -> None:
    curves = curves_mm(model)
    mirrored = curves[::-1] * np.array([-1.0, 1.0, 1.0])
    assert np.abs(curves - mirrored).max() < 6  # candidates sit on mesh edges, whose places differ a little


def test_seen_from_the_front_the_outline_is_near_the_landmarks(model: FaceModel) -> None:
    outer, landmarks, _ = seen_outline(model, 0.0)
    assert np.linalg.norm(outer - landmarks[:, :17], axis=0)[3:14].max() < 6


def sides(landmarks: np.ndarray) -> tuple[range, range]:
    """Contour points on the side that turns away, and on the side that turns here."""
    right, left = range(2, 6), range(11, 15)
    return (right, left) if landmarks[0, 30] < 0 else (left, right)


@pytest.mark.parametrize("yaw_deg", [-45.0, -25.0, 25.0, 45.0])
def test_on_the_far_side_no_skin_of_the_face_lies_outside_the_outline(model: FaceModel, yaw_deg: float) -> None:
    outer, landmarks, rotation = seen_outline(model, yaw_deg)
    # Ears and the back of the head, which lie further out, are none of the face's outline.
    face = model.mean_mm[(model.mean_mm[:, 2] > -40) & (np.abs(model.mean_mm[:, 0]) > 20)]
    seen = face @ rotation[:2].T
    side = np.sign(landmarks[0, 30])
    for k in sides(landmarks)[0]:
        beside = seen[np.abs(seen[:, 1] - outer[1, k]) < 2.0]
        assert (side * beside[:, 0]).max() - side * outer[0, k] < 3.0
        if abs(yaw_deg) > 40:
            # The landmark of the mean face is hidden behind the cheek: that is why the contour slides.
            assert side * (outer[0, k] - landmarks[0, k]) > 3.0


def test_on_the_near_side_the_outline_stays_at_the_landmarks(model: FaceModel) -> None:
    outer, landmarks, _ = seen_outline(model, 45.0)
    near = list(sides(landmarks)[1])
    assert np.linalg.norm(outer[:, near] - landmarks[:, near], axis=0).max() < 2


def test_mediapipes_contour_does_not_slide(model: FaceModel) -> None:
    assert sliding_contour(model, "mediapipe68", device="cpu") is None


def test_outlines_do_not_depend_on_the_batch(model: FaceModel) -> None:
    contour = sliding_contour(model, "ibug68", device="cpu")
    assert contour is not None
    basis = landmark_basis(model, "ibug68", device="cpu")
    rng = torch.Generator().manual_seed(0)
    expression = torch.randn(7, model.n_expression, generator=rng)
    rotation = torch.cat([turned_by(yaw) for yaw in np.linspace(-60, 60, 7)])
    spots = contour.mean + contour.expressions(expression)
    head = basis.mean + basis.expressions(expression)
    together = outline(spots, head, rotation, count=17)
    for frame in range(7):
        alone = outline(spots[frame : frame + 1], head[frame : frame + 1], rotation[frame : frame + 1], count=17)
        assert torch.equal(alone.head[0], together.head[frame])
        assert torch.equal(alone.across[0], together.across[frame])
