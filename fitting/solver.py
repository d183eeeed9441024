"""The landmark fit: one call for tracks of many videos, any lengths; a track's result does not depend on its company.

Two stages (see `identity_stage` and `frame_stage`), run a second time on half the points for the hold-out error.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32

from fitting.angles import yaw_pitch_roll_deg
from fitting.baselines.fit import camera_of, fit_baseline
from fitting.contour_slide import SlidingContour, sliding_contour
from fitting.face_model import INNER_POINTS, FaceModel
from fitting.find_frames import find_frames
from fitting.find_identities import find_identities
from fitting.fit_setup import FitSetup
from fitting.landmark_basis import LandmarkBasis, landmark_basis
from fitting.lens import no_lens
from fitting.options import FitOptions
from fitting.pixel_camera import PixelCamera, pixel_camera
from fitting.preparation import PreparedTrack, check_sequences, prepare
from fitting.reprojection import HELD_OUT, fitted_half, reprojection_errors
from fitting.tracks import FittedTrack, LandmarkSequence

NO_FACE_ERROR = 0.5
"""A fit whose median error is above half the outer-eye distance is no fit of a face: `diverged`."""
SEEN_FROM_BEHIND_DEG = 120.0
"""Mirrored landmarks look to this camera like a face seen from behind, which nobody's landmarks are: `diverged`."""
FRAMES_PER_GROUP = 1 << 15
"""Tracks are fitted together until they have this many frames."""


def fit_tracks(sequences: Sequence[LandmarkSequence], model: FaceModel, options: FitOptions) -> list[FittedTrack]:
    """Fit every track: one identity, and per frame an expression and a camera.

    A track's result is the same, bit for bit, alone or among any others. Bad landmarks never raise: a track that
    cannot be fitted comes back as `diverged`.

    Args:
        sequences: Tracks of one landmark scheme.
        model: Face model with an embedding for that scheme.
        options: Choices of the fit.

    Returns:
        One fitted track per sequence, in the same order.

    Raises:
        ValueError: The model lacks the scheme, schemes are mixed, shapes do not agree, there is no CUDA device, the
            contour is to slide in a scheme whose contour does not, or the camera is to be perspective and a sequence
            does not know the size of its picture.
    """
    if not sequences:
        return []
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device={options.device!r}: this machine or this build of torch has no CUDA; use cpu")
    basis = landmark_basis(model, sequences[0].scheme, device=options.device)
    check_sequences(sequences, basis.mean.shape[1])
    contour = _contour(sequences, model, options)
    prepared = [prepare(sequence, basis, options) for sequence in sequences]
    results = [_diverged(sequence, basis) for sequence in sequences]
    whole = FitSetup.whole(basis, options, contour)
    half = whole.at(fitted_half(len(whole.points)))
    for group in _groups(prepared):
        tracks = [track for _, track in group]
        fits, halves = _fit(tracks, whole), _fit(tracks, half)
        for (number, track), fit, half_fit in zip(group, fits, halves, strict=True):
            if fit.valid:
                results[number] = _result(sequences[number], track, fit, half_fit) or results[number]
    return results


@dataclass(frozen=True, slots=True, kw_only=True)
class _TrackFit:
    """One track's raw result, in pixels."""

    valid: bool
    converged: bool
    iterations: int
    identity: Float32[np.ndarray, " n_identity"]
    expression: Float32[np.ndarray, "frames n_expression"]
    expression_sigma: Float32[np.ndarray, "frames n_expression"]
    camera: PixelCamera
    head_mm: Float32[np.ndarray, "frames points 3"]


def _groups(prepared: Sequence[PreparedTrack | None]) -> Iterator[list[tuple[int, PreparedTrack]]]:
    group: list[tuple[int, PreparedTrack]] = []
    frames = 0
    for number, track in enumerate(prepared):
        if track is None:
            continue
        if group and frames + len(track.pts_s) > FRAMES_PER_GROUP:
            yield group
            group, frames = [], 0
        group.append((number, track))
        frames += len(track.pts_s)
    if group:
        yield group


def _fit(tracks: Sequence[PreparedTrack], setup: FitSetup) -> list[_TrackFit]:
    """Both stages; the result is about all points, whichever are fitted."""
    if setup.options.method != "two_stage":
        return [_baseline(track, setup) for track in tracks]
    first = find_identities(tracks, setup)
    frames = find_frames(tracks, first, setup)
    return [
        _TrackFit(
            valid=found.valid,
            converged=found.converged and first.converged[number],
            iterations=found.iterations + first.iterations[number],
            identity=first.identity[number].cpu().numpy(),
            expression=found.expression,
            expression_sigma=found.expression_sigma,
            camera=pixel_camera(found.camera, track, _lens(track, first.inverse_focal_px[number])),
            head_mm=found.head_mm,
        )
        for number, (track, found) in enumerate(zip(tracks, frames, strict=True))
    ]


