"""The face tracks of a row as the store has them, joined over the borders of its spans."""

import functools
from collections.abc import Sequence
from pathlib import Path

from facevid.failures import Stage
from pipeline.faces.landmark_track import LandmarkTrack
from pipeline.items import TrackPart, read_boxes, read_track
from pipeline.row_state import SpanPlace
from pipeline.seams import SpanBoxes, join_tracks, whole_track
from pipeline.store import Store

Tracks = tuple[tuple[TrackPart, ...], ...]


def tracks_from(number: int, row: Sequence[SpanPlace], store: Store) -> Tracks:
    """The tracks that begin in one span, as their parts.

    Args:
        number: Place of the span among the row's.
        row: The row's spans with face tracks.
        store: Where the results are.
    """
    return joined(row, store).get(number, ())


def joined(row: Sequence[SpanPlace], store: Store) -> dict[int, Tracks]:
    """All tracks of a row, by the span in which they begin.

    Results are never changed, so the last row's are held: whoever asks span by span asks row by row.
    """
    folders = tuple(
        (place.number, place.first_frame, place.facts.lead_frames, place.facts.lead_shot_ends, _folder(place, store))
        for place in row
    )
    return _joined(folders)


@functools.lru_cache(maxsize=1)
def _joined(spans: tuple[tuple[int, int, int, tuple[int, ...], Path], ...]) -> dict[int, Tracks]:
    return join_tracks(
        SpanBoxes(
            number=number, first_frame=first_frame, lead_frames=lead_frames, lead_shot_ends=shot_ends,
            tracks=read_boxes(folder),
        )
        for number, first_frame, lead_frames, shot_ends, folder in spans
    )


def read_whole(parts: Sequence[TrackPart], row: Sequence[SpanPlace], store: Store) -> LandmarkTrack:
    """A face's track, its frames in the count of the span in which it begins."""
    by_number = {place.number: place for place in row}
    first_frames = {number: place.first_frame for number, place in by_number.items()}

    def read(part: TrackPart) -> LandmarkTrack:
        return read_track(_folder(by_number[part.span], store), part.track)

    return whole_track(parts, first_frames, read)


def _folder(place: SpanPlace, store: Store) -> Path:
    return store.result_path(Stage.FACES, place.state.faces_key)
