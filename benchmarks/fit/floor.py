"""The floor: the errors that the linearised posterior under the true priors allows. No method beats it by right.

The landmarks are linearised at the truth, in the identity, all expressions and all cameras of a track. Each of these
has the prior that `fitting.synthetic` drew it from, over time too: a stationary Gaussian path with covariance
`exp(-(t - t')^2 / (4 width^2))`. With everything Gaussian, the error of the best estimate there is, the posterior mean,
is a draw from the posterior around 0, whatever the landmarks were; so the floor of a metric is its mean over truths
displaced by such draws. Outliers are known as such here, and noise must be independent over frames.

A second, higher floor is for methods that know nothing of cameras beforehand, as all methods here: `free_cameras`.

Paths are written in the eigenvectors of their covariance over time, of which few matter, so that 300 frames of 34
unknowns are one dense system of about 3,000.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64
from scipy.linalg import cholesky, solve_triangular
from scipy.spatial.transform import Rotation

from fitting.baselines.problem import CAMERA, Parameters, Problem
from fitting.face_model import FaceModel
from fitting.landmark_basis import landmark_fields
from fitting.metrics import FitAccuracy, accuracy
from fitting.rotation import canonical, matrix_from_quaternion, quaternion_from_matrix
from fitting.synthetic import (
    LOG_SCALE_SD,
    PITCH_DEG,
    ROLL_DEG,
    SCALE_FRAMES,
    TRANSLATION_FRAMES,
    TRANSLATION_SD,
    TURN_FRAMES,
    SyntheticOptions,
    SyntheticTrack,
)
from fitting.tracks import FittedTrack

NEGLIGIBLE = 1e-6
"""Eigenvectors of a path with less than this share of the largest eigenvalue are left out."""
_FREE = 1e-9
"""Information on a free camera beside the landmarks': so little that it only serves frames without any."""


def floor(
    model: FaceModel,
    truth: SyntheticTrack,
    options: SyntheticOptions,
    *,
    free_cameras: bool = False,
    draws: int = 4,
    seed: int = 0,
) -> list[FitAccuracy]:
    """The metrics of draws from the posterior of a track; `sigma_z` means nothing here.

    Args:
        model: The face model that the track was made with.
        truth: The track.
        options: What it was made with.
        free_cameras: Whether nothing is known of the cameras beforehand.
        draws: Number of draws.
        seed: Of the draws.

    Raises:
        ValueError: The noise is correlated or biased, or the camera a pinhole: then this is no floor.
    """
    if options.noise_memory or options.bias_px or options.distance_mm is not None:
        raise ValueError("there is no floor for correlated noise, lasting bias or a pinhole camera")
    problem, at = at_truth(model, truth)
    frames, paths = linearised(problem, at, options, free_cameras=free_cameras)
    factor = cholesky(information(frames, paths), lower=True, overwrite_a=True, check_finite=False)
    rng = np.random.default_rng(seed)
    errors = solve_triangular(factor, rng.normal(size=(len(factor), draws)), trans="T", lower=True, check_finite=False)
    fits = []
    for draw in range(draws):
        error = np.asarray(errors[:, draw])
        identity, step = _unpacked(error, paths)
        if free_cameras:
            step[:, CAMERA] = frames.camera(identity, step[:, CAMERA.stop :], rng)
        fits.append(_fit_of(problem, at.moved(identity[None], step)))
    return [accuracy(model, truth, fit) for fit in fits]