def _baseline(track: PreparedTrack, setup: FitSetup) -> _TrackFit:
    fit = fit_baseline(track, setup.seen, setup.options, setup.points)
    identity = torch.from_numpy(fit.parameters.identity).float()
    expression = torch.from_numpy(fit.parameters.expression).float()
    head = setup.full.identities(identity) + setup.full.expressions(expression)
    return _TrackFit(
        valid=True,
        converged=fit.converged,
        iterations=fit.iterations,
        identity=identity[0].numpy(),
        expression=expression.numpy(),
        expression_sigma=fit.expression_sigma.astype(np.float32),
        camera=pixel_camera(camera_of(fit.parameters), track, no_lens()),
        head_mm=np.ascontiguousarray(head.mT.numpy()),
    )


def _lens(track: PreparedTrack, inverse_focal_px: float) -> Float32[np.ndarray, " 3"]:
    return np.array([inverse_focal_px, *track.principal_px], dtype=np.float32) if inverse_focal_px else no_lens()


def _contour(
    sequences: Sequence[LandmarkSequence], model: FaceModel, options: FitOptions
) -> SlidingContour | None:
    if options.camera == "perspective":
        for number, sequence in enumerate(sequences):
            if sequence.picture_px is None:
                raise ValueError(
                    f"camera={options.camera!r} needs the size of the picture, but sequences[{number}].picture_px is "
                    "None"
                )
    if options.contour == "fixed":
        return None
    contour = sliding_contour(model, sequences[0].scheme, device=options.device)
    if contour is None:
        raise ValueError(
            f"contour={options.contour!r}, but the contour of scheme={sequences[0].scheme!r} is fixed on the head"
        )
    return contour


def _result(sequence: LandmarkSequence, track: PreparedTrack, fit: _TrackFit, half: _TrackFit) -> FittedTrack | None:
    fitted = fit.camera.project(fit.head_mm)
    errors = reprojection_errors(fitted, sequence, fit.camera.outer_eye_px(fit.head_mm), INNER_POINTS)
    held_out = float("inf")
    if half.valid:
        half_errors = reprojection_errors(
            half.camera.project(half.head_mm), sequence, half.camera.outer_eye_px(half.head_mm), HELD_OUT
        )
        held_out = float(np.median(half_errors))
    result = FittedTrack(
        status="converged" if fit.converged else "iteration_limit",
        iterations=fit.iterations,
        identity=fit.identity,
        expression=fit.expression,
        expression_sigma=fit.expression_sigma,
        scale_px_per_mm=fit.camera.scale_px_per_mm.astype(np.float32),
        rotation_wxyz=fit.camera.rotation_wxyz.astype(np.float32),
        translation_px=fit.camera.translation_px.astype(np.float32),
        fitted_px=fitted.astype(np.float32),
        reprojection_error=errors.astype(np.float32),
        holdout_error=held_out,
        lens=fit.camera.lens,
    )
    plain = (
        result.identity, result.expression, result.expression_sigma, result.scale_px_per_mm, result.rotation_wxyz,
        result.translation_px, result.fitted_px,
    )  # fmt: skip
    if not all(np.isfinite(array).all() for array in plain) or np.isnan(errors).any() or np.isnan(held_out):
        return None
    if np.median(errors[track.usable]) > NO_FACE_ERROR:
        return None
    yaw = yaw_pitch_roll_deg(fit.camera.rotation_wxyz)[track.usable, 0]
    return None if np.median(np.abs(yaw)) > SEEN_FROM_BEHIND_DEG else result


def _diverged(sequence: LandmarkSequence, basis: LandmarkBasis) -> FittedTrack:
    frames, points = sequence.weight.shape
    n_expression = basis.expression.shape[-1]

    def zeros(*shape: int) -> Float32[np.ndarray, "..."]:
        return np.zeros(shape, dtype=np.float32)

    return FittedTrack(
        status="diverged",
        iterations=0,
        identity=zeros(basis.identity.shape[-1]),
        expression=zeros(frames, n_expression),
        expression_sigma=zeros(frames, n_expression),
        scale_px_per_mm=zeros(frames),
        rotation_wxyz=zeros(frames, 4),
        translation_px=zeros(frames, 2),
        fitted_px=zeros(frames, points, 2),
        reprojection_error=np.full(frames, np.inf, dtype=np.float32),
        holdout_error=float("inf"),
    )
