"""Face tracks with known truth, on any face model: for tests, benchmarks and calibration."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64
from scipy.ndimage import gaussian_filter1d

from fitting.face_model import OUTER_EYE_POINTS, FaceModel
from fitting.landmark_basis import landmark_fields
from fitting.rotation import compose, matrix_from_quaternion, quaternion_from_rotation_vector
from fitting.tracks import LandmarkSequence

_FRONTAL = torch.tensor([0.0, 1.0, 0.0, 0.0], dtype=torch.float64)
"""Quaternion of diag(1, -1, -1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticOptions:
    """What the tracks look like."""

    frames: int = 300
    fps: float = 30.0
    outer_eye_px: float = 89.0
    """Outer-eye distance of the mean face at the mean scale."""
    noise_px: float = 1.0
    """Standard deviation of each coordinate."""
    yaw_deg: float = 25.0
    """Standard deviation of yaw; pitch and roll have 12 and 8 degrees."""
    expression_frames: float = 4.0
    """Width of the Gaussian that smooths the expression paths."""
    outlier_share: float = 0.0
    outlier_px: float = 20.0
    missing_share: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticTrack:
    """A track and the truth behind it; cameras as in `fitting.tracks.FittedTrack`."""

    sequence: LandmarkSequence
    identity: Float64[np.ndarray, " n_identity"]
    expression: Float64[np.ndarray, "frames n_expression"]
    scale_px_per_mm: Float64[np.ndarray, " frames"]
    rotation_wxyz: Float64[np.ndarray, "frames 4"]
    translation_px: Float64[np.ndarray, "frames 2"]
    clean_px: Float64[np.ndarray, "frames points 2"]


def synthetic_track(model: FaceModel, scheme: str, options: SyntheticOptions, *, seed: int) -> SyntheticTrack:
    """A face with a random identity that turns and moves smoothly; the same seed gives the same track.

    Coefficients have unit variance. Missing points have weight 0 and a value that is not a number.
    """
    rng = np.random.default_rng(seed)
    frames = options.frames
    identity = rng.normal(size=model.n_identity)
    expression = smooth_paths(rng, frames, model.n_expression, options.expression_frames)
    turn = smooth_paths(rng, frames, 3, 12.0) * np.deg2rad([12.0, options.yaw_deg, 8.0])
    rotation = compose(quaternion_from_rotation_vector(torch.from_numpy(turn)), _FRONTAL.expand(frames, 4))
    rotation = torch.where(rotation[:, :1] < 0, -rotation, rotation)
    mean, identity_basis, expression_basis = landmark_fields(model, scheme)
    left, right = OUTER_EYE_POINTS
    unit = options.outer_eye_px / float(np.linalg.norm(mean[left] - mean[right]))
    scale = unit * np.exp(0.1 * smooth_paths(rng, frames, 1, 20.0)[:, 0])
    translation = options.outer_eye_px * (2.0 + 0.17 * smooth_paths(rng, frames, 2, 10.0))
    head = mean + np.tensordot(identity, identity_basis, 1) + np.tensordot(expression, expression_basis, 1)
    rows = matrix_from_quaternion(rotation).numpy()[:, :2]
    clean = scale[:, None, None] * np.einsum("fij,fpj->fpi", rows, head) + translation[:, None]
    observed = clean + options.noise_px * rng.normal(size=clean.shape)
    outlier = rng.random(clean.shape[:2]) < options.outlier_share
    observed[outlier] += options.outlier_px * rng.normal(size=(int(outlier.sum()), 2))
    missing = rng.random(clean.shape[:2]) < options.missing_share
    observed[missing] = np.nan
    points = observed.astype(np.float32)
    return SyntheticTrack(
        sequence=LandmarkSequence(
            scheme=scheme,
            observed_px=points,
            smoothed_px=points,
            weight=(~missing).astype(np.float32),
            pts_s=np.arange(frames) / options.fps,
        ),
        identity=identity,
        expression=expression,
        scale_px_per_mm=scale,
        rotation_wxyz=rotation.numpy(),
        translation_px=translation,
        clean_px=clean,
    )


def smooth_paths(
    rng: np.random.Generator, frames: int, count: int, width: float
) -> Float64[np.ndarray, "frames count"]:
    """Stationary Gaussian paths of unit variance: white noise smoothed by a Gaussian `width` frames wide."""
    margin = int(np.ceil(8 * width))
    white = rng.normal(size=(frames + 2 * margin, count))
    path = gaussian_filter1d(white, width, axis=0)[margin : margin + frames]
    return np.asarray(path * np.sqrt(2 * np.sqrt(np.pi) * width), dtype=np.float64)