def time_modes(frames: int, width: float) -> Float64[np.ndarray, "frames modes"]:
    """Eigenvectors of a smooth path's covariance over time, times the roots of the eigenvalues."""
    time = np.arange(frames)
    values, vectors = np.linalg.eigh(np.exp(-((time[:, None] - time) ** 2) / (4 * width**2)))
    kept = values > NEGLIGIBLE * values[-1]
    return np.asarray(vectors[:, kept] * np.sqrt(values[kept]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """Unknowns of every frame that share a width over time.

    Attributes:
        modes: From `time_modes`.
        columns: Per frame, from unit paths to (camera, expression) as `Parameters.moved` counts them.
    """

    modes: Float64[np.ndarray, "frames modes"]
    columns: Float64[np.ndarray, "frames columns paths"]

    @property
    def size(self) -> int:
        """Number of unknowns: modes times paths."""
        return int(self.modes.shape[1] * self.columns.shape[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Frames:
    """The landmarks' information; where cameras are free, they are eliminated frame by frame, their columns 0.

    Attributes:
        identity: Information on the identity, its prior included.
        coupling: Between each frame's (camera, expression) and the identity.
        block: On each frame's (camera, expression).
        camera_factor: Lower Cholesky factor of the information on each camera.
        camera_other: Between each camera and its (expression, identity).
    """

    identity: Float64[np.ndarray, "n_identity n_identity"]
    coupling: Float64[np.ndarray, "frames columns n_identity"]
    block: Float64[np.ndarray, "frames columns columns"]
    camera_factor: Float64[np.ndarray, "frames 6 6"]
    camera_other: Float64[np.ndarray, "frames 6 others"]

    def camera(
        self,
        identity: Float64[np.ndarray, " n_identity"],
        expression: Float64[np.ndarray, "frames n_expression"],
        rng: np.random.Generator,
    ) -> Float64[np.ndarray, "frames 6"]:
        """Draws of free cameras given all else: their mean, then their own spread."""
        other = np.concatenate([expression, np.broadcast_to(identity, (len(expression), len(identity)))], axis=1)
        half = -np.linalg.solve(self.camera_factor, self.camera_other @ other[..., None])
        return np.asarray(np.linalg.solve(self.camera_factor.mT, half + rng.normal(size=half.shape))[..., 0])


def at_truth(model: FaceModel, truth: SyntheticTrack) -> tuple[Problem, Parameters]:
    """The landmark term with each landmark weighted by its own noise, and the truth; pixels."""
    mean, identity, expression = landmark_fields(model, truth.sequence.scheme)
    problem = Problem(
        mean=mean,
        identity_basis=identity.transpose(1, 2, 0),
        expression_basis=expression.transpose(1, 2, 0),
        picture=truth.clean_px,
        weight=truth.sequence.weight / np.maximum(truth.noise_sd_px, 1e-6) ** 2,
        precision=np.ones(len(mean)),
    )
    return problem, Parameters(
        identity=truth.identity[None],
        expression=truth.expression,
        scale=truth.scale_px_per_mm,
        rotation=matrix_from_quaternion(torch.from_numpy(truth.rotation_wxyz)).numpy(),
        translation=truth.translation_px,
    )


def linearised(
    problem: Problem, at: Parameters, options: SyntheticOptions, *, free_cameras: bool
) -> tuple[Frames, list[Paths]]:
    """The landmarks' information, and the unknowns besides the identity."""
    expressions = _expressions(options, at)
    paths = [expressions] if free_cameras else [*_cameras(options, at), expressions]
    return _frames(problem, at, free_cameras=free_cameras), paths


def _frames(problem: Problem, at: Parameters, *, free_cameras: bool) -> Frames:
    columns = CAMERA.stop + problem.expression_basis.shape[-1]
    derivative = np.concatenate([problem.derivative(at), problem.moved_by(at, problem.identity_basis)], axis=-1)
    whitened = np.sqrt(problem.weight)[..., None, None] * derivative
    whitened = whitened.reshape(len(derivative), -1, derivative.shape[-1])
    square = whitened.mT @ whitened
    camera = square[:, CAMERA, CAMERA] + _FREE * np.eye(CAMERA.stop)
    other = square[:, CAMERA, CAMERA.stop :].copy()
    if free_cameras:
        square[:, CAMERA.stop :, CAMERA.stop :] -= other.mT @ np.linalg.solve(camera, other)
        square[:, CAMERA], square[:, :, CAMERA] = 0.0, 0.0
    return Frames(
        identity=square[:, columns:, columns:].sum(0) + np.eye(square.shape[-1] - columns),
        coupling=square[:, :columns, columns:],
        block=square[:, :columns, :columns],
        camera_factor=np.linalg.cholesky(camera),
        camera_other=other,
    )


def _expressions(options: SyntheticOptions, at: Parameters) -> Paths:
    frames, n_expression = at.expression.shape
    columns = np.eye(CAMERA.stop + n_expression)[:, CAMERA.stop :]
    return Paths(modes=time_modes(frames, options.expression_frames), columns=_in_all(frames, columns))


def _cameras(options: SyntheticOptions, at: Parameters) -> list[Paths]:
    frames = len(at.expression)
    columns = np.eye(CAMERA.stop + at.expression.shape[1])
    # The generator's turn vector moves the rotation through the left Jacobian of the exponential map.
    turn = _left_jacobian(Rotation.from_matrix(at.rotation @ np.diag([1.0, -1.0, -1.0])).as_rotvec())
    spread = np.deg2rad([PITCH_DEG, options.yaw_deg, ROLL_DEG])
    shift = TRANSLATION_SD * options.outer_eye_px
    return [
        Paths(modes=time_modes(frames, SCALE_FRAMES), columns=_in_all(frames, LOG_SCALE_SD * columns[:, :1])),
        Paths(modes=time_modes(frames, TURN_FRAMES), columns=columns[:, 1:4] @ (turn * spread)),
        Paths(modes=time_modes(frames, TRANSLATION_FRAMES), columns=_in_all(frames, shift * columns[:, 4:6])),
    ]


def _in_all(frames: int, columns: Float64[np.ndarray, "columns paths"]) -> Float64[np.ndarray, "frames columns paths"]:
    return np.broadcast_to(columns, (frames, *columns.shape))


def information(frames: Frames, paths: Sequence[Paths]) -> Float64[np.ndarray, "n n"]:
    """Inverse covariance of the identity, then of every mode of every path."""
    n_identity = len(frames.identity)
    ends = n_identity + np.cumsum([group.size for group in paths])
    parts = [slice(int(end) - group.size, int(end)) for group, end in zip(paths, ends, strict=True)]
    whole = np.eye(int(ends[-1]))
    whole[:n_identity, :n_identity] = frames.identity
    for first, rows in zip(paths, parts, strict=True):
        by_identity = np.tensordot(first.modes, first.columns.mT @ frames.coupling, (0, 0))
        whole[rows, :n_identity] = by_identity.reshape(first.size, n_identity)
        whole[:n_identity, rows] = whole[rows, :n_identity].T
        for second, across in zip(paths, parts, strict=True):
            if across.start > rows.start:
                continue
            local = first.columns.mT @ frames.block @ second.columns
            pairs = (first.modes[:, :, None] * second.modes[:, None, :]).reshape(len(local), -1)
            product = pairs.T @ local.reshape(len(local), -1)
            # (mode, mode, path, path) to (mode and path) x (mode and path).
            shape = (first.modes.shape[1], second.modes.shape[1], *local.shape[1:])
            whole[rows, across] += product.reshape(shape).transpose(0, 2, 1, 3).reshape(first.size, second.size)
            if across != rows:
                whole[across, rows] = whole[rows, across].T
    return whole


def _unpacked(
    error: Float64[np.ndarray, " n"], paths: Sequence[Paths]
) -> tuple[Float64[np.ndarray, " n_identity"], Float64[np.ndarray, "frames columns"]]:
    begin = len(error) - sum(group.size for group in paths)
    identity, step = error[:begin], np.zeros(paths[0].columns.shape[:2])
    for group in paths:
        values = error[begin : begin + group.size].reshape(group.modes.shape[1], -1)
        step += (group.columns @ (group.modes @ values)[..., None])[..., 0]
        begin += group.size
    return identity, step


def _fit_of(problem: Problem, moved: Parameters) -> FittedTrack:
    quaternion = canonical(quaternion_from_matrix(torch.from_numpy(moved.rotation))).numpy()
    return FittedTrack(
        status="converged",
        iterations=1,
        identity=moved.identity[0].astype(np.float32),
        expression=moved.expression.astype(np.float32),
        expression_sigma=np.ones(moved.expression.shape, np.float32),
        scale_px_per_mm=moved.scale.astype(np.float32),
        rotation_wxyz=quaternion.astype(np.float32),
        translation_px=moved.translation.astype(np.float32),
        fitted_px=(problem.picture - problem.residual(moved)).astype(np.float32),
        reprojection_error=np.zeros(len(moved.scale), np.float32),
        holdout_error=0.0,
    )


def _left_jacobian(vector: Float64[np.ndarray, "frames 3"]) -> Float64[np.ndarray, "frames 3 3"]:
    """Left Jacobian of SO(3): `exp(v + d) = exp(J d) exp(v)` to first order (Sola, Deray and Atchuthan 2018, 145)."""
    angle = np.linalg.norm(vector, axis=1)[:, None, None]
    x, y, z = vector.T
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(-1, 3, 3)
    safe = np.where(angle > 1e-6, angle, 1.0)
    first = np.where(angle > 1e-6, (1 - np.cos(safe)) / safe**2, 0.5)
    second = np.where(angle > 1e-6, (safe - np.sin(safe)) / safe**3, 1 / 6)
    return np.asarray(np.eye(3) + first * cross + second * cross @ cross)
