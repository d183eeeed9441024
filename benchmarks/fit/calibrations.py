"""Real videos by what the model knows of the detector's errors: the shipped model learnt them from most of these."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float64

from benchmarks.fit.settings import ALL, default_options
from fitting.calibrate import FEWEST_FACES, calibrate
from fitting.face_model import FaceModel
from fitting.options import FitOptions
from fitting.solver import fit_tracks
from fitting.tracks import LandmarkSequence

SHIPPED, LEFT_OUT, NONE = "the model file's", "from the others", "none"
CALIBRATIONS = (SHIPPED, LEFT_OUT, NONE)
"""Whence the errors of the detector are known: from the face model's file, from all videos but the one that is
measured, not at all."""

ByMethod = dict[str, Float64[np.ndarray, " videos"]]


def measure_calibrations(
    model: FaceModel, sequences: Sequence[LandmarkSequence], advance: Callable[[int], None]
) -> dict[str, ByMethod]:
    """Hold-out errors of all methods, percent of the outer-eye distance, for each of `CALIBRATIONS` that can be had.

    Args:
        model: The face model.
        sequences: The videos' landmarks, of one scheme. Too few of them cannot be learnt from: `LEFT_OUT` is missing.
        advance: Receives numbers of videos done, of `len(CALIBRATIONS) * len(ALL)` times as many.
    """
    errors: dict[str, ByMethod] = {}
    for name in CALIBRATIONS:
        if name == LEFT_OUT and len(sequences) <= FEWEST_FACES:
            continue
        models = [_model(model, sequences, number, name) for number in range(len(sequences))]
        errors[name] = {}
        for method in ALL:
            options = default_options(method)
            fits = [fit_tracks([one], known, options)[0] for one, known in zip(sequences, models, strict=True)]
            errors[name][method] = 100 * np.array([fit.holdout_error for fit in fits])
            advance(len(sequences))
    return errors


def print_calibrations(errors: dict[str, ByMethod]) -> None:
    """A table of means over videos."""
    print("\nhold-out %, by the videos that the detector's errors were learnt from")
    print(f"{'':20}" + "".join(f"{method:>14}" for method in ALL))
    for name, by_method in errors.items():
        print(f"{name:20}" + "".join(f"{by_method[method].mean():14.3f}" for method in ALL))


def _model(model: FaceModel, sequences: Sequence[LandmarkSequence], number: int, name: str) -> FaceModel:
    if name == SHIPPED:
        return model
    bare = replace(model, calibrations={})
    if name == NONE:
        return bare
    others = [sequence for other, sequence in enumerate(sequences) if other != number]
    return calibrate(others, bare, FitOptions(), expression_prior=False).model
