"""Projection, its derivative, the closed-form start, and the signs of the head angles."""

import numpy as np
import pytest
import torch

from fitting.angles import yaw_pitch_roll_deg
from fitting.camera import (
    ScaledOrthographic,
    camera_jacobian,
    closed_form_camera,
    project,
    turned_points,
)
from fitting.rotation import canonical, compose, quaternion_from_rotation_vector

FRONTAL = torch.tensor([0.0, 1.0, 0.0, 0.0], dtype=torch.float64)


def some_cameras(count: int, seed: int = 0) -> ScaledOrthographic:
    generator = torch.Generator().manual_seed(seed)
    return ScaledOrthographic(
        scale=1.0 + torch.rand(count, generator=generator, dtype=torch.float64),
        quaternion=canonical(torch.randn(count, 4, generator=generator, dtype=torch.float64)),
        translation=10 * torch.randn(count, 2, generator=generator, dtype=torch.float64),
    )


def some_heads(count: int, points: int = 20) -> torch.Tensor:
    return 50 * torch.randn(count, 3, points, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


def test_a_frontal_face_has_its_left_on_the_right_of_the_picture_and_its_top_above() -> None:
    camera = ScaledOrthographic(
        scale=torch.tensor([2.0]), quaternion=FRONTAL.float()[None], translation=torch.tensor([[100.0, 50.0]])
    )
    # Columns: the origin, a point to the subject's left, a point above.
    head = torch.tensor([[[0.0, 10.0, 0.0], [0.0, 0.0, 10.0], [0.0, 0.0, 0.0]]])
    expected = torch.tensor([[[100.0, 120.0, 100.0], [50.0, 50.0, 30.0]]])
    torch.testing.assert_close(project(camera, head), expected)


def test_the_analytic_camera_jacobian_is_autograds() -> None:
    camera, head = some_cameras(3), some_heads(3)
    analytic = camera_jacobian(turned_points(camera, head))

    def moved(step: torch.Tensor) -> torch.Tensor:
        return project(camera.updated(step), head)

    full = torch.autograd.functional.jacobian(moved, torch.zeros(3, 6, dtype=torch.float64))
    automatic = torch.stack([full[f, :, :, f] for f in range(3)])
    torch.testing.assert_close(analytic, automatic, atol=1e-9, rtol=1e-9)


def test_the_closed_form_finds_the_camera_behind_exact_points() -> None:
    camera, head = some_cameras(7), some_heads(7)
    found, ok = closed_form_camera(project(camera, head), torch.ones(7, 20, dtype=torch.float64), head)
    assert ok.all()
    torch.testing.assert_close(found.scale, camera.scale, rtol=1e-3, atol=0)
    torch.testing.assert_close(found.rotation(), camera.rotation(), rtol=0, atol=1e-3)
    torch.testing.assert_close(found.translation, camera.translation, rtol=0, atol=0.1)


def test_the_closed_form_says_when_there_is_no_camera_to_find() -> None:
    head = some_heads(3)
    picture = torch.zeros(3, 2, 20, dtype=torch.float64)
    picture[1] = head[1, :2]
    picture[2] = head[2, :1]
    weight = torch.ones(3, 20, dtype=torch.float64)
    weight[1, 3:] = 0
    camera, found = closed_form_camera(picture, weight, head)
    assert found.tolist() == [False, False, False], "all in one place; three points; all on one line"
    assert torch.isfinite(camera.scale).all()
    assert torch.isfinite(camera.quaternion).all()


@pytest.mark.parametrize("batch", [(), (1,), (3, 1, 2)])
def test_a_frontal_face_has_all_angles_zero(batch: tuple[int, ...]) -> None:
    quaternions = np.broadcast_to(FRONTAL.numpy(), (*batch, 4))
    np.testing.assert_allclose(yaw_pitch_roll_deg(quaternions), np.zeros((*batch, 3)), atol=1e-12)


@pytest.mark.parametrize(
    ("axis_in_camera", "expected"),
    [
        # The camera's y axis points down: a positive turn about it moves z towards x, and the face, which looks
        # along -z, towards the picture's left, the subject's right.
        ((0.0, 1.0, 0.0), (-20.0, 0.0, 0.0)),
        # About x (right): y (down) goes to z (away), the face's -z goes to y: down in the picture... upwards is -y.
        ((1.0, 0.0, 0.0), (0.0, -20.0, 0.0)),
        # About z (into the picture): x goes to y, right goes down: clockwise as seen.
        ((0.0, 0.0, 1.0), (0.0, 0.0, 20.0)),
    ],
)
def test_signs_of_the_head_angles(axis_in_camera: tuple[float, ...], expected: tuple[float, ...]) -> None:
    turn = np.deg2rad(20.0) * torch.tensor(axis_in_camera, dtype=torch.float64)
    quaternion = compose(quaternion_from_rotation_vector(turn), FRONTAL)
    # What the picture shows decides: where the nose tip and the top of the head fall.
    camera = ScaledOrthographic(
        scale=torch.ones(1, dtype=torch.float64),
        quaternion=quaternion[None],
        translation=torch.zeros(1, 2, dtype=torch.float64),
    )
    nose, top = project(camera, torch.tensor([[[0.0, 0.0], [0.0, 1.0], [1.0, 0.0]]], dtype=torch.float64))[0].T
    yaw, pitch, roll = yaw_pitch_roll_deg(quaternion.numpy())
    np.testing.assert_allclose((yaw, pitch, roll), expected, atol=1e-9)
    assert np.sign(np.round(float(nose[0]), 6)) == np.sign(expected[0]), "to the subject's left is right in the picture"
    assert np.sign(np.round(float(-nose[1]), 6)) == np.sign(expected[1]), "looking up moves the nose up"
    assert np.sign(np.round(float(top[0]), 6)) == np.sign(expected[2]), "clockwise moves the top to the right"
