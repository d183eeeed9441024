"""The content of tracks, read from the store in the order of a shard: one track at a time in memory.

A shard names a track by its row and its number in the row's video; the store has it under its number in a span.
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from facevid.failures import Stage
from pipeline.items import FacesItem, FittedItem, TrackSummary, read_crops, read_faces, read_fitted, read_summaries
from pipeline.job import Job
from pipeline.manifest import ManifestRow
from pipeline.row_state import SpanPlace, places, row_state
from pipeline.rows import TrackResult, crops_batches
from pipeline.store import FetchedVideo, Store


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    # Where a track's content lies: its row's video, and the span with what comes before it.
    source: FetchedVideo
    place: SpanPlace


class StoredTracks:
    """Tracks in the order in which they are given; they may be read any number of times.

    Args:
        tracks: Fitted tracks, as (place of the row in the manifest's good rows, number of the track in the video).
        rows: The manifest's good rows.
        job: The build.
        store: Where the results are.
    """

    def __init__(
        self, tracks: Sequence[tuple[int, int]], rows: Sequence[ManifestRow], job: Job, store: Store
    ) -> None:
        self._tracks, self._rows, self._job, self._store = tracks, rows, job, store
        # Tracks come sorted: those of one row, and of one span of it, follow each other.
        self._spans = functools.lru_cache(maxsize=1)(self._spans_of)
        self._read = functools.lru_cache(maxsize=1)(self._read_span)

    def results(self) -> Iterator[TrackResult]:
        """All that the rows of the frames and tracks tables are made from.

        Raises:
            ValueError: A row has no fitted tracks.
        """
        for index, track in self._tracks:
            found = self._find(index, track)
            place = found.place
            faces, fitted, summaries = self._read(place.state.faces_key, place.state.fit_key)
            number = track - place.first_track
            yield TrackResult(
                row=self._rows[index],
                source=found.source,
                video=faces,
                track=track,
                first_frame=place.first_frame,
                landmarks=faces.tracks[number],
                fit=fitted.tracks[number],
                face_size_px=fitted.face_size_px[number],
                summary=summaries[number],
            )

    def crops(self) -> Iterator[pa.RecordBatch]:
        """The rows of the crops table.

        Raises:
            ValueError: A row has no fitted tracks.
        """
        for index, track in self._tracks:
            place = self._find(index, track).place
            folder = self._store.result_path(Stage.FACES, place.state.faces_key)
            crops = read_crops(folder, track - place.first_track)
            yield from crops_batches(self._rows[index].video_id, track, crops, first_frame=place.first_frame)

    def _find(self, index: int, track: int) -> _Found:
        source, spans = self._spans(index)
        place = next(each for each in spans if each.first_track <= track < each.first_track + each.counts.tracks)
        return _Found(source=source, place=place)

    def _spans_of(self, index: int) -> tuple[FetchedVideo, tuple[SpanPlace, ...]]:
        state = row_state(self._rows[index], self._job, self._store)
        if state.fetched is None or state.next_stage is not None or state.failure is not None:
            raise ValueError(f"index={index}: row {self._rows[index].video_id!r} has no fitted tracks")
        return state.fetched, tuple(places(state, self._store))

    def _read_span(self, faces_key: str, fit_key: str) -> tuple[FacesItem, FittedItem, tuple[TrackSummary, ...]]:
        fit_folder = self._store.result_path(Stage.FIT, fit_key)
        faces = read_faces(self._store.result_path(Stage.FACES, faces_key))
        return faces, read_fitted(fit_folder), read_summaries(fit_folder)
