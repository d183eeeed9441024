"""The landmark term: residuals, robust weights, and the blocks of its Gauss-Newton normal equations per frame.

Everything is in units of one landmark standard deviation: pixels are divided by it before they come here, so the
energy is `1/2 sum_l w_l rho(p_l |r_l|^2)`, where `p_l` says how precise a landmark is beside that unit, and the priors
are `1/2 |coefficients|^2`. All products are batched over frames with shapes that do not depend on the batch, and no
batched operand is a vector: see `times_shared`.
"""

from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Float
from scipy.special import hyperu
from torch import Tensor

from fitting.camera import ScaledOrthographic, turned_points
from fitting.landmark_basis import LandmarkBasis

ROBUST_SCALES = (10.0, 7.0, 5.0)
"""Width of the Geman-McClure function per iteration, in standard deviations; the last one stays."""


def robust_scale(iteration: int, *, robust: bool) -> float:
    """The width in force at an iteration; infinite where the weights are off."""
    return ROBUST_SCALES[min(iteration, len(ROBUST_SCALES) - 1)] if robust else float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """Landmarks of frames, in units of one landmark standard deviation.

    Attributes:
        points: Picture coordinates, centred per frame.
        weight: Confidence in [0, 1]; 0 for missing points.
        precision: One over the squared noise of each landmark, in that unit. Robust weights are of residuals in
            each landmark's own noise.
    """

    points: Float[Tensor, "frames 2 points"]
    weight: Float[Tensor, "frames points"]
    precision: Float[Tensor, " points"]

    def at(self, index: Tensor | slice) -> "Observations":
        """The observations at an index or slice of the frame axis."""
        return Observations(points=self.points[index], weight=self.weight[index], precision=self.precision)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameBlocks:
    """Gauss-Newton blocks of the landmark term per frame: `hessian step = gradient` (the gradient points downhill).

    The rows of a Jacobian are x of all points, then y. Weights stand on one side of each product only.

    Attributes:
        energy: The landmark term itself.
        camera_camera: Block of the camera's 6 parameters.
        camera_expression: Block between camera and expression.
        expression_expression: Block of the expression.
        camera_gradient: Downhill gradient for the camera.
        expression_gradient: Downhill gradient for the expression.
        weight: Confidence times robust weight times precision of each landmark.
        scaled_rotation: First two rows of the rotation, times the scale.
        weighted_narrow: Camera Jacobian, transposed, and the residuals as its last row, times the weight.
        weighted_expression: Expression Jacobian times the weight.
    """

    energy: Float[Tensor, " frames"]
    camera_camera: Float[Tensor, "frames 6 6"]
    camera_expression: Float[Tensor, "frames 6 n_expression"]
    expression_expression: Float[Tensor, "frames n_expression n_expression"]
    camera_gradient: Float[Tensor, "frames 6"]
    expression_gradient: Float[Tensor, "frames n_expression"]
    weight: Float[Tensor, "frames points"]
    scaled_rotation: Float[Tensor, "frames 2 3"]
    weighted_narrow: Float[Tensor, "frames 7 rows"]
    weighted_expression: Float[Tensor, "frames rows n_expression"]


@cache
def honest_share(scale: float) -> float:
    """What Geman-McClure weights of width c leave of plain noise: `E[w(r^2) r^2] / E[r^2]`, r white in the plane.

    With `z = c^2 / 2` it is `z^2 U(2, 1, z)`, U Tricomi's function: 0.76 at a width of 5. Weights are divided by it.
    Otherwise honest noise looks larger than it is, then expressions look smaller than they are, and as the head is
    measured by its expressions, it comes out too large: by 1.5% at 1 px of noise and 5.5% at 4 px.
    """
    half = scale**2 / 2.0
    return 1.0 if scale == float("inf") else float(half * half * hyperu(2.0, 1.0, half))


def robust_weight(squared: Float[Tensor, "*batch"], scale: float) -> Float[Tensor, "*batch"]:
    """Geman-McClure weight `(c^2 / (c^2 + r^2))^2` of a squared residual, over `honest_share`."""
    if scale == float("inf"):
        return torch.ones_like(squared)
    root = scale**2 / (scale**2 + squared)
    return root * root / honest_share(scale)


