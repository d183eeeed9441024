"""The face model at the landmarks of one scheme, as tensors: all that the solver ever sees of a mesh."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor

from fitting.expression_squares import ExpressionSquares, expression_squares
from fitting.face_model import OUTER_EYE_POINTS, FaceModel
from fitting.shared_product import times_shared

_INDEPENDENT_POINTS = 68
"""More landmarks than this say no more about a face than this many independent ones: neighbours err together."""


# No slots: what follows from the basis alone is worked out once, where it is asked for.
@dataclass(frozen=True, kw_only=True)
class LandmarkBasis:
    """A linear model of landmarks in millimetres, head frame; coordinate-major, so that rows of a product are x, y, z.

    Attributes:
        mean: Landmarks of the mean face.
        identity: Displacement per standard deviation of each identity component.
        expression: Displacement per standard deviation of each expression component.
        outer_eye_mm: Distance of the outer eye corners of the mean face.
        noise_ratio: Noise of each landmark, as a multiple of `FitOptions.landmark_noise`.
        bias_ratio: Error of each landmark that lasts through a track, as a multiple of `FitOptions.landmark_bias`.
    """

    mean: Float[Tensor, "3 points"]
    identity: Float[Tensor, "3 points n_identity"]
    expression: Float[Tensor, "3 points n_expression"]
    outer_eye_mm: float
    noise_ratio: Float[Tensor, " points"]
    bias_ratio: Float[Tensor, " points"]

    def points(self, selection: Int64[np.ndarray, " chosen"]) -> "LandmarkBasis":
        """The same model at some of its points."""
        return LandmarkBasis(
            mean=self.mean[:, selection].contiguous(),
            identity=self.identity[:, selection].contiguous(),
            expression=self.expression[:, selection].contiguous(),
            outer_eye_mm=self.outer_eye_mm,
            noise_ratio=self.noise_ratio[selection].contiguous(),
            bias_ratio=self.bias_ratio[selection].contiguous(),
        )

    def identities(self, identity: Float[Tensor, "tracks n_identity"]) -> Float[Tensor, "tracks 3 points"]:
        """Landmarks of identities with the mean expression."""
        return self.mean + displacements(identity, self.identity)

    def displaced(
        self, directions: Float[Tensor, "tracks n_identity directions"]
    ) -> Float[Tensor, "tracks 3 points directions"]:
        """Displacements of the landmarks by directions in identity."""
        flat = self.identity.flatten(0, 1).expand(len(directions), -1, -1)
        return torch.bmm(flat, directions).reshape(len(directions), *self.mean.shape, -1)

    def expressions(self, expression: Float[Tensor, "frames n_expression"]) -> Float[Tensor, "frames 3 points"]:
        """Displacements of the landmarks by expressions."""
        return displacements(expression, self.expression)


    @cached_property
    def squares(self) -> ExpressionSquares:
        """Constants of the expression's normal matrices."""
        return expression_squares(self.expression)

    @cached_property
    def expression_by_point(self) -> Float[Tensor, "points axes_n"]:
        """The expression basis with a row per landmark: all components of x, of y, of z."""
        return self.expression.permute(1, 0, 2).flatten(1)

    @cached_property
    def identity_by_point(self) -> Float[Tensor, "points axes_n"]:
        """The same of the identity basis."""
        return self.identity.permute(1, 0, 2).flatten(1)


def landmark_basis(model: FaceModel, scheme: str, *, device: str) -> LandmarkBasis:
    """The landmarks of `scheme` on `model`, float32, on `device`.

    Raises:
        ValueError: The model has no embedding for `scheme`.
    """
    mean, identity, expression = landmark_fields(model, scheme)
    first, second = OUTER_EYE_POINTS
    known = model.calibrations.get(scheme)
    same = np.full(len(mean), max(1.0, len(mean) / _INDEPENDENT_POINTS) ** 0.5)

    def tensor(values: np.ndarray) -> Tensor:
        return torch.tensor(np.ascontiguousarray(values), dtype=torch.float32, device=device)

    return LandmarkBasis(
        mean=tensor(mean.T),
        identity=tensor(identity.transpose(2, 1, 0)),
        expression=tensor(expression.transpose(2, 1, 0)),
        outer_eye_mm=float(np.linalg.norm(mean[first] - mean[second])),
        noise_ratio=tensor(known.noise_ratio if known else same),
        bias_ratio=tensor(known.bias_ratio if known else same),
    )


def landmark_fields(
    model: FaceModel, scheme: str
) -> tuple[
    Float64[np.ndarray, "points 3"],
    Float64[np.ndarray, "n_identity points 3"],
    Float64[np.ndarray, "n_expression points 3"],
]:
    """Mean, identity basis and expression basis of a model at a scheme's landmarks, mm.

    The mean is where the detector marks them, if the model's calibration knows of an offset from the embedding.

    Raises:
        ValueError: The model has no embedding for `scheme`.
    """
    embedding = model.embedding(scheme)
    weights = embedding.weights.astype(np.float64)

    def at_landmarks(field: Float32[np.ndarray, "*batch vertices 3"]) -> Float64[np.ndarray, "*batch points 3"]:
        # The barycentric mean of three vertices.
        return np.asarray(
            np.einsum("...pkc,pk->...pc", field[..., embedding.vertex_ids, :].astype(np.float64), weights)
        )

    mean = at_landmarks(model.mean_mm)
    if scheme in model.calibrations:
        mean = mean + model.calibrations[scheme].offset_mm
    return (
        mean,
        at_landmarks(model.identity_basis_mm),
        at_landmarks(model.expression_basis_mm),
    )


def displacements(
    coefficients: Float[Tensor, "batch n"], basis: Float[Tensor, "3 points n"]
) -> Float[Tensor, "batch 3 points"]:
    """Where coefficients of a basis of displacements move its points; see `times_shared`."""
    return times_shared(coefficients, basis.flatten(0, 1).mT).reshape(-1, *basis.shape[:2])
