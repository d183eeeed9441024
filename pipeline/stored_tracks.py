"""The content of tracks, read from the store in the order of a shard: one track at a time in memory.

A shard names a track by its row and its number in the row's video; the store has it under its number among those that
begin in a span.
"""

import functools
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from facevid.failures import Stage
from pipeline.fetched_video import FetchedVideo
from pipeline.items import FittedItem, TrackSummary, read_fitted, read_summaries
from pipeline.job import Job
from pipeline.manifest import ManifestRow
from pipeline.rejects import is_rejected
from pipeline.row_state import SpanPlace, places, row_state
from pipeline.row_tracks import read_whole
from pipeline.rows import TrackResult, crops_batches
from pipeline.store import Store
from pipeline.stored_crops import read_crops


@dataclass(frozen=True, slots=True, kw_only=True)
class _RowOfTracks:
    """Where the tracks of a row lie.

    Attributes:
        source: The row's video.
        spans: Those with face tracks.
        first_tracks: Of each of them, the tracks that begin before it.
    """

    source: FetchedVideo
    spans: tuple[SpanPlace, ...]
    first_tracks: tuple[int, ...]

    def find(self, track: int) -> tuple[SpanPlace, int]:
        """The span in which a track begins, and its number among those that do."""
        at = bisect_right(self.first_tracks, track) - 1
        return self.spans[at], track - self.first_tracks[at]


class StoredTracks:
    """Tracks in the order in which they are given; they may be read any number of times.

    Args:
        tracks: Fitted tracks, as (place of the row in the manifest's good rows, number of the track in the video).
        rows: The manifest's good rows.
        job: The build.
        store: Where the results are.
        on_read: Called whenever a track has been read and used, with the number of its frames.
    """

    def __init__(
        self,
        tracks: Sequence[tuple[int, int]],
        rows: Sequence[ManifestRow],
        job: Job,
        store: Store,
        *,
        on_read: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._tracks, self._rows, self._job, self._store = tracks, rows, job, store
        self._on_read = on_read
        self._rejects = frozenset(job.rejects)
        # Tracks come sorted: those of one row, and of one span of it, follow each other.
        self._row = functools.lru_cache(maxsize=1)(self._row_of)
        self._fitted = functools.lru_cache(maxsize=1)(self._read_fitted)

    def results(self) -> Iterator[TrackResult]:
        """All that the rows of the frames and tracks tables are made from.

        Raises:
            ValueError: A row has no fitted tracks.
        """
        for index, track in self._tracks:
            row = self._row(index)
            place, number = row.find(track)
            fitted, summaries = self._fitted(place.state.fit_key)
            yield TrackResult(
                row=self._rows[index],
                source=row.source,
                video=place.facts,
                track=track,
                first_frame=place.first_frame,
                landmarks=read_whole(fitted.parts[number], row.spans, self._store),
                fit=fitted.tracks[number],
                face_size_px=fitted.face_size_px[number],
                summary=summaries[number],
                rejected=is_rejected(self._rejects, self._rows[index].video_id, track),
            )
            self._on_read(len(fitted.tracks[number].expression))

    def crops(self) -> Iterator[pa.RecordBatch]:
        """The rows of the crops table.

        Raises:
            ValueError: A row has no fitted tracks.
        """
        for index, track in self._tracks:
            row = self._row(index)
            place, number = row.find(track)
            spans = {each.number: each for each in row.spans}
            fitted, _ = self._fitted(place.state.fit_key)
            for part in fitted.parts[number]:
                span = spans[part.span]
                crops = read_crops(self._store.result_path(Stage.FACES, span.state.faces_key), part)
                yield from crops_batches(self._rows[index].video_id, track, crops, first_frame=span.first_frame)
            self._on_read(len(fitted.tracks[number].expression))

    def _row_of(self, index: int) -> _RowOfTracks:
        state = row_state(self._rows[index], self._job, self._store)
        if state.fetched is None or state.next_stage is not None or state.failure is not None:
            raise ValueError(f"index={index}: row {self._rows[index].video_id!r} has no fitted tracks")
        spans = tuple(places(state, self._store))
        first_tracks = [0]
        for place in spans:
            summaries = read_summaries(self._store.result_path(Stage.FIT, place.state.fit_key))
            first_tracks.append(first_tracks[-1] + len(summaries))
        return _RowOfTracks(source=state.fetched, spans=spans, first_tracks=tuple(first_tracks[:-1]))

    def _read_fitted(self, fit_key: str) -> tuple[FittedItem, tuple[TrackSummary, ...]]:
        folder = self._store.result_path(Stage.FIT, fit_key)
        return read_fitted(folder), read_summaries(folder)
