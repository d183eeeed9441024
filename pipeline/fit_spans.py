"""Fitting as a plain function over the store: the tracks of a few spans together, each span's result by itself."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from facevid.failures import FailureCode, Stage
from fitting.face_model import OUTER_EYE_POINTS, FaceModel
from fitting.options import FitOptions
from fitting.tracks import FittedTrack, LandmarkSequence
from pipeline.faces.landmark_track import LandmarkTrack
from pipeline.items import FacesItem, FittedItem, TrackSummary, read_faces, write_fitted
from pipeline.job import limited_key
from pipeline.label import Desk, SpanOfRow, commit_changed
from pipeline.row_state import row_state

FitTracks = Callable[[Sequence[LandmarkSequence], FaceModel, FitOptions], list[FittedTrack]]


def fit_spans(pieces: Sequence[SpanOfRow], desk: Desk, model: FaceModel, fit_tracks: FitTracks) -> None:
    """Have the fitted tracks of some spans in the store; they are fitted together, which changes no result."""
    waiting: dict[str, Path] = {}
    for piece in pieces:
        state = row_state(piece.row, desk.job, desk.store)
        if state.next_stage is Stage.FETCH:
            commit_changed(piece.row, desk)
        elif state.failure is None and state.spans[piece.number].next_stage is Stage.FIT:
            # Two rows with the same bytes are one video here.
            own = state.spans[piece.number]
            waiting[own.fit_key] = desk.store.result_path(Stage.FACES, own.faces_key)
    if not waiting:
        return
    with desk.counters.timed("fit_s"):
        try:
            _fit_together(waiting, desk, model, fit_tracks)
        except MemoryError:
            _fit_one_by_one(waiting, desk, model, fit_tracks)


def _fit_one_by_one(waiting: dict[str, Path], desk: Desk, model: FaceModel, fit_tracks: FitTracks) -> None:
    for key, folder in waiting.items():
        try:
            _fit_together({key: folder}, desk, model, fit_tracks)
        except MemoryError:
            message = "the machine has not enough memory to fit the tracks of this video"
            desk.store.commit_failure(Stage.FIT, limited_key(key, desk.job), FailureCode.OUT_OF_MEMORY, message)


def _fit_together(waiting: dict[str, Path], desk: Desk, model: FaceModel, fit_tracks: FitTracks) -> None:
    spans = {key: read_faces(folder) for key, folder in waiting.items()}
    sequences = [_sequence(track, span) for span in spans.values() for track in span.tracks]
    fits = iter(fit_tracks(sequences, model, desk.job.options.fit))
    for key, span in spans.items():
        fitted = tuple(next(fits) for _ in span.tracks)
        sizes = tuple(
            face_size_px(fit, model, scheme=track.scheme) for fit, track in zip(fitted, span.tracks, strict=True)
        )
        item = FittedItem(tracks=fitted, face_size_px=sizes)
        summaries = [_summary(fit, track) for fit, track in zip(fitted, span.tracks, strict=True)]
        desk.store.commit(Stage.FIT, key, functools.partial(write_fitted, item=item, summaries=summaries))
        desk.counters.add("fitted_tracks", len(fitted))
        desk.counters.add("fitted_frames", sum(summary.frames for summary in summaries))


def face_size_px(track: FittedTrack, model: FaceModel, *, scheme: str) -> Float32[np.ndarray, " frames"]:
    """The fitted outer-eye distance of each frame, as it would be seen from the front, pixels.

    Raises:
        ValueError: The model lacks the scheme.
    """
    embedding = model.embedding(scheme)
    corners = []
    for point in OUTER_EYE_POINTS:
        ids, weights = embedding.vertex_ids[point], embedding.weights[point].astype(np.float64)
        person = model.mean_mm[ids] + np.tensordot(track.identity, model.identity_basis_mm[:, ids], axes=1)
        motion = np.tensordot(track.expression, model.expression_basis_mm[:, ids], axes=1)
        corners.append(np.einsum("v,fvc->fc", weights, person + motion))
    distance_mm = np.linalg.norm(corners[0] - corners[1], axis=1)
    return np.asarray(track.scale_px_per_mm * distance_mm, dtype=np.float32)


def _sequence(track: LandmarkTrack, video: FacesItem) -> LandmarkSequence:
    points = track.observed_px.shape[1]
    return LandmarkSequence(
        scheme=track.scheme,
        observed_px=track.observed_px,
        smoothed_px=track.smoothed_px,
        weight=np.repeat(track.confidence[:, None], points, axis=1),
        pts_s=track.pts_s,
        picture_px=(video.width_px, video.height_px),
    )


def _summary(fit: FittedTrack, track: LandmarkTrack) -> TrackSummary:
    return TrackSummary(
        status=fit.status,
        frames=len(track.frame),
        observed_frames=int((track.confidence > 0).sum()),
        identity_norm=float(np.linalg.norm(fit.identity.astype(np.float64))),
        reprojection_error=float(np.median(fit.reprojection_error)),
    )
