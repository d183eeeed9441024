"""Fits of synthetic videos, and their errors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Float64

from benchmarks.fit.floor import floor
from benchmarks.fit.settings import SCHEME, Setting
from benchmarks.fit.tables import Means
from fitting.baselines.fit import camera_of, fit_baseline
from fitting.baselines.problem import Parameters
from fitting.face_model import FaceModel
from fitting.landmark_basis import LandmarkBasis, landmark_basis
from fitting.metrics import FitAccuracy, accuracy
from fitting.options import FitMethod, FitOptions
from fitting.pixel_camera import pixel_camera
from fitting.preparation import PreparedTrack, prepare
from fitting.solver import fit_tracks
from fitting.synthetic import SyntheticTrack, synthetic_track
from fitting.tracks import FittedTrack, no_lens

FRAME_COUNTS = (10, 30, 100, 300, 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fits:
    """What a method made of a setting's videos.

    Attributes:
        accuracies: One per video.
        tracks: The fits.
    """

    accuracies: list[FitAccuracy]
    tracks: list[FittedTrack]

    @property
    def means(self) -> Means:
        """Over videos."""
        return Means(self.accuracies)


def videos(model: FaceModel, setting: Setting, count: int) -> list[SyntheticTrack]:
    """The setting's videos, the same in every run."""
    return [synthetic_track(model, SCHEME, setting.video, seed=seed) for seed in range(count)]


def fit(model: FaceModel, setting: Setting, truths: Sequence[SyntheticTrack], method: FitMethod) -> Fits:
    """Fit a setting's videos: two stages all in one call; baselines without the hold-out fit, which nobody looks at."""
    return fit_with(model, setting.options(method), truths)


def fit_with(model: FaceModel, options: FitOptions, truths: Sequence[SyntheticTrack]) -> Fits:
    """The same with options of one's own."""
    if options.method == "two_stage":
        tracks = fit_tracks([truth.sequence for truth in truths], model, options)
    else:
        tracks = [fit_alone(model, truth, options) for truth in truths]
    return Fits(
        accuracies=[accuracy(model, truth, track) for truth, track in zip(truths, tracks, strict=True)],
        tracks=tracks,
    )


def fit_alone(model: FaceModel, truth: SyntheticTrack, options: FitOptions) -> FittedTrack:
    """One baseline's fit of one video."""
    basis = landmark_basis(model, SCHEME, device="cpu")
    (prepared,) = prepare([truth.sequence], basis, options)
    assert prepared is not None, "a synthetic video can be prepared"
    found = fit_baseline(prepared, basis, options, np.arange(truth.sequence.weight.shape[1]))
    return fitted(found.parameters, basis, prepared, found.expression_sigma)


def fitted(
    at: Parameters,
    basis: LandmarkBasis,
    track: PreparedTrack,
    expression_sigma: Float64[np.ndarray, "frames n_expression"] | None = None,
) -> FittedTrack:
    """Parameters as a fit in pixels; posterior deviations that are not known stand as 1."""
    camera = pixel_camera(camera_of(at), track, no_lens())
    identity, expression = torch.from_numpy(at.identity).float(), torch.from_numpy(at.expression).float()
    head = (basis.identities(identity) + basis.expressions(expression)).mT.numpy()
    sigma = np.ones(at.expression.shape) if expression_sigma is None else expression_sigma
    return FittedTrack(
        status="converged",
        iterations=1,
        identity=identity[0].numpy(),
        expression=expression.numpy(),
        expression_sigma=sigma.astype(np.float32),
        scale_px_per_mm=camera.scale_px_per_mm.astype(np.float32),
        rotation_wxyz=camera.rotation_wxyz.astype(np.float32),
        translation_px=camera.translation_px.astype(np.float32),
        fitted_px=camera.project(np.ascontiguousarray(head)).astype(np.float32),
        reprojection_error=np.zeros(len(at.scale), np.float32),
        holdout_error=0.0,
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
