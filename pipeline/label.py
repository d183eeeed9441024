"""Labelling, as plain functions: fetch one row, find the faces of one span; `fit_spans` fits the tracks of a few.

Each looks into the store first and commits there what it made, so any of them may be stopped at any moment
and called again, here or in another process. A bad video leaves a failure in the store under its key; an
exception out of these functions is a bug or a broken machine, and stops the build.
"""

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable

from facevid.failures import FailureCode, Stage
from pipeline.desk import Desk, SpanOfRow
from pipeline.faces.crops import CropSink
from pipeline.faces.errors import DecoderInterruptedError, DecoderMemoryError, DecoderTimeoutError, VideoError
from pipeline.faces.landmarks import LandmarkDetector
from pipeline.faces.limits import DecodeLimits
from pipeline.faces.options import FacesOptions
from pipeline.faces.tracks import FacesResult
from pipeline.fetch_errors import FetchError, printable
from pipeline.fetched_video import FetchedVideo, address_hash, write_fetched
from pipeline.items import SpanFacts, write_faces
from pipeline.job import failure_key, fetch_keys, limited_key
from pipeline.manifest import ManifestRow, is_remote
from pipeline.progress import Counters
from pipeline.reading import FileFacts, file_facts, path_to_read
from pipeline.row_state import RowState, SpanState, row_state
from pipeline.spans import Span
from pipeline.stored_crops import CropWriter
from pipeline.usage import give_back_freed


@runtime_checkable
class VideoFetcher(Protocol):
    """What labelling asks of acquisition; see `pipeline.fetch.Fetcher`."""

    def fetch(self, url: str) -> FetchedVideo:
        """Fetch one video, or raise a FetchError."""


@runtime_checkable
class TrackFaces(Protocol):
    """What labelling asks of the faces stage; see `pipeline.faces.tracks.track_faces`."""

    def __call__(
        self,
        path: Path,
        detector: LandmarkDetector,
        options: FacesOptions,
        crops: CropSink | None = None,
        on_frame: Callable[[float], None] | None = None,
        *,
        start_s: float | None = None,
        end_s: float | None = None,
    ) -> FacesResult:
        """Follow faces through a part of a video, or raise a VideoError."""


def fetch_row(
    row: ManifestRow,
    desk: Desk,
    fetcher: VideoFetcher,
    facts_of: Callable[[Path, DecodeLimits], FileFacts] | None = None,
    *,
    on_wait: Callable[[], None] = lambda: None,
    on_rest: Callable[[float], None] | None = None,
) -> None:
    """Have the row's video at hand, or its failure in the store.

    Args:
        row: The manifest's row.
        desk: Where to work.
        fetcher: Fetches videos.
        facts_of: Tells what a file says of itself; ffmpeg where it is left out.
        on_wait: Called now and then while another worker fetches the same address, and when it is done.
        on_rest: Called with the seconds for which the row's host is left alone, where it is: then the row stays as it
            is. Without it, the row fails.
    """
    if row_state(row, desk.job, desk.store).next_stage is not Stage.FETCH:
        return
    success_key, failure_key = fetch_keys(row, desk.job)
    # Clips of one video name the same address, and may come to several workers at once.
    with desk.store.alone(Stage.FETCH, success_key, on_wait=on_wait), desk.counters.timed("fetch_s"):
        if row_state(row, desk.job, desk.store).next_stage is not Stage.FETCH:
            return
        try:
            video = fetcher.fetch(row.url)
        except FetchError as error:
            if error.rest_s is not None and on_rest is not None:
                on_rest(error.rest_s)
                return
            desk.store.commit_failure(
                Stage.FETCH, failure_key, error.code, error.message, attempts=error.attempts,
                address=address_hash(row.url),
            )  # fmt: skip
            return
        try:
            facts = (facts_of or file_facts)(video.path, desk.job.options.limits)
        except (DecoderTimeoutError, DecoderMemoryError) as error:
            # Nothing is known then, and must not be taken for a file that does not tell.
            code = FailureCode(error.code)
            own_key = limited_key(failure_key, desk.job)
            desk.store.commit_failure(
                Stage.FETCH, own_key, code, _sentence(error, video.path), address=address_hash(row.url)
            )
            return
        known = replace(video, file_duration_s=facts.duration_s, indexed=facts.indexed)
        local = not is_remote(row.url)
        desk.store.commit(Stage.FETCH, success_key, lambda folder: write_fetched(folder, known, local=local))
        desk.counters.add("fetched")


