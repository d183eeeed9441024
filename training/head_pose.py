"""How a head is held, from the landmarks of one picture. numpy alone: prediction does not wait for torch to load."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64

from fitting.face_model import INNER_POINTS, OUTER_EYE_POINTS, FaceModel
from fitting.options import FitOptions

_LEAST_SHARE = 1e-3
_RIDGE = 1e-4
_MOST_LOG_SCALE = 1.0


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


class HeadPoser:
    """Finds how heads are held of which an expression is predicted and nobody knows the identity.

    A prediction errs, and a mouth that it does not see open would look like a nod. So the landmarks are those of
    `mean + E (expression + error) + B identity`, plus the detector's noise, where error and identity are drawn from the
    model's priors; the camera is the generalised least-squares one, each landmark counting the less in the directions
    in which expressions and identities move it, found by one Gauss-Newton step from `closed_form_pose` (a second one
    changes less than the landmarks' noise does).

    Args:
        model: Face model.
        scheme: Landmark scheme.

    Raises:
        ValueError: The model has no landmarks for the scheme.
    """

    def __init__(self, model: FaceModel, scheme: str) -> None:
        embedding = model.embedding(scheme)
        ids, weights = embedding.vertex_ids[INNER_POINTS], embedding.weights[INNER_POINTS].astype(np.float64)
        nobody, nothing = np.zeros(model.n_identity, np.float32), np.zeros(model.n_expression, np.float32)
        mean_mm = model.landmarks_mm(scheme, nobody, nothing).astype(np.float64)
        self._mean_mm = mean_mm[INNER_POINTS]
        self._expression_mm = np.einsum("pk,npkc->npc", weights, model.expression_basis_mm[:, ids])
        identity_mm = np.einsum("pk,npkc->npc", weights, model.identity_basis_mm[:, ids])
        self._unknown_mm = np.concatenate([self._expression_mm, identity_mm])
        first, second = OUTER_EYE_POINTS
        outer_eye_mm = float(np.linalg.norm(mean_mm[first] - mean_mm[second]))
        self._noise_mm2 = np.repeat(outer_eye_mm**2 * _noise(model, scheme), 2)

    def pose(
        self, points_px: Float32[np.ndarray, "points 2"], expression: Float32[np.ndarray, " n_expression"]
    ) -> HeadPose | None:
        """The camera of a face; None where its inner landmarks coincide or lie on a line.

        Args:
            points_px: All landmarks of the scheme.
            expression: Predicted coefficients, standard deviations.
        """
        picture = points_px[INNER_POINTS].astype(np.float64)
        head_mm = self._mean_mm + np.tensordot(expression, self._expression_mm, axes=1)
        begin = closed_form_pose(picture, head_mm)
        if begin is None:
            return None
        scale, rotation = begin.scale_px_per_mm, begin.rotation.astype(np.float64)
        x, y, z = turned = rotation @ head_mm.T
        residual_mm = (picture - begin.translation_px) / scale - turned[:2].T
        zero, one = np.zeros_like(x), np.ones_like(x)
        # By log scale, turns about the camera's axes, translation in mm: `fitting.camera.camera_jacobian`.
        by_axis = np.array([[x, zero, z, -y, one, zero], [y, -z, zero, x, zero, one]])
        jacobian = by_axis.transpose(2, 0, 1).reshape(-1, 6)
        unknown = (self._unknown_mm.reshape(-1, 3) @ rotation[:2].T).reshape(len(self._unknown_mm), -1)
        covariance = unknown.T @ unknown
        covariance[np.diag_indices_from(covariance)] += self._noise_mm2
        weighted = np.linalg.solve(covariance, np.column_stack([jacobian, residual_mm.ravel()]))
        normal = jacobian.T @ weighted
        step = np.linalg.solve(normal[:, :6], normal[:, 6])
        return HeadPose(
            scale_px_per_mm=scale * float(np.exp(np.clip(step[0], -_MOST_LOG_SCALE, _MOST_LOG_SCALE))),
            rotation=(_turn(step[1:4]) @ rotation).astype(np.float32),
            translation_px=(begin.translation_px + scale * step[4:]).astype(np.float32),
        )


def _noise(model: FaceModel, scheme: str) -> Float64[np.ndarray, " inner"]:
    """Variance of each inner landmark, as the fit takes it: from frame to frame, and what lasts; outer-eye distance."""
    options = FitOptions()
    known = model.calibrations.get(scheme)
    noise_ratio, bias_ratio = (known.noise_ratio, known.bias_ratio) if known else (np.ones(68), np.ones(68))
    noise, bias = options.landmark_noise * noise_ratio[INNER_POINTS], options.landmark_bias * bias_ratio[INNER_POINTS]
    return np.asarray(noise.astype(np.float64) ** 2 + bias.astype(np.float64) ** 2)


def _turn(turn_rad: Float64[np.ndarray, " 3"]) -> Float64[np.ndarray, "3 3"]:
    """A rotation that is that turn to second order (Cayley's)."""
    x, y, z = turn_rad / 2
    half = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.linalg.solve(np.eye(3) - half, np.eye(3) + half)


def closed_form_pose(
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
