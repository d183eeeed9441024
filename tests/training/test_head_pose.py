"""How a head is held: known cameras are found again, also where the predicted expression is wrong or mirrored."""

import numpy as np
import pytest
import torch

from fitting.angles import yaw_pitch_roll_deg
from fitting.camera import closed_form_camera
from fitting.face_model import INNER_POINTS, FaceModel, load_face_model
from fitting.render import look_from, project_head
from fitting.rotation import matrix_from_quaternion
from pipeline.faces.schemes import IBUG68_MIRROR
from training.head_pose import HeadPose, HeadPoser, closed_form_pose
from training.mirror import mirror_operator

RNG = np.random.default_rng(3)
HEAD_MM = RNG.normal(scale=(40.0, 50.0, 30.0), size=(51, 3))
SCHEME = "mediapipe68"
WIDTH_PX = 640


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return load_face_model()


def seen(
    model: FaceModel, identity: np.ndarray, expression: np.ndarray, rotation: np.ndarray, scheme: str = SCHEME
) -> np.ndarray:
    head_mm = model.landmarks_mm(scheme, identity.astype(np.float32), expression.astype(np.float32))
    return project_head(head_mm, 1.5, rotation, (310.0, 230.0))[:, :2]


def angles(pose: HeadPose | None) -> np.ndarray:
    assert pose is not None
    return yaw_pitch_roll_deg(pose.rotation_wxyz)


def turn(wxyz: tuple[float, ...]) -> np.ndarray:
    quaternion = np.array(wxyz) / np.linalg.norm(wxyz)
    return matrix_from_quaternion(torch.tensor(quaternion)).numpy()


@pytest.mark.parametrize("wxyz", [(0, 1, 0, 0), (0.2, 0.9, -0.3, 0.1), (0.7, 0.1, 0.7, 0.2), (0.1, 0, 0.1, 0.99)])
def test_a_known_camera_is_found_again(wxyz: tuple[float, ...]) -> None:
    rotation = turn(wxyz)
    pose = closed_form_pose(1.7 * HEAD_MM @ rotation[:2].T + (300.0, 200.0), HEAD_MM)
    assert pose is not None
    assert pose.scale_px_per_mm == pytest.approx(1.7, rel=1e-3)
    np.testing.assert_allclose(pose.rotation, rotation, atol=1e-3)
    np.testing.assert_allclose(pose.translation_px, (300, 200), atol=0.1)
    np.testing.assert_allclose(np.abs(pose.rotation_wxyz @ (np.array(wxyz) / np.linalg.norm(wxyz))), 1, atol=1e-6)
    assert pose.rotation_wxyz[0] >= 0


def test_it_is_the_closed_form_that_a_fit_begins_with() -> None:
    for _ in range(20):
        rotation = turn(tuple(RNG.normal(size=4)))
        points = 1.3 * HEAD_MM @ rotation[:2].T + (90.0, 120.0) + RNG.normal(scale=4, size=(51, 2))
        pose = closed_form_pose(points, HEAD_MM)
        camera, found = closed_form_camera(
            *(torch.tensor(part[None]) for part in (points.T, np.ones(51), HEAD_MM.T))
        )
        assert bool(found[0])
        assert pose is not None
        assert pose.scale_px_per_mm == pytest.approx(float(camera.scale[0]), rel=1e-9)
        np.testing.assert_allclose(pose.rotation_wxyz, camera.quaternion[0].numpy(), atol=1e-6)
        np.testing.assert_allclose(pose.translation_px, camera.translation[0].numpy(), atol=1e-4)


@pytest.mark.parametrize("points", [np.zeros((51, 2)), HEAD_MM[:, :1] * (1.0, 2.0), np.full((51, 2), np.nan)])
def test_landmarks_in_one_place_on_a_line_or_without_a_number_tell_nothing(points: np.ndarray) -> None:
    assert closed_form_pose(points, HEAD_MM) is None


def test_of_the_mean_identity_the_true_expression_gives_the_true_camera(model: FaceModel) -> None:
    poser = HeadPoser(model, SCHEME)
    for look in [(0.0, 0.0, 0.0), (30.0, 0.0, 0.0), (0.0, -25.0, 0.0), (0.0, 0.0, 40.0), (-50.0, 15.0, -10.0)]:
        expression = RNG.normal(size=model.n_expression).astype(np.float32)
        rotation = look_from(*look)
        points = seen(model, np.zeros(model.n_identity), expression, rotation)
        pose = poser.pose(points, expression)
        assert pose is not None
        assert pose.scale_px_per_mm == pytest.approx(1.5, rel=1e-3)
        np.testing.assert_allclose(pose.rotation, rotation, atol=1e-3)
        np.testing.assert_allclose(pose.translation_px, (310, 230), atol=0.1)
        # Another place and size in the picture change nothing but place and size.
        moved = poser.pose(0.5 * points + np.float32(70.0), expression)
        assert moved is not None
        np.testing.assert_allclose(moved.rotation, pose.rotation, atol=1e-5)
        np.testing.assert_allclose(moved.translation_px, 0.5 * pose.translation_px + 70, atol=1e-2)
        assert moved.scale_px_per_mm == pytest.approx(0.5 * pose.scale_px_per_mm, rel=1e-5)


def test_a_mirrored_picture_turns_the_head_the_other_way_and_nods_it_no_other(model: FaceModel) -> None:
    # The points of this scheme lie on both sides alike; MediaPipe's do not.
    operator, poser = mirror_operator(model), HeadPoser(model, "ibug68")
    assert operator is not None
    for yaw, pitch, roll in [(25.0, -15.0, 10.0), (-30.0, 20.0, 5.0)]:
        expression = RNG.normal(size=model.n_expression).astype(np.float32)
        points = seen(model, np.zeros(model.n_identity), expression, look_from(yaw, pitch, roll), "ibug68")
        mirrored = points[list(IBUG68_MIRROR)]
        mirrored[:, 0] = WIDTH_PX - 1 - mirrored[:, 0]
        wanted = angles(poser.pose(points, expression)) * (-1, 1, -1)
        np.testing.assert_allclose(angles(poser.pose(mirrored, operator @ expression)), wanted, atol=0.02)


def test_an_expression_that_was_not_predicted_is_not_taken_for_a_nod(model: FaceModel) -> None:
    poser = HeadPoser(model, SCHEME)
    nothing = np.zeros(model.n_expression, np.float32)
    mean_mm = model.landmarks_mm(SCHEME, np.zeros(model.n_identity, np.float32), nothing)[INNER_POINTS]
    truth, found, closed_form = [], [], []
    for _ in range(60):
        rotation = look_from(*RNG.uniform((-25, -15, -10), (25, 15, 10)))
        points = seen(model, RNG.normal(size=model.n_identity), RNG.normal(size=model.n_expression), rotation)
        truth.append(angles(HeadPose(scale_px_per_mm=1.0, rotation=rotation, translation_px=np.zeros(2, np.float32))))
        found.append(angles(poser.pose(points, nothing)))
        closed_form.append(angles(closed_form_pose(points[INNER_POINTS], mean_mm)))
    errors_deg, closed_form_errors_deg = (np.array(one) - truth for one in (found, closed_form))
    np.testing.assert_array_less(np.abs(errors_deg.mean(axis=0)), (1.0, 1.5, 0.5))
    assert errors_deg[:, 1].std() < 0.5 * closed_form_errors_deg[:, 1].std()
    assert np.corrcoef(np.array(found)[:, 1], np.array(truth)[:, 1])[0, 1] > 0.9
