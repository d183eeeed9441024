"""The first Beam job: from places in the manifest to results in the store, as wiring over plain functions.

What travels between the steps are places in the manifest and numbers of spans, never arrays: the local runner keeps
what crosses a shuffle in memory at several times its size. Every step finds in the store what is done already, so a
bundle that is tried again costs nothing.

What a step works with is imported by the worker that does it: with several, their driver works at nothing itself, and
none of them can start before it is ready.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import sleep
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection
from apache_beam.utils import shared

from facevid.failures import Stage
from pipeline.desk import SpanOfRow
from pipeline.driver import Wave
from pipeline.marks import in_hand
from pipeline.row_state import RowState, places, row_state
from pipeline.row_tracks import Tracks, tracks_from
from pipeline.span_queue import SpanQueue, span_queue
from pipeline.steps import Step
from pipeline.usage import give_back_memory
from pipeline.wave_queue import WaveQueue

_LOOK_EVERY_S = 0.25


@dataclass(eq=False)
class LabelRows(beam.PTransform[Any, Any]):
    """From places in the manifest to results in the store: fetch, faces, fit.

    A video of one span is searched by the worker that fetched it, while others fetch; the spans of longer ones are
    spread over all workers.

    Attributes:
        out: The dataset folder, whose plan says what the rows are.
        fit_batch: Spans whose tracks are fitted together.
        wave_file: Of a wave whose elements are turns, see `pipeline.driver`: who has one takes rows, and spans, until
            none is left. Rows come in the order in which their hosts can be asked.
    """

    out: Path
    fit_batch: int
    wave_file: Path | None = None

    def expand(self, rows: PCollection[int]) -> PCollection[int]:
        """Wire it: a shuffle before each heavy step, so that idle workers get their share."""
        heavy = shared.Shared()  # one detector per process, whichever of the two steps comes first
        labelled: PCollection[int] = (
            rows
            | "SpreadRows" >> beam.Reshuffle()
            | "FetchRows" >> beam.ParDo(_FetchRows(self.out, heavy, self.wave_file))
            | "SpreadSpans" >> beam.Reshuffle()
            | "FindFaces" >> beam.ParDo(_FindFaces(self.out, heavy, self.wave_file))
            # A track may go on in the next span: a video is fitted when all of it has been searched.
            | "SearchedRows" >> beam.GroupByKey()
            | "SpansToFit" >> beam.ParDo(_SpansToFit(self.out, wave_file=self.wave_file))
            | "SpreadFound" >> beam.Reshuffle()
            | "BatchSpans" >> beam.BatchElements(min_batch_size=self.fit_batch, max_batch_size=self.fit_batch)
            | "FitSpans" >> beam.ParDo(_FitSpans(self.out, wave_file=self.wave_file))
        )
        return labelled


class _LabelStep(Step):
    """A step of this job.

    Args:
        out: The dataset folder.
        heavy: What is loaded once per process.
        wave_file: Of a wave whose elements are turns.
    """

    def __init__(self, out: Path, heavy: shared.Shared | None = None, wave_file: Path | None = None) -> None:
        super().__init__(out, heavy)
        self._wave_file = wave_file
        self._wave: Wave | None = None

    def setup(self) -> None:
        super().setup()
        self._bench = self._desk()
        self._wave = None if self._wave_file is None else Wave.read(self._wave_file)

    def _spans(self, stage: Stage) -> SpanQueue | None:
        return None if self._wave_file is None else span_queue(self._wave_file, stage)

    def _state(self, index: int) -> RowState:
        return row_state(self._plan.manifest.rows[index], self._plan.job, self._store)


class _WithFaces(_LabelStep):
    """What finds faces."""

    _faces: tuple[Any, Any] | None = None  # a detector, and `track_faces`

    def find(self, index: int, number: int) -> None:
        """Have the faces of one span in the store; a span that has nothing to fit is done."""
        from pipeline.label import find_faces

        if self._faces is None:
            self._faces = self._open_faces()
        row = self._plan.manifest.rows[index]
        spans = self._state(index).spans
        # Some files are decoded from their beginning, see `indexed`, and frames come after that.
        quiet_s = (spans[number].span.start_s or 0.0) if spans else 0.0
        key = spans[number].faces_key if spans else ""
        with in_hand(self._plan.job.state, [row.video_id], Stage.FACES, quiet_s=quiet_s, key=key) as begin_anew:
            find_faces(SpanOfRow(row=row, number=number), self._bench, *self._faces, on_wait=begin_anew)
        state = self._state(index)
        share = 1 / max(len(state.spans), 1)
        self._bench.counters.add("read", share)
        if state.spans and state.fetched is not None:
            length_s = state.spans[number].span.length_s(state.fetched.file_duration_s)
            self._bench.counters.add("searched_s", length_s)
        if not state.spans or state.spans[number].next_stage is not Stage.FIT:
            self._bench.counters.add("videos", share)
        self._bench.counters.flush()

    def finish_bundle(self) -> None:
        """Close the networks where nothing more is to be searched in this step: fits need the memory."""
        if self._wave is not None and self._faces is not None:
            self._faces = None
            give_back_memory()

    def _open_faces(self) -> tuple[Any, Any]:
        import cv2

        from pipeline.faces.landmarks import LandmarkDetector, open_detector
        from pipeline.faces.tracks import track_faces

        # N workers with N threads each would fight over the cores.
        cv2.setNumThreads(1)
        job = self._plan.job

        def opened() -> LandmarkDetector:
            return open_detector(job.options.faces, job.networks)

        # One step after the other where elements are turns; elsewhere both may be at work in a process.
        detector = self._once_per_process(opened) if self._wave is None else opened()
        return detector, partial(track_faces, limits=job.options.limits)


class _FetchRows(_WithFaces):
    _queue: WaveQueue | None = None
    _may_rest = False

    def setup(self) -> None:
        super().setup()
        from pipeline.egress.service import find_egress
        from pipeline.fetch import Fetcher

        job = self._plan.job
        egress = find_egress(job.options.fetch, job.state)
        self._begin_anew: Callable[[], None] = lambda: None

        def on_wait() -> None:
            self._begin_anew()

        self._fetcher = Fetcher(job.options.fetch, self._store, job.manifest_folder, egress=egress, on_wait=on_wait)
        if self._wave is not None and self._wave_file is not None:
            courtesy = job.options.fetch.courtesy
            self._may_rest = self._wave.may_rest
            self._queue = WaveQueue(
                self._wave_file.with_suffix(".queue"), self._wave.rows, self._wave.hosts,
                pause_s=courtesy.pause_s + courtesy.pause_spread_s,
            )  # fmt: skip

    def _outputs(self, index: int) -> Iterator[tuple[int, int]]:
        """(the row's place, the span's number), for all spans in which something is left to do."""
        spans = self._spans(Stage.FACES)
        if self._queue is None or spans is None:
            yield from self._row(index, None)
            return
        waited_s = 0.0
        while True:
            over = self._queue.over()  # asked first: a row is left when its spans wait
            if (row := self._queue.take(patient=False)) is not None:
                yield from self._row(*row)
            elif found := spans.take():
                self.find(*found[0])
            elif (row := self._queue.take()) is not None:
                yield from self._row(*row)
            elif over or waited_s >= self._longest_wait_s():
                break
            else:
                # Another fetches, and may bring more than it can search by itself.
                sleep(_LOOK_EVERY_S)
                waited_s += _LOOK_EVERY_S
                continue
            waited_s = 0.0
        spans.hold()

    def _longest_wait_s(self) -> float:
        """How long those who fetch may take, as the watch lets them: in turn, where all wait for one host."""
        workers = 1 if self._wave is None else self._wave.workers
        return self._plan.job.options.limits.fetch_s * workers

    def _row(self, index: int, host: str | None) -> Iterator[tuple[int, int]]:
        from pipeline.label import fetch_row

        row = self._plan.manifest.rows[index]
        try:
            with in_hand(self._plan.job.state, [row.video_id], Stage.FETCH) as self._begin_anew:
                on_rest = partial(self._put_off, index, host) if self._may_rest and host is not None else None
                fetch_row(row, self._bench, self._fetcher, on_wait=self._begin_anew, on_rest=on_rest)
                state = self._state(index)
            if state.next_stage is Stage.FETCH:  # put off
                return
            self._begun(index, state)
        finally:  # an error stops the build, for which nobody else has to wait
            if self._queue is not None and host is not None:
                self._queue.leave(host)
        if len(state.spans) == 1 and state.spans[0].next_stage is Stage.FACES:
            self.find(index, 0)
            state = self._state(index)
        for number, span in enumerate(state.spans):
            if span.next_stage is not None:
                yield index, number

    def _begun(self, index: int, state: RowState) -> None:
        lengths_s = {
            number: span.span.length_s(state.fetched.file_duration_s)
            for number, span in enumerate(state.spans)
            if span.next_stage is Stage.FACES and state.fetched is not None
        }
        self._bench.counters.add("begun")
        self._bench.counters.add("video_s", sum(lengths_s.values()))
        if not state.spans:
            self._bench.counters.add("read")
            self._bench.counters.add("videos")
        self._bench.counters.flush()
        if (spans := self._spans(Stage.FACES)) is not None and len(state.spans) > 1:
            spans.offer((length_s, index, number) for number, length_s in lengths_s.items())

    def _put_off(self, index: int, host: str, rest_s: float) -> None:
        if self._queue is not None:
            self._queue.refuse(index, host, rest_s)


class _FindFaces(_WithFaces):
    def _outputs(self, piece: tuple[int, int]) -> Iterator[tuple[int, int]]:
        if (waiting := self._spans(Stage.FACES)) is not None:
            while found := waiting.take(held=True):
                self.find(*found[0])
        else:
            index, number = piece
            spans = self._state(index).spans
            if not spans or spans[number].next_stage is Stage.FACES:
                self.find(index, number)
        yield piece


class _SpansToFit(_LabelStep):
    def _outputs(self, row: tuple[int, Iterable[int]]) -> Iterator[tuple[int, int]]:
        """The spans of a row of which all have been searched, those with something to fit."""
        index, numbers = row
        state = self._state(index)
        ready = [
            number for number in sorted(set(numbers))
            if state.spans and state.spans[number].next_stage is Stage.FIT
        ]  # fmt: skip
        if state.failure is not None:
            self._bench.counters.add("videos", len(ready) / max(len(state.spans), 1))
            self._bench.counters.flush()
            return
        if ready and (waiting := self._spans(Stage.FIT)) is not None:
            found = tuple(places(state, self._store))
            waiting.offer((_frames(tracks_from(number, found, self._store)), index, number) for number in ready)
        yield from ((index, number) for number in ready)


def _frames(tracks: Tracks) -> float:
    return float(sum(part.end - part.begin for parts in tracks for part in parts))


class _FitSpans(_LabelStep):
    _model: Any = None

    def _outputs(self, pieces: list[tuple[int, int]]) -> Iterator[int]:
        if self._wave is None or (waiting := self._spans(Stage.FIT)) is None:
            self.fit(pieces)
        else:
            while found := waiting.take(most=self._wave.fit_batch, workers=self._wave.workers):
                self.fit(found)
        yield len(pieces)

    def fit(self, pieces: list[tuple[int, int]]) -> None:
        """Have the fitted tracks of some spans in the store."""
        # Loads torch: not where others have fitted all there was.
        import torch

        from fitting.face_model import load_face_model
        from fitting.solver import fit_tracks
        from pipeline.fit_spans import fit_spans

        if self._model is None:
            torch.set_num_threads(1)
            self._model = self._once_per_process(lambda: load_face_model(self._plan.job.model_path))
        rows = [self._plan.manifest.rows[index] for index, _ in pieces]
        spans = [SpanOfRow(row=row, number=number) for row, (_, number) in zip(rows, pieces, strict=True)]
        own = self._state(pieces[0][0]).spans if len(spans) == 1 else ()
        key = own[spans[0].number].fit_key if own else ""
        with in_hand(self._plan.job.state, [row.video_id for row in rows], Stage.FIT, key=key):
            fit_spans(spans, self._bench, self._model, fit_tracks)
        for index, _ in pieces:
            self._bench.counters.add("videos", 1 / max(len(self._state(index).spans), 1))
        self._bench.counters.flush()
