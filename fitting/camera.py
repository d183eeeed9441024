"""The scaled-orthographic camera: projection, derivative, update, and the closed-form start.

`picture = scale * (R @ head)[:2] + translation`. Head frame: x to the subject's left, y up, z out of the
face. Camera frame: x right, y down, z forward. A frontal face has `R = diag(1, -1, -1)`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fitting.rotation import matrix_from_quaternion, quaternion_from_matrix, turned

PARAMETERS = 6
"""log scale, three turns about the camera's axes, two translations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaledOrthographic:
    """One camera per frame.

    Attributes:
        scale: Picture units per millimetre.
        quaternion: Unit quaternions (w, x, y, z) from the head frame to the camera frame.
        translation: Where the head frame's origin falls, picture units.
    """

    scale: Float[Tensor, "*batch"]
    quaternion: Float[Tensor, "*batch 4"]
    translation: Float[Tensor, "*batch 2"]

    def rotation(self) -> Float[Tensor, "*batch 3 3"]:
        """Rotation matrices from the head frame to the camera frame."""
        return matrix_from_quaternion(self.quaternion)

    def updated(self, step: Float[Tensor, "*batch 6"]) -> "ScaledOrthographic":
        """Moved by a step in (log scale, turn about the camera's axes in radians, translation)."""
        # (1 + x/2) / (1 - x/2) is exp(x) to second order, positive for |x| < 2, and exactly rounded.
        half = 0.5 * step[..., 0].clamp(-1.0, 1.0)
        return ScaledOrthographic(
            scale=self.scale * (1 + half) / (1 - half),
            quaternion=turned(self.quaternion, step[..., 1:4]),
            translation=self.translation + step[..., 4:6],
        )

    def where(self, chosen: Bool[Tensor, "*batch"], other: "ScaledOrthographic") -> "ScaledOrthographic":
        """This camera where `chosen`, `other` elsewhere."""
        return ScaledOrthographic(
            scale=torch.where(chosen, self.scale, other.scale),
            quaternion=torch.where(chosen[..., None], self.quaternion, other.quaternion),
            translation=torch.where(chosen[..., None], self.translation, other.translation),
        )

    def at(self, index: Tensor | slice) -> "ScaledOrthographic":
        """The cameras at an index or slice of the first axis."""
        return ScaledOrthographic(
            scale=self.scale[index], quaternion=self.quaternion[index], translation=self.translation[index]
        )


def joined_cameras(cameras: Sequence[ScaledOrthographic]) -> ScaledOrthographic:
    """The cameras of one after those of another."""
    return ScaledOrthographic(
        scale=torch.cat([one.scale for one in cameras]),
        quaternion=torch.cat([one.quaternion for one in cameras]),
        translation=torch.cat([one.translation for one in cameras]),
    )


def turned_points(
    camera: ScaledOrthographic, head: Float[Tensor, "frames 3 points"]
) -> Float[Tensor, "frames 3 points"]:
    """Points in camera axes, times the scale: rows are picture x, picture y (before translation), and depth."""
    return torch.bmm(camera.scale[:, None, None] * camera.rotation(), head)


def project(camera: ScaledOrthographic, head: Float[Tensor, "frames 3 points"]) -> Float[Tensor, "frames 2 points"]:
    """Picture coordinates of points of the head frame (mm)."""
    return turned_points(camera, head)[:, :2] + camera.translation[:, :, None]


def camera_jacobian(scaled: Float[Tensor, "frames 3 points"]) -> Float[Tensor, "frames 2 points 6"]:
    """Derivative of the projection by a step of `ScaledOrthographic.updated`, from `turned_points`."""
    x, y, z = scaled.unbind(1)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    along_x = torch.stack([x, zero, z, -y, one, zero], dim=-1)
    along_y = torch.stack([y, -z, zero, x, zero, one], dim=-1)
    return torch.stack([along_x, along_y], dim=1)


def model_jacobian(
    scaled_rotation: Float[Tensor, "frames 2 3"], basis: Float[Tensor, "3 points n"]
) -> Float[Tensor, "frames 2 points n"]:
    """Derivative of the projection by the coefficients of a basis of displacements."""
    flat = basis.flatten(1).expand(len(scaled_rotation), -1, -1)
    return torch.bmm(scaled_rotation, flat).reshape(len(flat), 2, *basis.shape[1:])


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedFormCamera:
    """Cameras as the closed form gives them.

    Attributes:
        scale: Picture units per millimetre.
        rows: First two rows of the rotation.
        translation: Where the head frame's origin falls.
        found: Whether there is a camera (enough points, not all in one place).
    """

    scale: Float[Tensor, " frames"]
    rows: Float[Tensor, "frames 2 3"]
    translation: Float[Tensor, "frames 2"]
    found: Bool[Tensor, " frames"]

    def squared_residuals(self, points: Float[Tensor, "frames 6 points"]) -> Float[Tensor, "frames points"]:
        """Squared distances in the picture, for `stacked_points`."""
        picture = torch.eye(2, dtype=points.dtype, device=points.device).expand(len(points), 2, 2)
        away = torch.cat([self.scale[:, None, None] * self.rows, -picture, self.translation[..., None]], dim=-1)
        x, y = torch.bmm(away, points).unbind(1)
        return x * x + y * y

    def where(self, chosen: Bool[Tensor, " frames"], other: "ClosedFormCamera") -> "ClosedFormCamera":
        """This camera where `chosen`, `other` elsewhere."""
        return ClosedFormCamera(
            scale=torch.where(chosen, self.scale, other.scale),
            rows=torch.where(chosen[:, None, None], self.rows, other.rows),
            translation=torch.where(chosen[:, None], self.translation, other.translation),
            found=torch.where(chosen, self.found, other.found),
        )

    def camera(self) -> ScaledOrthographic:
        """The same as a camera to start from."""
        rotation = torch.cat([self.rows, torch.linalg.cross(self.rows[:, :1], self.rows[:, 1:])], dim=1)
        return ScaledOrthographic(
            scale=self.scale, quaternion=quaternion_from_matrix(rotation), translation=self.translation
        )


