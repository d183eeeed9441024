"""How a head is held, from the landmarks of one picture. numpy alone: prediction does not wait for torch to load."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

_LEAST_SHARE = 1e-3
_RIDGE = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadPose:
    """A scaled-orthographic camera: `px = scale * (R @ head_mm)[:2] + translation`.

    Attributes:
        scale_px_per_mm: Scale.
        rotation: Head frame to camera frame.
        translation_px: Where the head frame's origin falls.
    """

    scale_px_per_mm: float
    rotation: Float32[np.ndarray, "3 3"]
    translation_px: Float32[np.ndarray, " 2"]

    @property
    def rotation_wxyz(self) -> Float32[np.ndarray, " 4"]:
        """The rotation as a unit quaternion, w >= 0."""
        (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = self.rotation.astype(np.float64)
        # Four times the products of its components. The row of the largest is never divided by a small number
        # (Shepperd, "Quaternion from Rotation Matrix", Journal of Guidance and Control 1978).
        products = np.array([
            [1 + xx + yy + zz, zy - yz, xz - zx, yx - xy],
            [zy - yz, 1 + xx - yy - zz, xy + yx, xz + zx],
            [xz - zx, xy + yx, 1 - xx + yy - zz, yz + zy],
            [yx - xy, xz + zx, yz + zy, 1 - xx - yy + zz],
        ])
        row = products[products.diagonal().argmax()]
        return np.asarray(np.copysign(1.0, row[0]) * row / np.linalg.norm(row), dtype=np.float32)


def head_pose(
    points_px: Float[np.ndarray, "points 2"], head_mm: Float[np.ndarray, "points 3"]
) -> HeadPose | None:
    """The camera that brings points of a head nearest to landmarks; None where these coincide or lie on a line.

    The closed form that a fit begins with (`fitting.camera.closed_form`, see there), for one picture: the least-squares
    affine camera, then its nearest scaled rotation.

    Args:
        points_px: Landmarks.
        head_mm: The same points of the head, head frame.
    """
    picture, head = points_px.astype(np.float64), head_mm.astype(np.float64)
    picture_mean, head_mean = picture.mean(axis=0), head.mean(axis=0)
    picture, head = picture - picture_mean, head - head_mean
    moments = head.T @ head
    # The small ridge decides where points that all lie in one plane leave the depth open.
    if not (np.isfinite(picture).all() and np.isfinite(head).all()):
        return None
    affine = np.linalg.solve(moments + _RIDGE * np.trace(moments) * np.eye(3), head.T @ picture).T
    left, lengths, right = np.linalg.svd(affine, full_matrices=False)
    if not lengths[1] > _LEAST_SHARE * lengths[0]:
        return None
    rows = left @ right
    scale = lengths.mean()
    return HeadPose(
        scale_px_per_mm=float(scale),
        rotation=np.vstack([rows, np.cross(*rows)]).astype(np.float32),
        translation_px=(picture_mean - scale * rows @ head_mean).astype(np.float32),
    )
