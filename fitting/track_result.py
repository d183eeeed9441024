"""From what the solver found to a fitted track: projected landmarks, errors, and whether it is a face at all.

The meshes' points and all that follows from them are worked out for some frames at a time.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64

from fitting.angles import yaw_pitch_roll_deg
from fitting.face_model import INNER_POINTS
from fitting.landmark_basis import LandmarkBasis
from fitting.pixel_camera import PixelCamera
from fitting.preparation import PreparedTrack
from fitting.reprojection import HELD_OUT, reprojection_errors
from fitting.tracks import FittedTrack, LandmarkSequence

NO_FACE_ERROR = 0.5
"""A fit whose median error is above half the outer-eye distance is no fit of a face: `diverged`."""
SEEN_FROM_BEHIND_DEG = 120.0
"""Mirrored landmarks look to this camera like a face seen from behind, which nobody's landmarks are: `diverged`."""
_CHUNK = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackFit:
    """One track's raw result, in pixels, on the CPU."""

    valid: bool
    converged: bool
    iterations: int
    energy: float
    identity: Float32[np.ndarray, " n_identity"]
    expression: Float32[np.ndarray, "frames n_expression"]
    expression_sigma: Float32[np.ndarray, "frames n_expression"]
    camera: PixelCamera


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """The fit that saw half the points, and of which frames it is."""

    frames: Int64[np.ndarray, " chosen"]
    fit: TrackFit


def fitted_track(
    sequence: LandmarkSequence, track: PreparedTrack, fit: TrackFit, half: HeldOut, full: LandmarkBasis
) -> FittedTrack:
    """The fit of a track, `diverged` where it is no face.

    Args:
        sequence: What was to be fitted.
        track: The same, prepared.
        fit: The fit of all points.
        half: The fit that saw half the points.
        full: The face model at all points.
    """
    if not fit.valid:
        return diverged(sequence, full)
    fitted_px = np.empty(sequence.observed_px.shape, dtype=np.float32)
    errors = np.empty(len(fitted_px))
    for part, drawn, outer_eye_px in _drawn(fit, full):
        fitted_px[part] = drawn
        errors[part] = reprojection_errors(drawn, sequence.at(part), outer_eye_px, INNER_POINTS)
    held_out = _holdout_error(sequence.at(half.frames), half.fit, full) if half.fit.valid else float("inf")
    result = FittedTrack(
        status="converged" if fit.converged else "iteration_limit",
        iterations=fit.iterations,
        identity=fit.identity,
        expression=fit.expression,
        expression_sigma=fit.expression_sigma,
        scale_px_per_mm=fit.camera.scale_px_per_mm.astype(np.float32),
        rotation_wxyz=fit.camera.rotation_wxyz.astype(np.float32),
        translation_px=fit.camera.translation_px.astype(np.float32),
        fitted_px=fitted_px,
        reprojection_error=errors.astype(np.float32),
        holdout_error=held_out,
        lens=fit.camera.lens,
        energy=fit.energy,
    )
    plain = (
        result.identity, result.expression, result.expression_sigma, result.scale_px_per_mm, result.rotation_wxyz,
        result.translation_px, result.fitted_px,
    )  # fmt: skip
    if not all(np.isfinite(array).all() for array in plain) or np.isnan([*errors, held_out, fit.energy]).any():
        return diverged(sequence, full)
    yaw = yaw_pitch_roll_deg(fit.camera.rotation_wxyz)[track.usable, 0]
    if np.median(errors[track.usable]) > NO_FACE_ERROR or np.median(np.abs(yaw)) > SEEN_FROM_BEHIND_DEG:
        return diverged(sequence, full)
    return result


def diverged(sequence: LandmarkSequence, full: LandmarkBasis) -> FittedTrack:
    """What stands for a track that cannot be fitted."""
    frames, points = sequence.weight.shape
    n_expression = full.expression.shape[-1]

    def zeros(*shape: int) -> Float32[np.ndarray, "..."]:
        return np.zeros(shape, dtype=np.float32)

    return FittedTrack(
        status="diverged",
        iterations=0,
        identity=zeros(full.identity.shape[-1]),
        expression=zeros(frames, n_expression),
        expression_sigma=zeros(frames, n_expression),
        scale_px_per_mm=zeros(frames),
        rotation_wxyz=zeros(frames, 4),
        translation_px=zeros(frames, 2),
        fitted_px=zeros(frames, points, 2),
        reprojection_error=np.full(frames, np.inf, dtype=np.float32),
        holdout_error=float("inf"),
    )


def _holdout_error(sequence: LandmarkSequence, half: TrackFit, full: LandmarkBasis) -> float:
    errors = [
        reprojection_errors(drawn, sequence.at(part), outer_eye_px, HELD_OUT)
        for part, drawn, outer_eye_px in _drawn(half, full)
    ]
    return float(np.median(np.concatenate(errors)))


def _drawn(
    fit: TrackFit, full: LandmarkBasis
) -> Iterator[tuple[slice, Float64[np.ndarray, "frames points 2"], Float64[np.ndarray, " frames"]]]:
    """Some frames, their landmarks as fitted, and their outer-eye distances as seen from the front, pixels."""
    device = full.mean.device
    person = full.identities(torch.from_numpy(fit.identity[None]).to(device))
    for start in range(0, len(fit.expression), _CHUNK):
        part = slice(start, start + _CHUNK)
        head = person + full.expressions(torch.from_numpy(fit.expression[part]).to(device))
        head_mm = head.mT.cpu().numpy()
        camera = fit.camera.at(part)
        yield part, camera.project(head_mm), camera.outer_eye_px(head_mm)