def find_faces(
    piece: SpanOfRow,
    desk: Desk,
    detector: LandmarkDetector,
    track_faces: TrackFaces,
    *,
    on_wait: Callable[[], None] = lambda: None,
) -> None:
    """Have the face tracks and crops of a span of a fetched video in the store, or its failure.

    Schedulers that end a job may end the decoder before this process. So a span whose decoder was ended is read again:
    this process is ended meanwhile, and the row stays as it is; or it was no scheduler, and the second end is a result.

    Args:
        piece: The span.
        desk: Where to work.
        detector: Finds faces and landmarks.
        track_faces: Follows them.
        on_wait: Called now and then while another worker copies the same video, and when it is done.
    """
    row = piece.row
    state = row_state(row, desk.job, desk.store)
    if state.next_stage is Stage.FETCH:
        commit_changed(row, desk)
    elif state.fetched is not None and _is_due(state, piece.number):
        span = state.spans[piece.number]
        from_start = len(state.spans) == 1 and span.span.start_s is None
        find_path = partial(
            path_to_read, row, state.fetched, desk.job, desk.store, from_start=from_start, on_wait=on_wait
        )
        read = partial(
            _read_faces_of, piece, state.fetched, span, desk, detector=detector, track_faces=track_faces,
            find_path=find_path,
        )  # fmt: skip
        try:
            read(again=False)
        except DecoderInterruptedError:
            read(again=True)
        # Else what one span leaves scattered adds up over those of a long video.
        give_back_freed()


def _is_due(state: RowState, number: int) -> bool:
    if state.spans[number].next_stage is not Stage.FACES:
        return False
    # A span that failed speaks for the video; only the ones before it may still speak first.
    return not any(each.failed_at is Stage.FACES and not each.empty for each in state.spans[:number])


def commit_changed(row: ManifestRow, desk: Desk) -> None:
    """Record that a local file was written to: what was found belongs to neither the old nor the new bytes."""
    message = f"{row.url} changed while it was read"
    desk.store.commit_failure(Stage.FETCH, fetch_keys(row, desk.job)[1], FailureCode.CORRUPT, message)


def _read_faces_of(
    piece: SpanOfRow,
    video: FetchedVideo,
    state: SpanState,
    desk: Desk,
    *,
    detector: LandmarkDetector,
    track_faces: TrackFaces,
    find_path: Callable[[], Path],
    again: bool,
) -> None:
    row, key, span = piece.row, state.faces_key, state.span
    before = fetch_keys(row, desk.job)
    frames = 0

    def count(pts_s: float) -> None:
        nonlocal frames
        frames += pts_s >= (span.start_s or 0.0)  # the lead is the span's before
        desk.counters.add("decoded_frames")

    path = video.path
    with desk.counters.timed("faces_s"), desk.store.scratch() as folder:
        crops = CropWriter(folder)
        try:
            path = find_path()
            result = track_faces(
                path, detector, desk.job.options.faces, crops, count, start_s=span.read_from_s, end_s=span.end_s
            )
        except VideoError as error:
            interrupted = isinstance(error, DecoderInterruptedError)
            if interrupted and not again:
                raise
            code = FailureCode(error.code)
            own_key = failure_key(key, code, desk.job)
            message = _sentence(error, path) + (", twice" if interrupted else "")
            desk.store.commit_failure(Stage.FACES, own_key, code, message, frames=frames)
            return
        except FileNotFoundError:
            if (after := fetch_keys(row, desk.job)) == before:
                raise
            message = f"there is no file {row.url} any more"
            desk.store.commit_failure(Stage.FETCH, after[1], FailureCode.NOT_FOUND, message)
            return
        except MemoryError:
            message = "the machine has not enough memory for this video"
            own_key = limited_key(key, desk.job)
            desk.store.commit_failure(Stage.FACES, own_key, FailureCode.OUT_OF_MEMORY, message, frames=frames)
            return
        finally:
            crops.close()
        if fetch_keys(row, desk.job) != before:
            commit_changed(row, desk)
            return
        write_faces(folder, _facts(result, span, frames), result.tracks)
        desk.store.adopt(Stage.FACES, key, folder, source=video.sha256)
        _count_costs(result, desk.counters)


def _count_costs(result: FacesResult, counters: Counters) -> None:
    counters.add("tracked_frames", result.frames_read)
    for step, seconds in asdict(result.seconds).items():
        counters.add(f"tracked_{step}_s", float(seconds))


def _facts(result: FacesResult, span: Span, frames: int) -> SpanFacts:
    video = result.video
    length_s = span.length_s(video.duration_s)
    fps = video.fps or (frames / length_s if length_s > 0 else 0.0)
    start_s = span.start_s or 0.0
    lead_frames = result.frames_read - frames
    return SpanFacts(
        width_px=video.width_px,
        height_px=video.height_px,
        fps=float(fps),
        codec=video.codec,
        frames=frames,
        lead_frames=lead_frames,
        # What ends in the lead is the span's before.
        short_tracks=sum(short.end_s >= start_s and not short.cut_off for short in result.short_tracks),
        cut_off_tracks=sum(short.end_s >= start_s and short.cut_off for short in result.short_tracks),
        person_changes=sum(at_s >= start_s for at_s in result.person_changes_s),
        lead_shot_ends=tuple(shot.begin for shot in result.transitions if shot.begin < lead_frames),
        schemes=tuple(track.scheme for track in result.tracks),
    )


def _sentence(error: Exception, path: Path) -> str:
    # The result belongs to the bytes, whatever a row calls them: its message must not depend on who came first.
    return printable(str(error).replace(path.name, "the video"), 500)
