"""Truth made with one face model, fitted with another: what a wrong model costs, measured at the landmarks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from benchmarks.fit.accuracy import fit_alone
from benchmarks.fit.settings import ALL, SCHEME, Setting, default_options
from fitting.alignment import similarity
from fitting.calibrate import calibrate
from fitting.face_model import OUTER_EYE_POINTS, FaceModel
from fitting.landmark_basis import landmark_fields
from fitting.metrics import looked_at
from fitting.options import FitOptions
from fitting.solver import fit_tracks
from fitting.synthetic import SyntheticTrack, synthetic_track

MEAN_FACE, CALIBRATED = "mean face", "two_stage, calibrated"
OTHERS_SEED = 1000
"""Seed of the first of the faces that calibration learns from: none of them is measured."""
CALIBRATION_FACES = 20

Points = Float64[np.ndarray, "frames points 3"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LandmarkErrors:
    """Errors at the landmarks, one number per video.

    Attributes:
        space_percent: Distance in space, frame by frame after a similarity alignment, percent of the outer-eye
            distance.
        unbiased_percent: The same once each landmark's mean error, over all other videos, is taken off: what is left
            when the two models mark the same places. NaN of a single video.
    """

    space_percent: Float64[np.ndarray, " videos"]
    unbiased_percent: Float64[np.ndarray, " videos"]


def wrong_model(
    model: FaceModel, other: FaceModel, setting: Setting, count: int, advance: Callable[[int], None]
) -> dict[str, LandmarkErrors]:
    """Fit videos of faces of `other` with `model`, by all methods with default options.

    Beside them stands what the mean face would have for errors; and where the models are two, a fit whose model was
    calibrated, as by `facevid model calibrate`, on landmarks of further faces of `other`.

    Args:
        model: The model that is fitted.
        other: The model of the truth; the same model says what a right one has for errors.
        setting: Kind of video.
        count: Number of videos.
        advance: Receives numbers of videos done, of `rows_of(model, other)` times as many.
    """
    truths = _truths(other, setting, range(count))
    rows = {MEAN_FACE: _errors([_mean_face(model, truth) for truth in truths], other, truths)}
    for method in ALL:
        rows[method] = _errors(_fitted(model, truths, default_options(method)), other, truths)
        advance(count)
    if model is not other:
        further = _truths(other, setting, range(OTHERS_SEED, OTHERS_SEED + CALIBRATION_FACES))
        sequences = [truth.sequence for truth in further]
        learnt = calibrate(sequences, model, FitOptions(), expression_prior=False).model
        rows[CALIBRATED] = _errors(_fitted(learnt, truths, default_options()), other, truths)
        advance(count)
    return rows


def rows_of(model: FaceModel, other: FaceModel) -> int:
    """How many fits `wrong_model` makes of each video."""
    return len(ALL) + (model is not other)


def _truths(other: FaceModel, setting: Setting, seeds: range) -> list[SyntheticTrack]:
    return [synthetic_track(other, SCHEME, setting.video, seed=seed) for seed in seeds]


def _fitted(model: FaceModel, truths: Sequence[SyntheticTrack], options: FitOptions) -> list[Points]:
    if options.method == "two_stage":
        fits = fit_tracks([truth.sequence for truth in truths], model, options)
    else:
        fits = [fit_alone(model, truth, options) for truth in truths]
    return [_points(model, fit.identity, fit.expression) for fit in fits]


def _mean_face(model: FaceModel, truth: SyntheticTrack) -> Points:
    return _points(model, np.zeros(model.n_identity), np.zeros((len(truth.expression), model.n_expression)))


def _points(model: FaceModel, identity: np.ndarray, expression: np.ndarray) -> Points:
    """Landmarks in the frames that are looked at, head frame, mm."""
    mean, by_identity, by_expression = landmark_fields(model, SCHEME)
    some = expression[looked_at(len(expression))].astype(np.float64)
    face = mean + np.tensordot(identity.astype(np.float64), by_identity, 1)
    return np.asarray(face + np.tensordot(some, by_expression, 1))


def _errors(found: Sequence[Points], other: FaceModel, truths: Sequence[SyntheticTrack]) -> LandmarkErrors:
    left, right = OUTER_EYE_POINTS
    mean_face = landmark_fields(other, SCHEME)[0]
    unit_mm = float(np.linalg.norm(mean_face[left] - mean_face[right]))
    apart = [
        _difference(points, _points(other, truth.identity, truth.expression))
        for points, truth in zip(found, truths, strict=True)
    ]
    lasting = np.array([difference.mean(axis=0) for difference in apart])
    return LandmarkErrors(
        space_percent=_percent(apart, unit_mm),
        unbiased_percent=_percent(
            [difference - np.delete(lasting, number, axis=0).mean(axis=0) for number, difference in enumerate(apart)]
            if len(apart) > 1
            else [np.full_like(difference, np.nan) for difference in apart],
            unit_mm,
        ),
    )


def _difference(points: Points, true_points: Points) -> Points:
    """Found less true landmarks, each frame aligned with the truth."""
    aligned = []
    for here, there in zip(points, true_points, strict=True):
        size, rotation, shift = similarity(here, there)
        aligned.append(size * here @ rotation.T + shift - there)
    return np.array(aligned)


def _percent(apart: Sequence[Points], unit_mm: float) -> Float64[np.ndarray, " videos"]:
    return np.array([100 * np.linalg.norm(one, axis=-1).mean() / unit_mm for one in apart])
