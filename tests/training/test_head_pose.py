"""How a head is held: as the fit's own closed form says, known cameras, and none where there is none."""

import numpy as np
import pytest
import torch

from fitting.camera import closed_form_camera
from fitting.rotation import matrix_from_quaternion
from training.head_pose import head_pose

RNG = np.random.default_rng(3)
HEAD_MM = RNG.normal(scale=(40.0, 50.0, 30.0), size=(51, 3))


def turn(wxyz: tuple[float, ...]) -> np.ndarray:
    quaternion = np.array(wxyz) / np.linalg.norm(wxyz)
    return matrix_from_quaternion(torch.tensor(quaternion)).numpy()


@pytest.mark.parametrize("wxyz", [(0, 1, 0, 0), (0.2, 0.9, -0.3, 0.1), (0.7, 0.1, 0.7, 0.2), (0.1, 0, 0.1, 0.99)])
def test_a_known_camera_is_found_again(wxyz: tuple[float, ...]) -> None:
    rotation = turn(wxyz)
    pose = head_pose(1.7 * HEAD_MM @ rotation[:2].T + (300.0, 200.0), HEAD_MM)
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
        pose = head_pose(points, HEAD_MM)
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
    assert head_pose(points, HEAD_MM) is None
