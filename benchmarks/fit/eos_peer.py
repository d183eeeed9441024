"""eos (Huber et al., VISAPP 2016; Apache-2.0), the second-order fitter of its field, on single frames.

Same face model, same landmarks, same priors: eos takes a landmark variance of 3 px^2, so a prior weight of 1/3 states
unit Gaussians and 1 px of noise, as our fit is told. It alternates closed forms (affine camera, identity, expression),
knows no robust weights, and evaluates the full mesh in each iteration, of which its time tells.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import eos
import numpy as np
from jaxtyping import Float64

from fitting.face_model import FaceModel
from fitting.landmark_basis import landmark_fields

VARIANCE_PX2 = 3.0
_PICTURE_PX = 400
"""Width and height that eos is told; it only turns y around with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EosFit:
    """Coefficients in the face model's own components, one frame per row, and the time that they took."""

    identity: Float64[np.ndarray, "frames n_identity"]
    expression: Float64[np.ndarray, "frames n_expression"]
    cpu_s: float


class EosModel:
    """A face model as eos wants it; landmarks are added to the mesh as vertices, so that both see the same."""

    def __init__(self, model: FaceModel, scheme: str) -> None:
        mean, identity, expression = landmark_fields(model, scheme)
        self._first = len(model.mean_mm)
        vertices = _with(model.mean_mm, mean)
        shape, self._identity = _pca(vertices, _with(model.identity_basis_mm, identity), model)
        # eos adds the mean of the expressions to that of the shapes.
        motion, self._expression = _pca(0 * vertices, _with(model.expression_basis_mm, expression), model)
        self._model = eos.morphablemodel.MorphableModel(shape, motion, color_model=eos.morphablemodel.PcaModel())

    def fit(self, frames: Sequence[Float64[np.ndarray, "points 2"]], *, iterations: int, prior: float) -> EosFit:
        """Fit single frames.

        Args:
            frames: Landmarks of each, pixels, y down.
            iterations: Rounds of the alternation; eos' default is 5.
            prior: Weight of both priors, beside squared pixels over `VARIANCE_PX2`.
        """
        mapper = eos.core.LandmarkMapper()
        pictures = [
            [eos.core.Landmark(str(self._first + k), point.astype(np.float32)) for k, point in enumerate(points)]
            for points in frames
        ]
        identity, expression = [], []
        began_s = time.process_time()
        for landmarks in pictures:
            _, _, shape, motion = eos.fitting.fit_shape_and_pose(
                self._model, landmarks, mapper, _PICTURE_PX, _PICTURE_PX, num_iterations=iterations,
                num_shape_coefficients_to_fit=None, lambda_identity=prior,
                num_expression_coefficients_to_fit=None, lambda_expressions=prior,
            )  # fmt: skip
            identity.append(shape)
            expression.append(motion)
        cpu_s = time.process_time() - began_s
        return EosFit(
            identity=np.asarray(identity, dtype=np.float64) @ self._identity,
            expression=np.asarray(expression, dtype=np.float64) @ self._expression,
            cpu_s=cpu_s,
        )


def _with(vertices: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    return np.concatenate([vertices.astype(np.float64), landmarks], axis=-2)


def _pca(mean: np.ndarray, basis: np.ndarray, model: FaceModel) -> tuple["eos.morphablemodel.PcaModel", np.ndarray]:
    """eos' model with orthonormal components, and the matrix from its coefficients to the face model's."""
    flat = basis.reshape(len(basis), -1)
    # flat = left diag(singular) right: unit Gaussian coefficients stay so under the rotation `left`.
    values, left = np.linalg.eigh(flat @ flat.T)
    values, left = values[::-1], left[:, ::-1]
    right = (left.T @ flat) / np.sqrt(values)[:, None]
    made = eos.morphablemodel.PcaModel(
        mean.reshape(-1, 1).astype(np.float32), right.T.astype(np.float32), values[:, None].astype(np.float32),
        [[int(v) for v in triangle] for triangle in model.triangles],
    )  # fmt: skip
    return made, left.T
