"""Labelling, as plain functions: fetch one row, find the faces of one video, fit the tracks of a few videos.

Each looks into the store first and commits there what it made, so any of them may be stopped at any moment
and called again, here or in another process. A bad video leaves a failure in the store under its key; an
exception out of these functions is a bug or a broken machine, and stops the build.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from facevid.failures import FailureCode, Stage
from fitting.face_model import OUTER_EYE_POINTS, FaceModel
from fitting.options import FitOptions
from fitting.tracks import FittedTrack, LandmarkSequence
from pipeline.faces.crops import CropSink
from pipeline.faces.errors import VideoError
from pipeline.faces.landmarks import LandmarkDetector
from pipeline.faces.options import FacesOptions
from pipeline.faces.tracks import FacesResult, LandmarkTrack
from pipeline.fetch_errors import FetchError, printable
from pipeline.items import (
    CropWriter,
    FacesItem,
    FittedItem,
    TrackSummary,
    read_faces,
    write_faces,
    write_fetched,
    write_fitted,
)
from pipeline.job import Job, failure_key, fetch_keys, limited_key, row_state
from pipeline.manifest import ManifestRow, is_remote
from pipeline.progress import Counters
from pipeline.store import FetchedVideo, Store


@runtime_checkable
class VideoFetcher(Protocol):
    """What labelling asks of acquisition; see `pipeline.fetch.Fetcher`."""

    def fetch(self, url: str) -> FetchedVideo:
        """Fetch one video, or raise a FetchError."""


TrackFaces = Callable[
    [Path, LandmarkDetector, FacesOptions, CropSink | None, Callable[[], None] | None], FacesResult
]
FitTracks = Callable[[Sequence[LandmarkSequence], FaceModel, FitOptions], list[FittedTrack]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Where labelling works: the job, its store and its counters.

    Attributes:
        job: The build.
        store: Where results are looked up and committed.
        counters: Receives what was really done, as opposed to found in the store.
    """

    job: Job
    store: Store
    counters: Counters


def fetch_row(row: ManifestRow, desk: Desk, fetcher: VideoFetcher) -> None:
    """Have the row's video at hand, or its failure in the store."""
    if row_state(row, desk.job, desk.store).next_stage is not Stage.FETCH:
        return
    success_key, failure_key = fetch_keys(row, desk.job)
    with desk.counters.timed("fetch_s"):
        try:
            video = fetcher.fetch(row.url)
        except FetchError as error:
            desk.store.commit_failure(Stage.FETCH, failure_key, error.code, error.message)
            desk.counters.add("read")
            return
        local = not is_remote(row.url)
        desk.store.commit(Stage.FETCH, success_key, lambda folder: write_fetched(folder, video, local=local))
        desk.counters.add("fetched")


def find_faces(row: ManifestRow, desk: Desk, detector: LandmarkDetector, track_faces: TrackFaces) -> None:
    """Have the face tracks and crops of a fetched video in the store, or its failure."""
    state = row_state(row, desk.job, desk.store)
    if state.next_stage is not Stage.FACES or state.fetched is None:
        return
    _read_faces_of(row, state.fetched, state.next_key, desk, detector=detector, track_faces=track_faces)
    desk.counters.add("read")
    desk.counters.flush()


def _read_faces_of(
    row: ManifestRow, video: FetchedVideo, key: str, desk: Desk, *, detector: LandmarkDetector, track_faces: TrackFaces
) -> None:
    before = fetch_keys(row, desk.job)
    with desk.counters.timed("faces_s"), desk.store.scratch() as folder:
        crops = CropWriter(folder)
        try:
            result = track_faces(
                video.path, detector, desk.job.options.faces, crops,
                lambda: desk.counters.add("decoded_frames"),
            )  # fmt: skip
        except VideoError as error:
            code = FailureCode(error.code)
            own_key = failure_key(key, code, desk.job)
            desk.store.commit_failure(Stage.FACES, own_key, code, _sentence(error, video.path))
            return
        except FileNotFoundError:
            if (after := fetch_keys(row, desk.job)) == before:
                raise
            message = f"there is no file {row.url} any more"
            desk.store.commit_failure(Stage.FETCH, after[1], FailureCode.NOT_FOUND, message)
            return
        except MemoryError:
            message = "the machine has not enough memory for this video"
            desk.store.commit_failure(
                Stage.FACES, limited_key(key, desk.job), FailureCode.OUT_OF_MEMORY, message
            )
            return
        finally:
            crops.close()
        if (after := fetch_keys(row, desk.job)) != before:
            # A local file that someone wrote to: what was found belongs to neither the old nor the new bytes.
            message = f"{row.url} changed while it was read"
            desk.store.commit_failure(Stage.FETCH, after[1], FailureCode.CORRUPT, message)
            return
        write_faces(folder, _faces_item(result))
        desk.store.adopt(Stage.FACES, key, folder)


def fit_videos(rows: Sequence[ManifestRow], desk: Desk, model: FaceModel, fit_tracks: FitTracks) -> None:
    """Have the fitted tracks of some videos in the store; they are fitted together, which changes no result."""
    waiting: dict[str, Path] = {}
    for row in rows:
        state = row_state(row, desk.job, desk.store)
        if state.next_stage is Stage.FIT and state.faces_key is not None:
            # Two rows with the same bytes are one video here.
            waiting[state.next_key] = desk.store.result_path(Stage.FACES, state.faces_key)
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
    videos = {key: read_faces(folder) for key, folder in waiting.items()}
    sequences = [_sequence(track) for video in videos.values() for track in video.tracks]
    fits = iter(fit_tracks(sequences, model, desk.job.options.fit))
    for key, video in videos.items():
        fitted = tuple(next(fits) for _ in video.tracks)
        sizes = tuple(
            face_size_px(fit, model, scheme=track.scheme) for fit, track in zip(fitted, video.tracks, strict=True)
        )
        item = FittedItem(tracks=fitted, face_size_px=sizes)
        summaries = [_summary(fit, track) for fit, track in zip(fitted, video.tracks, strict=True)]
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


def _faces_item(result: FacesResult) -> FacesItem:
    video = result.video
    fps = video.fps or (result.frames_read / video.duration_s if video.duration_s else 0.0)
    return FacesItem(
        width_px=video.width_px,
        height_px=video.height_px,
        fps=float(fps),
        codec=video.codec,
        frames=result.frames_read,
        short_tracks=result.short_tracks,
        tracks=result.tracks,
    )


def _sequence(track: LandmarkTrack) -> LandmarkSequence:
    points = track.observed_px.shape[1]
    return LandmarkSequence(
        scheme=track.scheme,
        observed_px=track.observed_px,
        smoothed_px=track.smoothed_px,
        weight=np.repeat(track.confidence[:, None], points, axis=1),
        pts_s=track.pts_s,
    )


def _summary(fit: FittedTrack, track: LandmarkTrack) -> TrackSummary:
    return TrackSummary(
        status=fit.status,
        frames=len(track.frame),
        observed_frames=int((track.confidence > 0).sum()),
        identity_norm=float(np.linalg.norm(fit.identity.astype(np.float64))),
        reprojection_error=float(np.median(fit.reprojection_error)),
    )


def _sentence(error: Exception, path: Path) -> str:
    # The result belongs to the bytes, whatever a row calls them: its message must not depend on who came first.
    return printable(str(error).replace(path.name, "the video"), 500)
