"""Fitting as a plain function over the store: the tracks of a few spans together, each span's result by itself.

A track is fitted as a whole, with one identity, by whoever fits the span in which it begins (see `seams`). So nothing
of a video is fitted before all its spans have been searched.
"""

import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Float32

from facevid.failures import FailureCode, Stage
from fitting.face_model import OUTER_EYE_POINTS, FaceModel
from fitting.options import FitOptions
from fitting.tracks import FittedTrack, LandmarkSequence
from pipeline.desk import Desk, SpanOfRow
from pipeline.faces.landmark_track import LandmarkTrack
from pipeline.items import FittedItem, SpanFacts, TrackSummary, write_fitted
from pipeline.job import limited_key
from pipeline.label import commit_changed
from pipeline.row_state import SpanPlace, places, row_state
from pipeline.row_tracks import Tracks, read_whole, tracks_from

FRAMES_TOGETHER = 1 << 15
"""Spans are fitted together until their tracks have this many frames: more gains nothing, and takes its memory."""
Waiting = dict[str, tuple[tuple[SpanPlace, ...], Tracks]]
"""By the key of a span's fit: the spans of its row, and the tracks that begin in it."""
FitTracks = Callable[[Sequence[LandmarkSequence], FaceModel, FitOptions], list[FittedTrack]]


def fit_spans(pieces: Sequence[SpanOfRow], desk: Desk, model: FaceModel, fit_tracks: FitTracks) -> None:
    """Have the fitted tracks of some spans in the store; who is fitted together changes no result."""
    waiting: Waiting = {}
    # Row by row: the tracks of a row are joined once for all its spans.
    for piece in sorted(pieces, key=lambda piece: (piece.row.video_id, piece.number)):
        state = row_state(piece.row, desk.job, desk.store)
        if state.next_stage is Stage.FETCH:
            commit_changed(piece.row, desk)
        elif state.next_stage is Stage.FIT and state.spans[piece.number].next_stage is Stage.FIT:
            # Two rows with the same bytes are one video here.
            row = tuple(places(state, desk.store))
            waiting[state.spans[piece.number].fit_key] = (row, tracks_from(piece.number, row, desk.store))
    if not waiting:
        return
    with desk.counters.timed("fit_s"):
        for some in _some_at_a_time(waiting):
            try:
                _fit_together(some, desk, model, fit_tracks)
            except MemoryError:
                _fit_one_by_one(some, desk, model, fit_tracks)


def _some_at_a_time(waiting: Waiting) -> Iterator[Waiting]:
    some: Waiting = {}
    held = 0
    for key, (row, tracks) in waiting.items():
        frames = sum(part.end - part.begin for parts in tracks for part in parts)
        if some and held + frames > FRAMES_TOGETHER:
            yield some
            some, held = {}, 0
        some[key] = (row, tracks)
        held += frames
    yield some


def _fit_one_by_one(waiting: Waiting, desk: Desk, model: FaceModel, fit_tracks: FitTracks) -> None:
    for key, span in waiting.items():
        try:
            _fit_together({key: span}, desk, model, fit_tracks)
        except MemoryError:
            message = "the machine has not enough memory to fit the tracks of this video"
            desk.store.commit_failure(Stage.FIT, limited_key(key, desk.job), FailureCode.OUT_OF_MEMORY, message)


def _fit_together(waiting: Waiting, desk: Desk, model: FaceModel, fit_tracks: FitTracks) -> None:
    spans = {
        key: [(parts, read_whole(parts, row, desk.store)) for parts in tracks]
        for key, (row, tracks) in waiting.items()
    }
    sequences = [
        _sequence(track, row[0].facts) for key, (row, _) in waiting.items() for _, track in spans[key]
    ]
    fits = iter(fit_tracks(sequences, model, desk.job.options.fit))
    for key, found in spans.items():
        tracks = [track for _, track in found]
        fitted = tuple(next(fits) for _ in tracks)
        sizes = tuple(face_size_px(fit, model, scheme=track.scheme) for fit, track in zip(fitted, tracks, strict=True))
        item = FittedItem(parts=tuple(parts for parts, _ in found), tracks=fitted, face_size_px=sizes)
        summaries = [_summary(fit, track) for fit, track in zip(fitted, tracks, strict=True)]
        source = desk.store.source(Stage.FACES, waiting[key][0][0].state.faces_key)
        write = functools.partial(write_fitted, item=item, summaries=summaries)
        desk.store.commit(Stage.FIT, key, write, source=source)
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


def _sequence(track: LandmarkTrack, facts: SpanFacts) -> LandmarkSequence:
    points = track.observed_px.shape[1]
    return LandmarkSequence(
        scheme=track.scheme,
        observed_px=track.observed_px,
        smoothed_px=track.smoothed_px,
        weight=np.broadcast_to(track.confidence[:, None], (len(track.confidence), points)),
        pts_s=track.pts_s,
        picture_px=(facts.width_px, facts.height_px),
    )


def _summary(fit: FittedTrack, track: LandmarkTrack) -> TrackSummary:
    return TrackSummary(
        status=fit.status,
        frames=len(track.frame),
        observed_frames=int((track.confidence > 0).sum()),
        identity_norm=float(np.linalg.norm(fit.identity.astype(np.float64))),
        reprojection_error=float(np.median(fit.reprojection_error)),
    )
