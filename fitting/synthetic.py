"""Face tracks with known truth, on any face model: for tests, benchmarks and calibration."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64
from scipy.ndimage import gaussian_filter1d

from fitting.contour_slide import outline, sliding_contour
from fitting.face_model import OUTER_EYE_POINTS, FaceModel
from fitting.landmark_basis import landmark_fields
from fitting.lens import through_lens
from fitting.rotation import compose, matrix_from_quaternion, quaternion_from_rotation_vector
from fitting.tracks import LandmarkSequence

_FRONTAL = torch.tensor([0.0, 1.0, 0.0, 0.0], dtype=torch.float64)
"""Quaternion of diag(1, -1, -1)."""


PITCH_DEG, ROLL_DEG = 12.0, 8.0
LOG_SCALE_SD = 0.1
TRANSLATION_SD = 0.17
"""As a fraction of the outer-eye distance."""
TURN_FRAMES, SCALE_FRAMES, TRANSLATION_FRAMES = 12.0, 20.0, 10.0
"""Widths of the Gaussians that smooth the camera's paths."""
OCCLUDED_FRAMES = 15
"""Length of an occlusion; it hides the third of the face beyond a line across it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticOptions:
    """What the tracks look like."""

    frames: int = 300
    fps: float = 30.0
    outer_eye_px: float = 89.0
    """Outer-eye distance of the mean face at the mean scale."""
    noise_px: float = 1.0
    """Standard deviation of each coordinate."""
    noise_memory: float = 0.0
    """Correlation of the noise from one frame to the next, at least 0 and below 1 (first-order autoregressive)."""
    bias_px: float = 0.0
    """Standard deviation of an error that each landmark of a face keeps through its track."""
    yaw_deg: float = 25.0
    """Standard deviation of yaw; pitch and roll have 12 and 8 degrees."""
    expression_frames: float = 4.0
    """Width of the Gaussian that smooths the expression paths."""
    outlier_share: float = 0.0
    outlier_px: float = 20.0
    missing_share: float = 0.0
    """Of single landmarks."""
    missing_frame_share: float = 0.0
    """Of whole frames."""
    occlusions: int = 0
    """How many times a third of the face is hidden for 15 frames."""
    sliding_contour: bool = False
    """Points 0 to 16 are the outline in the picture instead of points of the head (schemes that know sliding only)."""
    distance_mm: float | None = None
    """Distance of a pinhole camera at the mean scale; None is a scaled-orthographic one."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.noise_memory < 1.0:
            raise ValueError(f"noise_memory={self.noise_memory} is not in [0, 1)")
        if self.distance_mm is not None and self.distance_mm < _NEAREST_MM:
            raise ValueError(f"distance_mm={self.distance_mm} is nearer than {_NEAREST_MM:g}: within the head's reach")


_NEAREST_MM = 200.0
_FINE_CANDIDATES = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticTrack:
    """A track and the truth behind it; cameras as in `fitting.tracks.FittedTrack`.

    Attributes:
        sequence: What a fit gets.
        identity: Coefficients of unit variance.
        expression: Coefficients of unit variance.
        scale_px_per_mm: At the depth of the head frame's origin, where the camera is a pinhole.
        rotation_wxyz: Unit quaternions.
        translation_px: Where the head frame's origin falls.
        clean_px: Landmarks without noise.
        lens: As in `fitting.tracks.FittedTrack`.
        noise_sd_px: Standard deviation of each landmark's noise in each coordinate, outliers among them.
    """

    sequence: LandmarkSequence
    identity: Float64[np.ndarray, " n_identity"]
    expression: Float64[np.ndarray, "frames n_expression"]
    scale_px_per_mm: Float64[np.ndarray, " frames"]
    rotation_wxyz: Float64[np.ndarray, "frames 4"]
    translation_px: Float64[np.ndarray, "frames 2"]
    clean_px: Float64[np.ndarray, "frames points 2"]
    lens: Float64[np.ndarray, " 3"]
    noise_sd_px: Float64[np.ndarray, "frames points"]


