"""How far a row has come, read off the store: the one place that knows what follows from what.

A row is fetched; its video (or the clip that the row asks for) is cut into spans, see `pipeline.spans`; faces are found
in each of them, and the tracks of each are fitted. What a row has come to depends on these results alone, and not on
the order in which they were made.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from facevid.failures import Failure, FailureCode, Stage
from pipeline.fetched_video import FetchedVideo, read_fetched
from pipeline.items import SpanFacts, read_facts
from pipeline.job import Job, faces_key, fetch_keys, fit_key, limited_key, stricter_success_keys
from pipeline.manifest import ManifestRow
from pipeline.source_lists import denial
from pipeline.spans import Span, outside, spans_of
from pipeline.store import Store, StoredFailure

_NOBODY = frozenset({FailureCode.NO_FACE, FailureCode.TRACK_TOO_SHORT})


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanState:
    """How far one span of a video has come.

    Attributes:
        span: The part of the video.
        faces_key: The key of its face tracks.
        fit_key: The key of its fitted tracks.
        next_stage: `Stage.FACES` or `Stage.FIT`, or None where nothing is left to do.
        failure: What was stored instead of a result, if anything.
        failed_at: The stage that it was stored for.
        failed_key: The key that it was stored under.
        empty: The failure only says that nobody was found, or that the video ended before.
    """

    span: Span
    faces_key: str
    fit_key: str
    next_stage: Stage | None = None
    failure: StoredFailure | None = None
    failed_at: Stage | None = None
    failed_key: str = ""
    empty: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RowState:
    """How far one row has come in the store.

    Attributes:
        fetch_key: The key under which a fetched video is recorded.
        next_stage: The first stage without a result, or None where the row is done, well or badly.
        next_key: The key under which that stage's result is to be committed, of the first span without one.
        fetched: The video, where it was fetched.
        spans: The spans of a fetched video.
        found: Those of them with face tracks, where all were searched and none failed at it.
        failure: Why the row failed, if it did.
        failed_key: The key of the failure's result; empty where the failure follows from other results.
    """

    fetch_key: str
    next_stage: Stage | None = None
    next_key: str = ""
    fetched: FetchedVideo | None = None
    spans: tuple[SpanState, ...] = ()
    found: tuple[SpanState, ...] = ()
    failure: Failure | None = None
    failed_key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanPlace:
    """Where the content of a span with face tracks stands in its row's.

    Attributes:
        number: Place of the span among the row's.
        state: The span.
        facts: What was found in it.
        first_frame: Where its frame 0, the first of its lead, stands among the row's.
    """

    number: int
    state: SpanState
    facts: SpanFacts
    first_frame: int


def row_state(row: ManifestRow, job: Job, store: Store) -> RowState:
    """Look up how far a row has come; reads a few small files, and one or two per span."""
    own_key, failed_key = fetch_keys(row, job)
    fetch_key = _found_key(own_key, row, job, store)
    if reason := denial(row, job.options.fetch, job.state):
        failure = StoredFailure(code=FailureCode.DENIED, attempt=1, message=f"denied by list: {reason}")
        return RowState(fetch_key=fetch_key, failure=_of_row(row, Stage.FETCH, failure))
    if store.find("fetch", fetch_key) is None:
        # A success and a failure of a fetch have keys of their own: the success holds under any size limit.
        if found := _failed(Stage.FETCH, failed_key, job, store):
            return RowState(fetch_key=fetch_key, failure=_of_row(row, Stage.FETCH, found[0]), failed_key=found[1])
        return RowState(fetch_key=fetch_key, next_stage=Stage.FETCH, next_key=failed_key)
    fetched = read_fetched(store, fetch_key, url=row.url)
    if fetched.bytes > job.options.fetch.max_bytes:
        message = f"{row.url} has {fetched.bytes} bytes, more than the limit of {job.options.fetch.max_bytes}"
        failure = StoredFailure(code=FailureCode.TOO_LARGE, attempt=1, message=message)
        return RowState(fetch_key=fetch_key, failure=_of_row(row, Stage.FETCH, failure))
    if trouble := outside(start_s=row.start_s, end_s=row.end_s, duration_s=fetched.file_duration_s):
        failure = StoredFailure(code=FailureCode.OUTSIDE_VIDEO, attempt=1, message=trouble)
        return RowState(fetch_key=fetch_key, fetched=fetched, failure=_of_row(row, Stage.FACES, failure))
    duration_s, longest_s = fetched.file_duration_s, job.options.limits.max_duration_s
    if duration_s is not None and duration_s > longest_s:
        # What a stranger's file says must not become a million spans.
        message = f"the video lasts {duration_s:.0f} s; the most is max_duration_s={longest_s:g}"
        failure = StoredFailure(code=FailureCode.TOO_LARGE, attempt=1, message=message)
        return RowState(fetch_key=fetch_key, fetched=fetched, failure=_of_row(row, Stage.FACES, failure))
    faces = job.options.faces
    parts = spans_of(
        start_s=row.start_s, end_s=row.end_s, duration_s=duration_s, span_s=faces.span_s, min_track_s=faces.min_track_s
    )
    keys = [faces_key(fetched, part, job) for part in parts]
    spans = tuple(
        _span_state(part, (keys[place], fit_key(keys, place, job)), job, store, may_be_beyond=place > 0)
        for place, part in enumerate(parts)
    )
    return _summed_up(row, fetch_key, fetched, spans)


def failures_to_forget(state: RowState, codes: Collection[FailureCode]) -> tuple[tuple[Stage, str], ...]:
    """Stage and key of the stored failures to forget, for a row that failed with one of these codes to be tried again.

    There are none where its failure follows from the manifest, the lists or the limits of the build.
    """
    if state.failure is None or state.failure.code not in codes:
        return ()
    found = [(state.failure.stage, state.failed_key)] if state.failed_key else []
    # Further spans may have failed in the same way, behind the one that speaks for the video.
    found += [
        (span.failed_at, span.failed_key)
        for span in state.spans
        if span.failure is not None and span.failed_at is not None and span.failure.code in codes
    ]
    return tuple(dict.fromkeys(found))


def places(state: RowState, store: Store) -> Iterator[SpanPlace]:
    """The spans of a row that has been searched, in order; reads a small file per span."""
    frames = 0
    for number, each in enumerate(state.spans):
        if each.empty:
            frames += each.failure.frames if each.failure else 0
            continue
        facts = read_facts(store.result_path(Stage.FACES, each.faces_key))
        yield SpanPlace(number=number, state=each, facts=facts, first_frame=frames - facts.lead_frames)
        frames += facts.frames


def _found_key(own: str, row: ManifestRow, job: Job, store: Store) -> str:
    """The key of a fetch's success: what was had before more was permitted is not asked for again."""
    if store.find("fetch", own) is not None:
        return own
    return next((key for key in stricter_success_keys(row, job) if store.find("fetch", key) is not None), own)


