"""A fitted track as a linear model of its unknowns, in millimetres: what calibration learns from."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64

from fitting.angles import yaw_pitch_roll_deg
from fitting.camera import camera_jacobian
from fitting.face_model import FaceModel
from fitting.keyframes import choose_keyframes
from fitting.landmark_basis import landmark_fields
from fitting.robust_weights import ROBUST_SCALES, robust_weight
from fitting.rotation import matrix_from_quaternion
from fitting.tracks import FittedTrack, LandmarkSequence

FRAMES = 16
"""Frames of a track that are looked at, spread over time and pose."""
_SPACING_S = 0.3
"""Closer frames show nearly the same expression."""
_WORST_ERROR = 2.0
"""Frames that are fitted worse than this many times the track's median may show no face."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearTrack:
    """Spaced frames of one fitted track, linearised.

    Attributes:
        observed_mm: z: what the detector saw, less what the cameras predict of the mean face.
        weight: Confidence times robust weight; 0 where missing.
        camera: A: derivative by the 6 parameters of the camera.
        expression: E: derivative by the expression.
        identity: B: derivative by the identity.
        rotation: R: derivative by a landmark's displacement, the first two rows of the head's rotation.
    """

    observed_mm: Float64[np.ndarray, "frames points 2"]
    weight: Float64[np.ndarray, "frames points"]
    camera: Float64[np.ndarray, "frames points 2 6"]
    expression: Float64[np.ndarray, "frames points 2 n_expression"]
    identity: Float64[np.ndarray, "frames points 2 n_identity"]
    rotation: Float64[np.ndarray, "frames 2 3"]


def linearised(sequence: LandmarkSequence, fit: FittedTrack, model: FaceModel, *, noise_mm: float) -> LinearTrack:
    """Spaced frames of a track about its fit.

    Args:
        sequence: The landmarks that were fitted.
        fit: The fit.
        model: Face model without a calibration of the scheme: offsets are to be seen against its embedding.
        noise_mm: Standard deviation of a landmark, for robust weights of what changes in the course of the track.
    """
    mean, identity_basis, expression_basis = landmark_fields(model, sequence.scheme)
    at = _chosen(sequence, fit)
    rotation = matrix_from_quaternion(torch.from_numpy(fit.rotation_wxyz[at].astype(np.float64))).numpy()
    plane = rotation[:, :2]
    head = mean + np.tensordot(fit.identity.astype(np.float64), identity_basis, 1)
    head = head + np.tensordot(fit.expression[at].astype(np.float64), expression_basis, 1)
    turned = np.einsum("fij,fpj->fip", rotation, head)
    known = np.isfinite(sequence.smoothed_px[at]).all(axis=-1) & (sequence.weight[at] > 0)
    picture = np.where(known[..., None], sequence.smoothed_px[at], 0.0) - fit.translation_px[at][:, None]
    seen_mm = picture / fit.scale_px_per_mm[at].astype(np.float64)[:, None, None]
    changing = _without_lasting(seen_mm - turned[:, :2].transpose(0, 2, 1), known)
    # Wide, so that honest noise is not taken for less than it is.
    trust = robust_weight(torch.from_numpy((changing**2).sum(axis=-1) / noise_mm**2), ROBUST_SCALES[0]).numpy()
    return LinearTrack(
        observed_mm=seen_mm - np.einsum("fij,pj->fpi", plane, mean),
        weight=np.where(known, sequence.weight[at] * trust, 0.0).astype(np.float64),
        camera=camera_jacobian(torch.from_numpy(turned)).numpy().transpose(0, 2, 1, 3),
        expression=np.einsum("fij,npj->fpin", plane, expression_basis),
        identity=np.einsum("fij,npj->fpin", plane, identity_basis),
        rotation=plane,
    )


def _chosen(sequence: LandmarkSequence, fit: FittedTrack) -> Int64[np.ndarray, " chosen"]:
    seen = (sequence.weight > 0).any(axis=1)
    usable = seen & (fit.reprojection_error <= _WORST_ERROR * np.median(fit.reprojection_error[seen]))
    angles = yaw_pitch_roll_deg(fit.rotation_wxyz.astype(np.float64))[:, :2]
    return choose_keyframes(sequence.pts_s, angles, usable, FRAMES, spacing_s=_SPACING_S)


def _without_lasting(
    error: Float64[np.ndarray, "frames points 2"], known: Bool[np.ndarray, "frames points"]
) -> Float64[np.ndarray, "frames points 2"]:
    seen = np.where(known[..., None], error, np.nan)
    seen[:, ~known.any(axis=0)] = 0.0
    return np.where(known[..., None], error - np.nanmedian(seen, axis=0), 0.0)
