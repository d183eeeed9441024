"""The landmark fit: one call for tracks of many videos, any lengths; a track's result does not depend on its company.

Two stages (see `identity_stage` and `frame_stage`), run a second time on half the points for the hold-out error.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float32, Int64

from fitting.baselines.fit import camera_of, fit_baseline
from fitting.begin_frames import BegunTrack, begin_frames
from fitting.contour_slide import SlidingContour, sliding_contour
from fitting.face_model import FaceModel
from fitting.find_frames import find_frames
from fitting.find_identities import find_identities
from fitting.fit_setup import FitSetup
from fitting.frame_windows import windows
from fitting.holdout import holdout_frames
from fitting.landmark_basis import landmark_basis
from fitting.options import FitOptions
from fitting.pixel_camera import pixel_camera
from fitting.preparation import PreparedTrack, check_sequences, prepare
from fitting.ragged import batches
from fitting.refine_identities import frames_to_look_at, refine_identities
from fitting.reprojection import fitted_half
from fitting.track_result import HeldOut, TrackFit, diverged, fitted_track
from fitting.tracks import FittedTrack, LandmarkSequence, no_lens

FRAMES_PER_GROUP = 1 << 15
"""Tracks are fitted together until they have this many frames."""


def fit_tracks(
    sequences: Sequence[LandmarkSequence],
    model: FaceModel,
    options: FitOptions,
    *,
    progress: Callable[[float], None] | None = None,
) -> list[FittedTrack]:
    """Fit every track: one identity, and per frame an expression and a camera.

    A track's result is the same, bit for bit, alone or among any others. Bad landmarks never raise: a track that
    cannot be fitted comes back as `diverged`.

    Args:
        sequences: Tracks of one landmark scheme. Landmarks in float64 are fitted too, in float32.
        model: Face model with an embedding for that scheme.
        options: Choices of the fit.
        progress: Called with the share of the second stage, where most of the time goes, that is done; the fit of the
            hold-out error counts. Baselines do not call it.

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
    sequences = [sequence.in_declared_types() for sequence in sequences]
    check_sequences(sequences, basis.mean.shape[1])
    contour = _contour(sequences, model, options)
    prepared = prepare(sequences, basis, options)
    results: dict[int, FittedTrack] = {}
    found = [(number, track) for number, track in enumerate(prepared) if track is not None]
    whole = FitSetup.whole(basis, options, contour, _steps_told([track for _, track in found], options, progress))
    half = whole.at(fitted_half(len(whole.points)))
    for group in batches(found, lambda one: len(one[1].pts_s), frames=FRAMES_PER_GROUP):
        tracks = [track for _, track in group]
        fits = _fit(tracks, tracks, whole)
        held_out = [_held_out(track, options) for track in tracks]
        halves = _fit(tracks, [track.at(frames) for track, frames in zip(tracks, held_out, strict=True)], half)
        for (number, track), fit, half_fit, frames in zip(group, fits, halves, held_out, strict=True):
            results[number] = fitted_track(
                sequences[number], track, fit, HeldOut(frames=frames, fit=half_fit), basis
            )
    return [
        results[number] if number in results else diverged(sequence, basis) for number, sequence in enumerate(sequences)
    ]


def _steps_told(
    tracks: Sequence[PreparedTrack], options: FitOptions, progress: Callable[[float], None] | None
) -> Callable[[int], None] | None:
    """Turns steps of the second stage, and of the hold-out fit after it, into the share of all of them."""
    if progress is None:
        return None
    held_out = [len(_held_out(track, options)) for track in tracks]
    total = options.frame_iterations * (_frames_seen([len(track.pts_s) for track in tracks]) + _frames_seen(held_out))
    if options.second_pass:  # the hold-out fit takes the first step of these by itself
        total += _frames_seen([len(frames_to_look_at(track)) for track in tracks])
    done = 0

    def tell(steps: int) -> None:
        nonlocal done
        done += steps
        progress(done / total)

    return tell


def _frames_seen(lengths: Sequence[int]) -> int:
    return sum(window.sees.stop - window.sees.start for window in windows(lengths))


def _held_out(track: PreparedTrack, options: FitOptions) -> Int64[np.ndarray, " chosen"]:
    # The baselines find the identity from all frames, and so have no use for fewer.
    two_stage = options.method == "two_stage"
    return holdout_frames(track.usable) if two_stage else np.arange(len(track.usable), dtype=np.int64)


def _fit(tracks: Sequence[PreparedTrack], shown: Sequence[PreparedTrack], setup: FitSetup) -> list[TrackFit]:
    """Both stages: identities of the tracks, then the frames of them that are `shown`."""
    if setup.options.method != "two_stage":
        return [_baseline(track, setup) for track in shown]
    first = find_identities(tracks, setup)
    begun: list[BegunTrack] | None = None
    if setup.options.second_pass:
        chosen = [frames_to_look_at(track) for track in tracks]
        cut = [track.at(frames) for track, frames in zip(tracks, chosen, strict=True)]
        if shown is tracks:
            begun = begin_frames(tracks, first, setup)
            few = [one.at(frames) for one, frames in zip(begun, chosen, strict=True)]
        else:
            few = begin_frames(cut, first, setup)
        first = refine_identities(cut, few, first, setup)
    frames = find_frames(shown, begun or begin_frames(shown, first, setup), first, setup)
    return [
        TrackFit(
            valid=found.valid,
            converged=found.converged and first.converged[number],
            iterations=found.iterations + first.iterations[number],
            energy=found.energy + 0.5 * float((first.identity[number].double() ** 2).sum()),
            identity=first.identity[number].cpu().numpy(),
            expression=found.expression,
            expression_sigma=found.expression_sigma,
            camera=pixel_camera(found.camera, track, _lens(track, first.inverse_focal_px[number])),
        )
        for number, (track, found) in enumerate(zip(shown, frames, strict=True))
    ]


def _baseline(track: PreparedTrack, setup: FitSetup) -> TrackFit:
    fit = fit_baseline(track, setup.seen, setup.options, setup.points)
    return TrackFit(
        valid=True,
        converged=fit.converged,
        iterations=fit.iterations,
        energy=math.inf,
        identity=fit.parameters.identity[0].astype(np.float32),
        expression=fit.parameters.expression.astype(np.float32),
        expression_sigma=fit.expression_sigma.astype(np.float32),
        camera=pixel_camera(camera_of(fit.parameters), track, no_lens()),
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