def stacked_points(
    picture: Float[Tensor, "frames 2 points"], head: Float[Tensor, "frames 3 points"]
) -> Float[Tensor, "frames 6 points"]:
    """Points of the head, of the picture, and 1: what `closed_form` works on. Both are to lie about their origins."""
    stacked = picture.new_ones(len(head), 6, head.shape[-1])
    stacked[:, :3] = head
    stacked[:, 3:5] = picture
    return stacked


def closed_form(
    points: Float[Tensor, "frames 6 points"], weight: Float[Tensor, "frames points"]
) -> ClosedFormCamera:
    """The cameras that map known head points to the picture: weighted affine fit, then the nearest scaled rotation.

    The affine camera is the "gold standard" algorithm 7.2 of Hartley and Zisserman for a known shape; the nearest
    pair of orthogonal rows of equal length is the polar factor of the 2x3 matrix (Higham 1986), in closed form.

    Args:
        points: Of `stacked_points`.
        weight: Of each point.
    """
    moments = torch.bmm(points * weight[:, None], points.mT)
    total = moments[:, 5, 5].clamp_min(1e-12)
    mean = moments[:, :5, 5] / total[:, None]
    centred = moments[:, :5, :5] / total[:, None, None] - mean[:, :, None] * mean[:, None, :]
    spread = centred[:, 0, 0] + centred[:, 1, 1] + centred[:, 2, 2]
    # The small ridge decides where the points leave a direction open (all in one plane, or too few).
    ridge = (1e-4 * spread + 1e-9)[:, None, None] * torch.eye(3, dtype=points.dtype, device=points.device)
    affine = torch.bmm(_inverse_symmetric(centred[:, :3, :3] + ridge), centred[:, :3, 3:5]).mT
    gram = torch.bmm(affine, affine.mT)
    a, b, c = gram[:, 0, 0], gram[:, 0, 1], gram[:, 1, 1]
    delta = (a * c - b * b).clamp_min(0).sqrt()
    length = (a + c + 2 * delta).sqrt()
    enough = (weight > 0).sum(-1) >= 4
    found = (delta > 1e-3 * (a + c)) & (length > 0) & torch.isfinite(length) & enough
    safe = torch.where(found, delta * length, torch.ones_like(delta))
    inverse_root = torch.stack([c + delta, -b, -b, a + delta], dim=-1).reshape(-1, 2, 2) / safe[:, None, None]
    rows = torch.bmm(inverse_root, affine)
    frontal = torch.tensor([[1.0, 0.0, 0.0], [0.0, -1.0, 0.0]], dtype=points.dtype, device=points.device)
    rows = torch.where(found[:, None, None], rows, frontal)
    scale = torch.where(found, 0.5 * length, torch.ones_like(length))
    turned_mean = rows[:, :, 0] * mean[:, None, 0] + rows[:, :, 1] * mean[:, None, 1] + rows[:, :, 2] * mean[:, None, 2]
    return ClosedFormCamera(
        scale=scale, rows=rows, translation=mean[:, 3:5] - scale[:, None] * turned_mean, found=found
    )


def closed_form_camera(
    picture: Float[Tensor, "frames 2 points"],
    weight: Float[Tensor, "frames points"],
    head: Float[Tensor, "frames 3 points"],
) -> tuple[ScaledOrthographic, Bool[Tensor, " frames"]]:
    """`closed_form` of known heads, and whether each camera could be found."""
    solved = closed_form(stacked_points(picture, head), weight)
    return solved.camera(), solved.found


def _inverse_symmetric(matrix: Float[Tensor, "frames 3 3"]) -> Float[Tensor, "frames 3 3"]:
    # Rows of the adjugate of a symmetric matrix are cross products of its rows.
    adjugate: Tensor = torch.linalg.cross(matrix[:, [1, 2, 0]], matrix[:, [2, 0, 1]])
    determinant = (matrix[:, 0] * adjugate[:, 0]).sum(-1)
    return adjugate / determinant[:, None, None]
