"""Truth made with one face model, fitted with another: what a wrong model costs, measured at the landmarks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from benchmarks.fit.accuracy import fit_alone
from benchmarks.fit.settings import ALL, SCHEME, Setting
from fitting.face_model import OUTER_EYE_POINTS, FaceModel
from fitting.landmark_basis import landmark_fields
from fitting.metrics import aligned_distance, looked_at
from fitting.solver import fit_tracks
from fitting.synthetic import SyntheticTrack, synthetic_track
from fitting.tracks import FittedTrack

MODEL_ERROR = 0.02
"""What the fit is told that the model errs by, as a fraction of the outer-eye distance: `FitOptions.landmark_bias`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LandmarkErrors:
    """Errors at the landmarks, one number per video.

    Attributes:
        nme_percent: Distance of fitted from clean points in the picture, percent of the outer-eye distance.
        shape_percent: Distance in space, frame by frame after a similarity alignment, in the same unit.
    """

    nme_percent: Float64[np.ndarray, " videos"]
    shape_percent: Float64[np.ndarray, " videos"]


def wrong_model(model: FaceModel, other: FaceModel, setting: Setting, count: int) -> dict[str, LandmarkErrors]:
    """Fit videos of faces of `other` with `model`, by all methods."""
    truths = [synthetic_track(other, SCHEME, setting.video, seed=seed) for seed in range(count)]
    rows: dict[str, LandmarkErrors] = {}
    for method in ALL:
        options = replace(setting.options(method), landmark_bias=MODEL_ERROR)
        if method == "two_stage":
            fits = fit_tracks([truth.sequence for truth in truths], model, options)
        else:
            fits = [fit_alone(model, truth, options) for truth in truths]
        rows[method] = _errors(model, other, truths, fits)
    return rows


def _errors(
    model: FaceModel, other: FaceModel, truths: Sequence[SyntheticTrack], fits: Sequence[FittedTrack]
) -> LandmarkErrors:
    fields, true_fields = landmark_fields(model, SCHEME), landmark_fields(other, SCHEME)
    left, right = OUTER_EYE_POINTS
    unit_mm = float(np.linalg.norm(true_fields[0][left] - true_fields[0][right]))
    flat, space = [], []
    for truth, fit in zip(truths, fits, strict=True):
        outer_eye_px = truth.scale_px_per_mm * unit_mm
        distance = np.linalg.norm(fit.fitted_px - truth.clean_px, axis=-1).mean(axis=1)
        flat.append(100 * (distance / outer_eye_px).mean())
        space.append(
            np.mean([
                aligned_distance(
                    _points(fields, fit.identity, fit.expression[frame]),
                    _points(true_fields, truth.identity, truth.expression[frame]),
                    scaled=True,
                ).mean()
                for frame in looked_at(len(truth.expression))
            ])
        )  # fmt: skip
    return LandmarkErrors(nme_percent=np.array(flat), shape_percent=100 * np.array(space) / unit_mm)


def _points(
    fields: tuple[np.ndarray, np.ndarray, np.ndarray], identity: np.ndarray, expression: np.ndarray
) -> Float64[np.ndarray, "points 3"]:
    mean, by_identity, by_expression = fields
    return np.asarray(
        mean
        + np.tensordot(identity.astype(np.float64), by_identity, 1)
        + np.tensordot(expression.astype(np.float64), by_expression, 1)
    )
