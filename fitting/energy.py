"""The landmark term: residuals, robust weights, and the blocks of its Gauss-Newton normal equations per frame.

Everything is in units of one landmark standard deviation: pixels are divided by it before they come here, so the
energy is `1/2 sum_l w_l rho(p_l |r_l|^2)`, where `p_l` says how precise a landmark is beside that unit, and the priors
are `1/2 |coefficients|^2`. All products are batched over frames with shapes that do not depend on the batch, and no
batched operand is a vector; see also `times_shared`.

No Jacobian is ever formed. That of the camera has, in each row, one of six `features` of a landmark (its scaled
position x, y, z in camera axes, the residual in x and y, and 1), up to sign; that of the expression is the rotation
times constants. What is left per frame are sums over landmarks of weighted features, and of weighted features times the
constant basis, which is one product for all frames.
"""

from dataclasses import dataclass, fields, replace
from functools import cache

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from fitting.camera import PARAMETERS, ScaledOrthographic, model_jacobian, turned_points
from fitting.landmark_basis import LandmarkBasis
from fitting.robust_weights import honest_share, robust_weight
from fitting.shared_product import times_shared


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

    def times(self, share: Bool[Tensor, " frames"] | Float[Tensor, " frames"]) -> "Observations":
        """The same, each frame's weights times its `share`."""
        return replace(self, weight=self.weight * share[:, None])


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameBlocks:
    """Gauss-Newton blocks of the landmark term per frame: `hessian step = gradient` (the gradient points downhill).

    Attributes:
        energy: The landmark term itself.
        camera_camera: Block of the camera's 6 parameters.
        camera_expression: Block between camera and expression.
        expression_expression: Block of the expression.
        camera_gradient: Downhill gradient for the camera.
        expression_gradient: Downhill gradient for the expression.
        weight: Confidence times robust weight times precision of each landmark.
        scaled_rotation: First two rows of the rotation, times the scale.
        weighted_features: Features of the landmarks times their weights.
        camera_rows: From sums of weighted features times displacements (feature by feature, x, y and z of each) to
            the camera's downhill block: its six parameters, and the residual.
        expression_sums: Those sums for the expression basis.
    """

    energy: Float[Tensor, " frames"]
    camera_camera: Float[Tensor, "frames 6 6"]
    camera_expression: Float[Tensor, "frames 6 n_expression"]
    expression_expression: Float[Tensor, "frames n_expression n_expression"]
    camera_gradient: Float[Tensor, "frames 6"]
    expression_gradient: Float[Tensor, "frames n_expression"]
    weight: Float[Tensor, "frames points"]
    scaled_rotation: Float[Tensor, "frames 2 3"]
    weighted_features: Float[Tensor, "frames 6 points"]
    camera_rows: Float[Tensor, "frames 7 18"]
    expression_sums: Float[Tensor, "frames 18 n_expression"]

    def at(self, frames: Int64[Tensor, " some"] | slice) -> "FrameBlocks":
        """The blocks of some frames."""
        return FrameBlocks(**{item.name: getattr(self, item.name)[frames] for item in fields(self)})

    def camera_against(self, by_point: Float[Tensor, "points axes_n"]) -> Float[Tensor, "frames 7 n"]:
        """Blocks between camera (last row: residual) and a basis of displacements.

        Args:
            by_point: The basis, a row per landmark: all components of x, of y, of z.
        """
        return torch.bmm(self.camera_rows, _sums(self.weighted_features, by_point))

    def camera_times(self, expressions: Float[Tensor, "frames 6 n_expression"]) -> Float[Tensor, "frames 2 3"]:
        """`weighted_camera` along each axis of the picture times the displacements by as many expressions, summed."""
        sums = torch.bmm(expressions, self.expression_sums.mT).flatten(1)
        return times_shared(sums, _camera_constants(sums.dtype, sums.device).traces).reshape(-1, 2, 3)

    def camera_of_sums(self, sums: Float[Tensor, "frames 6 5 m"]) -> Float[Tensor, "frames 6 m"]:
        """Blocks between camera and displacements of the landmarks, in the head and of what was observed.

        Args:
            sums: Over landmarks, of weighted features times displacements along x, y, z of the head, x, y observed.
        """
        of_head = torch.bmm(self.camera_rows[:, :PARAMETERS], sums[:, :, :3].flatten(1, 2))
        along = _camera_constants(sums.dtype, sums.device).along.reshape(PARAMETERS, 2, -1).mT.flatten(1)
        return of_head - torch.bmm(along.expand(len(sums), -1, -1), sums[:, :, 3:].flatten(1, 2))

    def weighted_camera(self) -> Float[Tensor, "frames 6 rows"]:
        """The camera's Jacobian, transposed, times the weights: x of all landmarks, then y."""
        frames, _, points = self.weighted_features.shape
        along = _camera_constants(self.weight.dtype, self.weight.device).along
        rows = torch.bmm(along.expand(frames, -1, -1), self.weighted_features)
        return rows.reshape(frames, PARAMETERS, 2 * points)

    def weighted_expression(self, basis: LandmarkBasis) -> Float[Tensor, "frames n_expression rows"]:
        """The expression's Jacobian, transposed, times the weights: x of all landmarks, then y."""
        jacobian = model_jacobian(self.scaled_rotation, basis.expression)
        return (jacobian * self.weight[:, None, :, None]).flatten(1, 2).mT


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
    features = torch.cat([scaled, residual, torch.ones_like(scaled[:, :1])], dim=1)
    weighted = features * weight[:, None]
    constants = _camera_constants(features.dtype, features.device)
    # The residuals are one more row of the camera's products: gradients come for free.
    narrow = times_shared(torch.bmm(weighted, features.mT).flatten(1), constants.squares).reshape(-1, 7, 7)
    rows = times_shared(scaled_rotation.flatten(1), constants.rows).reshape(-1, 7, 18)
    sums = _sums(weighted, basis.expression_by_point)
    wide = torch.bmm(rows, sums)
    return FrameBlocks(
        energy=_robust_energy(observed.weight, squared, scale),
        camera_camera=narrow[:, :6, :6],
        camera_expression=wide[:, :6],
        expression_expression=basis.squares.normal_matrix(weight, scaled_rotation),
        camera_gradient=narrow[:, :6, 6],
        expression_gradient=wide[:, 6],
        weight=weight,
        scaled_rotation=scaled_rotation,
        weighted_features=weighted,
        camera_rows=rows,
        expression_sums=sums,
    )


