"""How near a fit comes to the truth, in millimetres, by vertex correspondence (no ICP)."""

from dataclasses import asdict, dataclass

import numpy as np
import torch
from jaxtyping import Float

from fitting.alignment import similarity
from fitting.face_model import OUTER_EYE_POINTS, FaceModel
from fitting.landmark_basis import landmark_fields
from fitting.rotation import matrix_from_quaternion
from fitting.synthetic import SyntheticTrack
from fitting.tracks import FittedTrack


@dataclass(frozen=True, slots=True, kw_only=True)
class FitAccuracy:
    """Errors of one fitted track.

    Attributes:
        identity_similarity_mm: Mean vertex distance of the identities after a similarity alignment.
        identity_rigid_mm: The same after a rigid alignment: the size counts.
        size_ratio: Fitted over true size of the identity.
        expression_mm: Mean vertex distance of the expression displacements.
        nme_percent: Mean distance of the fitted to the clean landmarks, percent of the outer-eye distance.
        jitter_mm: RMS second difference over time of the error of the expression displacements.
        rotation_deg: Mean angle between the rotations.
        sigma_z: RMS of error over posterior standard deviation of the expression; 1 if calibrated.
    """

    identity_similarity_mm: float
    identity_rigid_mm: float
    size_ratio: float
    expression_mm: float
    nme_percent: float
    jitter_mm: float
    rotation_deg: float
    sigma_z: float


def accuracy(model: FaceModel, truth: SyntheticTrack, fit: FittedTrack) -> FitAccuracy:
    """Compare a fit with the truth; vertices of expressions are looked at in at most 40 frames."""
    flat_identity = model.identity_basis_mm.reshape(model.n_identity, -1).astype(np.float64)
    flat_expression = model.expression_basis_mm.reshape(model.n_expression, -1).astype(np.float64)
    mean = model.mean_mm.astype(np.float64)
    estimated = mean + (fit.identity.astype(np.float64) @ flat_identity).reshape(-1, 3)
    true = mean + (truth.identity @ flat_identity).reshape(-1, 3)
    error = fit.expression.astype(np.float64) - truth.expression
    frames = np.unique(np.linspace(0, len(error) - 1, min(len(error), 40)).astype(int))
    displaced = (error[frames] @ flat_expression).reshape(len(frames), -1, 3)
    jitter = 0.0
    if len(error) > 2:
        second = (error[2:] - 2 * error[1:-1] + error[:-2])[:50]
        gram = flat_expression @ flat_expression.T
        jitter = float(np.sqrt(np.einsum("fn,nm,fm->f", second, gram, second).mean() / len(mean)))
    left, right = OUTER_EYE_POINTS
    corners = landmark_fields(model, truth.sequence.scheme)[0][[left, right]]
    outer_eye_px = truth.scale_px_per_mm * np.linalg.norm(corners[0] - corners[1])
    distance = np.linalg.norm(fit.fitted_px - truth.clean_px, axis=-1).mean(axis=1)
    return FitAccuracy(
        identity_similarity_mm=float(aligned_distance(estimated, true, scaled=True).mean()),
        identity_rigid_mm=float(aligned_distance(estimated, true, scaled=False).mean()),
        size_ratio=float(np.linalg.norm(estimated - estimated.mean(0)) / np.linalg.norm(true - true.mean(0))),
        expression_mm=float(np.linalg.norm(displaced, axis=-1).mean()),
        nme_percent=float((distance / outer_eye_px).mean() * 100),
        jitter_mm=jitter,
        rotation_deg=float(rotation_angle_deg(fit.rotation_wxyz.astype(np.float64), truth.rotation_wxyz).mean()),
        sigma_z=float(np.sqrt(((error / fit.expression_sigma) ** 2).mean())),
    )


def mean_accuracy(accuracies: list[FitAccuracy]) -> dict[str, float]:
    """The mean of each number over tracks."""
    rows = [asdict(one) for one in accuracies]
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def aligned_distance(
    points: Float[np.ndarray, "n 3"], target: Float[np.ndarray, "n 3"], *, scaled: bool
) -> Float[np.ndarray, " n"]:
    """Distances to corresponding points after the best rigid or similarity alignment (Umeyama, PAMI 1991)."""
    size, rotation, shift = similarity(points, target, scaled=scaled)
    return np.asarray(np.linalg.norm(size * points @ rotation.T + shift - target, axis=1))


def rotation_angle_deg(
    first_wxyz: Float[np.ndarray, "*batch 4"], second_wxyz: Float[np.ndarray, "*batch 4"]
) -> Float[np.ndarray, "*batch"]:
    """Angle between rotations, degrees."""
    first = matrix_from_quaternion(torch.from_numpy(first_wxyz)).numpy()
    second = matrix_from_quaternion(torch.from_numpy(second_wxyz)).numpy()
    cosine = (np.einsum("...ij,...ij->...", first, second) - 1) / 2
    return np.asarray(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))
