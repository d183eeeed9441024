"""Fits of synthetic videos, and their errors."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from benchmarks.fit.floor import floor
from benchmarks.fit.settings import SCHEME, Setting
from benchmarks.fit.tables import Means
from fitting.face_model import FaceModel
from fitting.metrics import FitAccuracy, accuracy
from fitting.solver import fit_tracks
from fitting.synthetic import SyntheticTrack, synthetic_track
from fitting.tracks import FittedTrack

FRAME_COUNTS = (10, 30, 100, 300, 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fits:
    """What a method made of a setting's videos.

    Attributes:
        accuracies: One per video.
        tracks: The fits.
        cpu_s: Processor time of the fits, the hold-out fits among them.
    """

    accuracies: list[FitAccuracy]
    tracks: list[FittedTrack]
    cpu_s: float

    @property
    def means(self) -> Means:
        """Over videos."""
        return Means(self.accuracies)


def videos(model: FaceModel, setting: Setting, count: int) -> list[SyntheticTrack]:
    """The setting's videos, the same in every run."""
    return [synthetic_track(model, SCHEME, setting.video, seed=seed) for seed in range(count)]


def fit(model: FaceModel, setting: Setting, truths: Sequence[SyntheticTrack], method: str) -> Fits:
    """Fit a setting's videos, all in one call."""
    began_s = time.process_time()
    tracks = fit_tracks([truth.sequence for truth in truths], model, setting.options(method))
    return Fits(
        accuracies=[accuracy(model, truth, track) for truth, track in zip(truths, tracks, strict=True)],
        tracks=tracks,
        cpu_s=time.process_time() - began_s,
    )


def floors(
    model: FaceModel,
    setting: Setting,
    truths: Sequence[SyntheticTrack],
    *,
    free_cameras: bool,
    advance: Callable[[int], None],
) -> list[FitAccuracy]:
    """The floor of each video: the mean over its draws."""
    rows = []
    for seed, truth in enumerate(truths):
        rows.append(_mean(floor(model, truth, setting.video, free_cameras=free_cameras, seed=seed)))
        advance(1)
    return rows


def identity_by_frames(
    model: FaceModel, setting: Setting, count: int, advance: Callable[[int], None]
) -> dict[int, Means]:
    """Errors of our fit by the number of frames; the same persons at each."""
    rows = {}
    for frames in FRAME_COUNTS:
        longer = replace(setting, video=replace(setting.video, frames=frames))
        rows[frames] = fit(model, longer, videos(model, longer, count), "two_stage").means
        advance(count)
    return rows


def mean_face(model: FaceModel, truths: Sequence[SyntheticTrack]) -> list[FitAccuracy]:
    """What the mean face with the mean expression, under the true cameras, would have for errors."""
    rows = []
    for truth in truths:
        frames = len(truth.expression)
        nothing = FittedTrack(
            status="converged",
            iterations=0,
            identity=np.zeros(model.n_identity, np.float32),
            expression=np.zeros(truth.expression.shape, np.float32),
            expression_sigma=np.ones(truth.expression.shape, np.float32),
            scale_px_per_mm=truth.scale_px_per_mm.astype(np.float32),
            rotation_wxyz=truth.rotation_wxyz.astype(np.float32),
            translation_px=truth.translation_px.astype(np.float32),
            fitted_px=truth.clean_px.astype(np.float32),
            reprojection_error=np.zeros(frames, np.float32),
            holdout_error=0.0,
        )
        rows.append(accuracy(model, truth, nothing))
    return rows


def _mean(rows: Sequence[FitAccuracy]) -> FitAccuracy:
    names = [field.name for field in fields(FitAccuracy)]
    return replace(rows[0], **{name: float(np.mean([getattr(row, name) for row in rows])) for name in names})
