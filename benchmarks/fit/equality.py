"""Whether a track's fit is the same, bit for bit, in any company and in any process."""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields
from multiprocessing import get_context

import numpy as np
import torch

from benchmarks.fit.settings import SCHEME
from fitting.face_model import FaceModel
from fitting.options import FitOptions
from fitting.solver import fit_tracks
from fitting.synthetic import SyntheticOptions, synthetic_track
from fitting.tracks import FittedTrack, LandmarkSequence

TRACKS = 64
_LENGTHS = (12, 48)


def unequal_tracks(model: FaceModel, advance: Callable[[int], None]) -> dict[str, int]:
    """How many of 64 tracks of different lengths differ from the fit of all 64, by company."""
    rng = np.random.default_rng(0)
    sequences = [
        synthetic_track(
            model, SCHEME, SyntheticOptions(frames=int(rng.integers(*_LENGTHS)), missing_share=0.05), seed=seed
        ).sequence
        for seed in range(TRACKS)
    ]
    together = _fit(model, sequences)
    advance(1)
    alone = [_fit(model, [sequence])[0] for sequence in sequences]
    advance(1)
    pairs = [fit for k in range(0, TRACKS, 2) for fit in _fit(model, sequences[k : k + 2])]
    advance(1)
    order = rng.permutation(TRACKS)
    permuted: list[FittedTrack] = [alone[0]] * TRACKS
    for place, fit in zip(order, _fit(model, [sequences[k] for k in order]), strict=True):
        permuted[place] = fit
    advance(1)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        halves = [sequences[: TRACKS // 2], sequences[TRACKS // 2 :]]
        processes = [fit for part in pool.map(_fit, [model, model], halves) for fit in part]
    advance(1)
    companies = {"alone": alone, "in pairs": pairs, "permuted": permuted, "in 2 processes": processes}
    return {
        name: sum(not _same(one, other) for one, other in zip(together, fits, strict=True))
        for name, fits in companies.items()
    }


def _fit(model: FaceModel, sequences: Sequence[LandmarkSequence]) -> list[FittedTrack]:
    torch.set_num_threads(1)
    return fit_tracks(sequences, model, FitOptions())


def _same(one: FittedTrack, other: FittedTrack) -> bool:
    pairs = ((getattr(one, field.name), getattr(other, field.name)) for field in fields(FittedTrack))
    return all(np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b for a, b in pairs)