def _sums(
    weighted: Float[Tensor, "frames 6 points"], by_point: Float[Tensor, "points axes_n"]
) -> Float[Tensor, "frames 18 n"]:
    return times_shared(weighted.flatten(0, 1), by_point).reshape(len(weighted), 18, -1)


# For picture x and y: the derivative by log scale, by turns about x, y and z, by translation in x and y; then the
# residual. Columns are the features x, y, z, residual x, residual y, 1. See `camera_jacobian`.
_ALONG_X = (
    (1, 0, 0, 0, 0, 0), (0, 0, 0, 0, 0, 0), (0, 0, 1, 0, 0, 0), (0, -1, 0, 0, 0, 0),
    (0, 0, 0, 0, 0, 1), (0, 0, 0, 0, 0, 0), (0, 0, 0, 1, 0, 0),
)  # fmt: skip
_ALONG_Y = (
    (0, 1, 0, 0, 0, 0), (0, 0, -1, 0, 0, 0), (0, 0, 0, 0, 0, 0), (1, 0, 0, 0, 0, 0),
    (0, 0, 0, 0, 0, 0), (0, 0, 0, 0, 0, 1), (0, 0, 0, 0, 1, 0),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _CameraConstants:
    """What takes sums over landmarks to the camera's blocks.

    Attributes:
        squares: From the 6x6 sums of products of features to the 7x7 block, both flat.
        rows: From the scaled rotation, flat, to `FrameBlocks.camera_rows`, flat.
        along: From features to derivatives by the camera: of x and y by the first parameter, by the second, and so on.
        traces: From what `FrameBlocks.camera_times` sums by parameter, feature and axis of the head, to its 2x3 result.
    """

    squares: Float[Tensor, "36 49"]
    rows: Float[Tensor, "6 126"]
    along: Float[Tensor, "12 6"]
    traces: Float[Tensor, "108 6"]


@cache
def _camera_constants(dtype: torch.dtype, device: torch.device) -> _CameraConstants:
    along = torch.tensor([_ALONG_X, _ALONG_Y], dtype=dtype, device=device)
    axes = torch.eye(3, dtype=dtype, device=device)
    return _CameraConstants(
        squares=torch.einsum("iaf,ibg->fgab", along, along).reshape(36, 49),
        rows=torch.einsum("iaf,jk->ijafk", along, axes).reshape(6, 126),
        along=along[:, :PARAMETERS].transpose(0, 1).reshape(2 * PARAMETERS, 6),
        traces=torch.einsum("icf,jk->cfjik", along[:, :PARAMETERS], axes).reshape(108, 6),
    )
