"""The landmark term of one track in plain numpy and float64: what every baseline minimises, written for reading.

Units are those of `fitting.energy`: pixels over one landmark standard deviation, so that the landmark term is
`1/2 sum_l w_l |r_l|^2` and the priors are `1/2 |coefficients|^2`. But for one constant it shares no algebra with
the solver, so each can check the other.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64
from scipy.spatial.transform import Rotation

from fitting.robust_weights import honest_share

Array = Float64[np.ndarray, "..."]
CAMERA = slice(0, 6)
"""Columns of a frame's derivative that belong to the camera; the expression's follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What is sought. The identity has one row for all frames, or one per frame.

    Attributes:
        identity: Coefficients, standard deviations.
        expression: Coefficients, standard deviations.
        scale: Landmark standard deviations per mm.
        rotation: From the head frame to the camera frame.
        translation: Where the head frame's origin falls, landmark standard deviations.
    """

    identity: Float64[np.ndarray, "identities n_identity"]
    expression: Float64[np.ndarray, "frames n_expression"]
    scale: Float64[np.ndarray, " frames"]
    rotation: Float64[np.ndarray, "frames 3 3"]
    translation: Float64[np.ndarray, "frames 2"]

    def moved(self, identity: Array, frames: Float64[np.ndarray, "frames columns"]) -> "Parameters":
        """A step away; per frame (log scale, turn about the camera's axes in radians, translation, expression)."""
        turn = Rotation.from_rotvec(frames[:, 1:4]).as_matrix()
        return Parameters(
            identity=self.identity + identity,
            expression=self.expression + frames[:, CAMERA.stop :],
            scale=self.scale * np.exp(np.clip(frames[:, 0], -1.0, 1.0)),
            rotation=turn @ self.rotation,
            translation=self.translation + frames[:, 4:6],
        )

    def part(self, frames: slice) -> "Parameters":
        """Some of the frames."""
        shared = len(self.identity) == 1 < len(self.expression)
        return Parameters(
            identity=self.identity if shared else self.identity[frames],
            expression=self.expression[frames],
            scale=self.scale[frames],
            rotation=self.rotation[frames],
            translation=self.translation[frames],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Landmarks of one track and the face model at them.

    Attributes:
        mean: Landmarks of the mean face, head frame, mm.
        identity_basis: Displacement of each coordinate per standard deviation of each identity component.
        expression_basis: The same for expressions.
        picture: Landmarks, landmark standard deviations; 0 where missing.
        weight: Confidence in [0, 1]; 0 where missing.
        precision: One over the squared noise of each landmark, in that unit.
    """

    mean: Float64[np.ndarray, "points 3"]
    identity_basis: Float64[np.ndarray, "points 3 n_identity"]
    expression_basis: Float64[np.ndarray, "points 3 n_expression"]
    picture: Float64[np.ndarray, "frames points 2"]
    weight: Float64[np.ndarray, "frames points"]
    precision: Float64[np.ndarray, " points"]

    def part(self, frames: slice) -> "Problem":
        """Some of the frames."""
        return replace(self, picture=self.picture[frames], weight=self.weight[frames])

    def head(self, at: Parameters) -> Float64[np.ndarray, "frames points 3"]:
        """Landmarks of the faces, head frame, mm."""
        return np.asarray(
            self.mean
            + np.tensordot(at.identity, self.identity_basis, (1, 2))
            + np.tensordot(at.expression, self.expression_basis, (1, 2))
        )

    def residual(self, at: Parameters) -> Float64[np.ndarray, "frames points 2"]:
        """Observed minus projected landmarks."""
        turned = self.head(at) @ at.rotation[:, :2].mT
        return np.asarray(self.picture - at.scale[:, None, None] * turned - at.translation[:, None])

    def derivative(self, at: Parameters) -> Float64[np.ndarray, "frames points 2 columns"]:
        """Derivative of the projection by a step of `Parameters.moved`: 6 of the camera, then the expression."""
        turned = at.scale[:, None, None] * (self.head(at) @ at.rotation.mT)
        x, y, z = (turned[..., axis] for axis in range(3))
        zero, one = np.zeros_like(x), np.ones_like(x)
        camera = np.stack(
            [np.stack([x, zero, z, -y, one, zero], -1), np.stack([y, -z, zero, x, zero, one], -1)], axis=2
        )
        return np.concatenate([camera, self.moved_by(at, self.expression_basis)], axis=-1)

    def moved_by(
        self, at: Parameters, basis: Float64[np.ndarray, "points 3 n"]
    ) -> Float64[np.ndarray, "frames points 2 n"]:
        """Derivative of the projection by the coefficients of a basis of displacements."""
        rows = at.scale[:, None, None] * at.rotation[:, :2]
        return np.asarray(rows[:, None] @ basis)


def robust_weights(problem: Problem, at: Parameters, scale: float) -> Float64[np.ndarray, "frames points"]:
    """Confidence times precision times `fitting.energy.robust_weight`, which is 1 where the scale is infinite."""
    weight = problem.weight * problem.precision
    if np.isinf(scale):
        return np.asarray(weight)
    root = scale**2 / (scale**2 + _whitened_squares(problem, at))
    return np.asarray(weight * root**2 / honest_share(scale))


def frame_energies(problem: Problem, at: Parameters, scale: float) -> Float64[np.ndarray, " frames"]:
    """Landmark term and expression prior of each frame."""
    squared = _whitened_squares(problem, at)
    if np.isfinite(scale):
        squared = scale**2 * squared / (scale**2 + squared) / honest_share(scale)
    return np.asarray(0.5 * (problem.weight * squared).sum(-1) + 0.5 * (at.expression**2).sum(-1))


def _whitened_squares(problem: Problem, at: Parameters) -> Float64[np.ndarray, "frames points"]:
    return np.asarray((problem.residual(at) ** 2).sum(-1) * problem.precision)