def synthetic_track(model: FaceModel, scheme: str, options: SyntheticOptions, *, seed: int) -> SyntheticTrack:
    """A face with a random identity that turns and moves smoothly; the same seed gives the same track.

    Missing points have weight 0 and a value that is not a number.
    """
    rng = np.random.default_rng(seed)
    frames = options.frames
    identity = rng.normal(size=model.n_identity)
    expression = smooth_paths(rng, frames, model.n_expression, options.expression_frames)
    turn = smooth_paths(rng, frames, 3, TURN_FRAMES) * np.deg2rad([PITCH_DEG, options.yaw_deg, ROLL_DEG])
    rotation = compose(quaternion_from_rotation_vector(torch.from_numpy(turn)), _FRONTAL.expand(frames, 4))
    rotation = torch.where(rotation[:, :1] < 0, -rotation, rotation)
    mean, identity_basis, expression_basis = landmark_fields(model, scheme)
    left, right = OUTER_EYE_POINTS
    unit = options.outer_eye_px / float(np.linalg.norm(mean[left] - mean[right]))
    scale = unit * np.exp(LOG_SCALE_SD * smooth_paths(rng, frames, 1, SCALE_FRAMES)[:, 0])
    drift = TRANSLATION_SD * smooth_paths(rng, frames, 2, TRANSLATION_FRAMES)
    translation = options.outer_eye_px * (2.0 + drift)
    head = mean + np.tensordot(identity, identity_basis, 1) + np.tensordot(expression, expression_basis, 1)
    turns = matrix_from_quaternion(rotation)
    if options.sliding_contour:
        head = _with_outline(model, scheme, identity, expression, head=head, turns=turns)
    turned = np.einsum("fij,fpj->fpi", turns.numpy(), head)
    middle = 2.0 * options.outer_eye_px
    # At the mean scale the face is as far away as the options say; where it comes nearer, it is larger.
    inverse_focal = 0.0 if options.distance_mm is None else 1.0 / (options.distance_mm * unit)
    lens = np.array([inverse_focal, middle, middle])
    clean = through_lens(scale[:, None, None] * turned, translation, lens)
    error, noise_sd = _errors(rng, clean.shape[:2], options)
    missing = _missing(rng, mean, options)
    observed = clean + error
    observed[missing] = np.nan
    points = observed.astype(np.float32)
    return SyntheticTrack(
        sequence=LandmarkSequence(
            scheme=scheme,
            observed_px=points,
            smoothed_px=points,
            weight=(~missing).astype(np.float32),
            pts_s=np.arange(frames) / options.fps,
            picture_px=(round(2 * middle) + 1, round(2 * middle) + 1),
        ),
        identity=identity,
        expression=expression,
        scale_px_per_mm=scale,
        rotation_wxyz=rotation.numpy(),
        translation_px=translation,
        clean_px=clean,
        lens=lens,
        noise_sd_px=noise_sd,
    )


def _with_outline(
    model: FaceModel,
    scheme: str,
    identity: Float64[np.ndarray, " n_identity"],
    expression: Float64[np.ndarray, "frames n_expression"],
    *,
    head: Float64[np.ndarray, "frames points 3"],
    turns: Float64[torch.Tensor, "frames 3 3"],
) -> Float64[np.ndarray, "frames points 3"]:
    contour = sliding_contour(model, scheme, device="cpu", candidates=_FINE_CANDIDATES)
    if contour is None:
        raise ValueError(f"sliding_contour=True, but the contour of scheme={scheme!r} is fixed on the head")
    spots = contour.identities(torch.from_numpy(identity[None]).float())
    spots = spots + contour.expressions(torch.from_numpy(expression).float())
    points = torch.from_numpy(head).float().mT
    seen = outline(spots, points, turns.float(), count=contour.count)
    slid = head.copy()
    slid[:, : contour.count] = seen.head.mT.numpy()
    return slid


def _errors(
    rng: np.random.Generator, shape: tuple[int, int], options: SyntheticOptions
) -> tuple[Float64[np.ndarray, "frames points 2"], Float64[np.ndarray, "frames points"]]:
    """Errors of the landmarks, and their standard deviation where it is known which are outliers."""
    frames, points = shape
    error = options.noise_px * rng.normal(size=(frames, points, 2))
    if options.noise_memory:
        fresh = (1.0 - options.noise_memory**2) ** 0.5
        for frame in range(1, frames):
            error[frame] = options.noise_memory * error[frame - 1] + fresh * error[frame]
    outlier = rng.random(shape) < options.outlier_share
    error[outlier] += options.outlier_px * rng.normal(size=(int(outlier.sum()), 2))
    if options.bias_px:
        error += options.bias_px * rng.normal(size=(points, 2))
    return error, np.sqrt(options.noise_px**2 + options.bias_px**2 + options.outlier_px**2 * outlier)


def _missing(
    rng: np.random.Generator, mean: Float64[np.ndarray, "points 3"], options: SyntheticOptions
) -> Bool[np.ndarray, "frames points"]:
    missing = rng.random((options.frames, len(mean))) < options.missing_share
    if options.missing_frame_share:
        missing[rng.random(options.frames) < options.missing_frame_share] = True
    for _ in range(options.occlusions):
        begin, angle = int(rng.integers(options.frames)), rng.uniform(0, 2 * np.pi)
        along = mean[:, :2] @ [np.cos(angle), np.sin(angle)]
        missing[begin : begin + OCCLUDED_FRAMES, along > np.quantile(along, 2 / 3)] = True
    return np.asarray(missing)


def smooth_paths(
    rng: np.random.Generator, frames: int, count: int, width: float
) -> Float64[np.ndarray, "frames count"]:
    """Stationary Gaussian paths of unit variance: white noise smoothed by a Gaussian `width` frames wide."""
    margin = int(np.ceil(8 * width))
    white = rng.normal(size=(frames + 2 * margin, count))
    path = gaussian_filter1d(white, width, axis=0)[margin : margin + frames]
    return np.asarray(path * np.sqrt(2 * np.sqrt(np.pi) * width), dtype=np.float64)
