"""How near a fit comes to the truth, in millimetres, by vertex correspondence (no ICP)."""

from dataclasses import asdict, dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64

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
    frames = looked_at(len(error))
    displaced = (error[frames] @ flat_expression).reshape(len(frames), -1, 3)
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
        jitter_mm=expression_jitter_mm(model, error[:52]),
        rotation_deg=float(rotation_angle_deg(fit.rotation_wxyz.astype(np.float64), truth.rotation_wxyz).mean()),
        sigma_z=float(np.sqrt(((error / fit.expression_sigma) ** 2).mean())),
    )


def looked_at(frames: int) -> Int64[np.ndarray, " some"]:
    """The frames whose vertices are compared: at most 40, evenly spaced."""
    return np.unique(np.linspace(0, frames - 1, min(frames, 40)).astype(np.int64))


def expression_jitter_mm(model: FaceModel, expression: Float[np.ndarray, "frames n_expression"]) -> float:
    """RMS over vertices and time of the second difference of the displacements; 0 for fewer than three frames."""
    if len(expression) < 3:
        return 0.0
    basis = model.expression_basis_mm.reshape(model.n_expression, -1).astype(np.float64)
    second = expression[2:] - 2.0 * expression[1:-1] + expression[:-2]
    squared = np.einsum("fn,nm,fm->f", second, basis @ basis.T, second)
    return float(np.sqrt(squared.mean() / len(model.mean_mm)))


def frame_errors(
    model: FaceModel, truth: SyntheticTrack, fit: FittedTrack
) -> tuple[Float[np.ndarray, " some"], Float[np.ndarray, " some"]]:
    """Errors of single frames, those of `looked_at`.

    Returns:
        Mean vertex distance of the whole face (identity and expression) after a similarity alignment, as a fraction
        of the mean face's outer-eye distance; mean vertex distance of the expression displacements, mm.
    """
    identity_basis = model.identity_basis_mm.reshape(model.n_identity, -1).astype(np.float64)
    expression_basis = model.expression_basis_mm.reshape(model.n_expression, -1).astype(np.float64)
    left, right = OUTER_EYE_POINTS
    points = landmark_fields(model, truth.sequence.scheme)[0]
    unit = float(np.linalg.norm(points[left] - points[right]))
    whole, moved = [], []
    for frame in looked_at(len(truth.expression)):
        motions = [e[frame].astype(np.float64) @ expression_basis for e in (fit.expression, truth.expression)]
        faces = [
            (model.mean_mm.ravel() + i.astype(np.float64) @ identity_basis + motion).reshape(-1, 3)
            for i, motion in zip((fit.identity, truth.identity), motions, strict=True)
        ]
        whole.append(aligned_distance(*faces, scaled=True).mean() / unit)
        moved.append(np.linalg.norm((motions[0] - motions[1]).reshape(-1, 3), axis=1).mean())
    return np.array(whole), np.array(moved)


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