def _span_state(span: Span, keys: tuple[str, str], job: Job, store: Store, *, may_be_beyond: bool) -> SpanState:
    key, fitted_key = keys
    for stage, own in ((Stage.FACES, key), (Stage.FIT, fitted_key)):
        if found := _failed(stage, own, job, store):
            failure, failed_under = found
            # Some containers promise more than they hold, and the last spans are where that shows.
            nobody = _NOBODY | {FailureCode.OUTSIDE_VIDEO} if may_be_beyond else _NOBODY
            return SpanState(
                span=span, faces_key=key, fit_key=fitted_key, failure=failure, failed_at=stage, failed_key=failed_under,
                empty=failure.code in nobody,
            )  # fmt: skip
        if store.find(stage, own) is None:
            return SpanState(span=span, faces_key=key, fit_key=fitted_key, next_stage=stage)
    return SpanState(span=span, faces_key=key, fit_key=fitted_key)


def _failed(stage: Stage, key: str, job: Job, store: Store) -> tuple[StoredFailure, str] | None:
    for own in (key, limited_key(key, job)):
        if (stored := store.failure(stage, own)) is not None:
            return stored, own
        if store.find(stage, own) is not None:  # a success, under any limits
            return None
    return None


def _summed_up(row: ManifestRow, fetch_key: str, fetched: FetchedVideo, spans: tuple[SpanState, ...]) -> RowState:
    # The first span that failed speaks for the video, once all before it have a result.
    found = tuple(each for each in spans if not each.empty)
    for stage in (Stage.FACES, Stage.FIT):
        for each in found:
            after_faces = found if stage is Stage.FIT else ()
            if each.failure is not None and each.failed_at is stage:
                return RowState(
                    fetch_key=fetch_key, fetched=fetched, spans=spans, found=after_faces,
                    failure=_of_row(row, stage, each.failure), failed_key=each.failed_key,
                )  # fmt: skip
            if each.next_stage is stage:
                return RowState(
                    fetch_key=fetch_key, fetched=fetched, spans=spans, found=after_faces, next_stage=stage,
                    next_key=each.faces_key if stage is Stage.FACES else each.fit_key,
                )  # fmt: skip
    if not found:
        failure, key = _nobody(spans)
        return RowState(
            fetch_key=fetch_key, fetched=fetched, spans=spans, failure=_of_row(row, Stage.FACES, failure),
            failed_key=key,
        )  # fmt: skip
    return RowState(fetch_key=fetch_key, fetched=fetched, spans=spans, found=found)


def _nobody(spans: tuple[SpanState, ...]) -> tuple[StoredFailure, str]:
    stored = [each.failure for each in spans if each.failure is not None]
    if len(spans) == 1:
        return stored[0], spans[0].failed_key
    # A face that was seen too shortly says more than no face.
    worst = next((failure for failure in stored if failure.code is FailureCode.TRACK_TOO_SHORT), stored[0])
    message = f"none of the {len(spans)} spans of the video has a face track; the first such: {worst.message}"
    return StoredFailure(code=worst.code, attempt=worst.attempt, message=message), ""


def _of_row(row: ManifestRow, stage: Stage, stored: StoredFailure) -> Failure:
    return Failure(
        video_id=row.video_id, track=None, url=row.url, stage=stage, code=stored.code, attempt=stored.attempt,
        message=stored.message,
    )  # fmt: skip