def landmark_energy(
    observed: Observations, camera: ScaledOrthographic, head: Float[Tensor, "frames 3 points"], scale: float
) -> Float[Tensor, " frames"]:
    """`1/2 sum_l w_l c^2 s_l / (c^2 + s_l)`, `s_l = p_l r_l^2`, over `honest_share`, per frame.

    Plain squares at an infinite scale.
    """
    squared = whitened_squares(observed, residuals(observed, turned_points(camera, head), camera))
    return _robust_energy(observed.weight, squared, scale)


def _robust_energy(
    confidence: Float[Tensor, "frames points"], squared: Float[Tensor, "frames points"], scale: float
) -> Float[Tensor, " frames"]:
    if scale != float("inf"):
        squared = scale**2 * squared / (scale**2 + squared) / honest_share(scale)
    return 0.5 * (confidence * squared).sum(-1)


def residuals(
    observed: Observations, scaled: Float[Tensor, "frames 3 points"], camera: ScaledOrthographic
) -> Float[Tensor, "frames 2 points"]:
    """Observed minus projected landmarks, from `turned_points`."""
    return observed.points - scaled[:, :2] - camera.translation[:, :, None]


def whitened_squares(
    observed: Observations, residual: Float[Tensor, "frames 2 points"]
) -> Float[Tensor, "frames points"]:
    """Squared residuals, each in units of its landmark's own noise."""
    x, y = residual.unbind(1)
    return (x * x + y * y) * observed.precision


def model_jacobian(
    scaled_rotation: Float[Tensor, "frames 2 3"], basis: Float[Tensor, "3 points n"]
) -> Float[Tensor, "frames 2 points n"]:
    """Derivative of the projection by the coefficients of a basis of displacements."""
    flat = basis.flatten(1).expand(len(scaled_rotation), -1, -1)
    return torch.bmm(scaled_rotation, flat).reshape(len(flat), 2, *basis.shape[1:])


def frame_blocks(
    observed: Observations,
    camera: ScaledOrthographic,
    head: Float[Tensor, "frames 3 points"],
    basis: LandmarkBasis,
    scale: float,
) -> FrameBlocks:
    """Linearise the landmark term at the given cameras and head points, with robust weights frozen there."""
    turn = camera.scale[:, None, None] * camera.rotation()
    scaled = torch.bmm(turn, head)
    residual = residuals(observed, scaled, camera)
    squared = whitened_squares(observed, residual)
    weight = observed.weight * observed.precision * robust_weight(squared, scale)
    scaled_rotation = turn[:, :2].contiguous()
    narrow = _narrow(scaled, residual)
    weighted_narrow = (narrow * weight[:, None, None]).flatten(2)
    wide = model_jacobian(scaled_rotation, basis.expression)
    weighted_wide = (wide * weight[:, None, :, None]).flatten(1, 2)
    wide = wide.flatten(1, 2)
    # The residuals are one more row of the camera's products: gradients come for free.
    narrow_narrow = torch.bmm(weighted_narrow, narrow.flatten(2).mT)
    narrow_wide = torch.bmm(weighted_narrow, wide)
    return FrameBlocks(
        energy=_robust_energy(observed.weight, squared, scale),
        camera_camera=narrow_narrow[:, :6, :6],
        camera_expression=narrow_wide[:, :6],
        expression_expression=torch.bmm(weighted_wide.mT, wide),
        camera_gradient=narrow_narrow[:, :6, 6],
        expression_gradient=narrow_wide[:, 6],
        weight=weight,
        scaled_rotation=scaled_rotation,
        weighted_narrow=weighted_narrow,
        weighted_expression=weighted_wide,
    )


def _narrow(
    scaled: Float[Tensor, "frames 3 points"], residual: Float[Tensor, "frames 2 points"]
) -> Float[Tensor, "frames 7 2 points"]:
    """The derivative of `camera_jacobian`, one parameter after the other, and the residuals."""
    narrow = scaled.new_zeros(len(scaled), 7, 2, scaled.shape[-1])
    narrow[:, 0] = scaled[:, :2]
    narrow[:, 1, 1] = -scaled[:, 2]
    narrow[:, 2, 0] = scaled[:, 2]
    narrow[:, 3, 0] = -scaled[:, 1]
    narrow[:, 3, 1] = scaled[:, 0]
    narrow[:, 4, 0] = 1.0
    narrow[:, 5, 1] = 1.0
    narrow[:, 6] = residual
    return narrow
