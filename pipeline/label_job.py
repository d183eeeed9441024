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
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection
from apache_beam.utils import shared

from facevid.failures import Stage
from pipeline.desk import SpanOfRow
from pipeline.driver import Wave
from pipeline.marks import in_hand
from pipeline.row_state import row_state
from pipeline.steps import Step
from pipeline.wave_queue import WaveQueue


@dataclass(eq=False)
class LabelRows(beam.PTransform[Any, Any]):
    """From places in the manifest to results in the store: fetch, faces, fit.

    A video of one span is searched by the worker that fetched it, while others fetch; the spans of longer ones are
    spread over all workers.

    Attributes:
        out: The dataset folder, whose plan says what the rows are.
        fit_batch: Spans whose tracks are fitted together.
        wave_file: Says which host each row waits for, see `pipeline.driver`. Where it is given, elements are turns: who
            has one takes rows until none is left, always the one whose host can be asked first.
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
            | "FindFaces" >> beam.ParDo(_FindFaces(self.out, heavy))
            # A track may go on in the next span: a video is fitted when all of it has been searched.
            | "SearchedRows" >> beam.GroupByKey()
            | "SpansOfSearchedRows" >> beam.FlatMapTuple(_spans_of_row)
            | "SpreadFound" >> beam.Reshuffle()
            | "BatchSpans" >> beam.BatchElements(min_batch_size=self.fit_batch, max_batch_size=self.fit_batch)
            | "FitSpans" >> beam.ParDo(_FitSpans(self.out))
        )
        return labelled


def _spans_of_row(index: int, numbers: Iterable[int]) -> list[tuple[int, int]]:
    return [(index, number) for number in sorted(set(numbers))]


class _WithFaces(Step):
    """What finds faces."""

    def setup(self) -> None:
        super().setup()
        import cv2

        from pipeline.faces.landmarks import open_detector
        from pipeline.faces.tracks import track_faces

        # N workers with N threads each would fight over the cores.
        cv2.setNumThreads(1)
        job = self._plan.job
        self._bench = self._desk()
        self._detector = self._once_per_process(lambda: open_detector(job.options.faces, job.networks))
        self._track_faces = partial(track_faces, limits=job.options.limits)

    def find(self, index: int, number: int) -> None:
        """Have the faces of one span in the store; a span that has nothing to fit is done."""
        from pipeline.label import find_faces

        row = self._plan.manifest.rows[index]
        spans = row_state(row, self._plan.job, self._store).spans
        # Some files are decoded from their beginning, see `indexed`, and frames come after that.
        quiet_s = (spans[number].span.start_s or 0.0) if spans else 0.0
        key = spans[number].faces_key if spans else ""
        with in_hand(self._plan.job.state, [row.video_id], Stage.FACES, quiet_s=quiet_s, key=key) as begin_anew:
            piece = SpanOfRow(row=row, number=number)
            find_faces(piece, self._bench, self._detector, self._track_faces, on_wait=begin_anew)
        state = row_state(row, self._plan.job, self._store)
        share = 1 / max(len(state.spans), 1)
        self._bench.counters.add("read", share)
        if state.spans and state.fetched is not None:
            length_s = state.spans[number].span.length_s(state.fetched.file_duration_s)
            self._bench.counters.add("searched_s", length_s)
        if state.failure is not None or state.spans[number].next_stage is None:
            self._bench.counters.add("videos", share)
        self._bench.counters.flush()


class _FetchRows(_WithFaces):
    def __init__(self, out: Path, heavy: shared.Shared | None = None, wave_file: Path | None = None) -> None:
        super().__init__(out, heavy)
        self._wave_file = wave_file
        self._queue: WaveQueue | None = None
        self._may_rest = False

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
        if self._wave_file is not None:
            wave, courtesy = Wave.read(self._wave_file), job.options.fetch.courtesy
            self._may_rest = wave.may_rest
            self._queue = WaveQueue(
                self._wave_file.with_suffix(".queue"), wave.rows, wave.hosts,
                pause_s=courtesy.pause_s + courtesy.pause_spread_s,
            )  # fmt: skip

    def _outputs(self, index: int) -> Iterator[tuple[int, int]]:
        """(the row's place, the span's number), for all spans in which something is left to do."""
        if self._queue is None:
            yield from self._row(index, None)
            return
        while (taken := self._queue.take()) is not None:
            yield from self._row(*taken)

    def _row(self, index: int, host: str | None) -> Iterator[tuple[int, int]]:
        from pipeline.label import fetch_row

        row = self._plan.manifest.rows[index]
        with in_hand(self._plan.job.state, [row.video_id], Stage.FETCH) as self._begin_anew:
            on_rest = partial(self._put_off, index, host) if self._may_rest and host is not None else None
            fetch_row(row, self._bench, self._fetcher, on_wait=self._begin_anew, on_rest=on_rest)
            state = row_state(row, self._plan.job, self._store)
        if self._queue is not None and host is not None:
            self._queue.leave(host)
        if state.next_stage is Stage.FETCH:  # put off
            return
        spans = state.spans
        self._bench.counters.add("begun")
        for span in spans:
            if span.next_stage is Stage.FACES and state.fetched is not None:
                self._bench.counters.add("video_s", span.span.length_s(state.fetched.file_duration_s))
        self._bench.counters.flush()
        if not spans:
            self._bench.counters.add("read")
            self._bench.counters.add("videos")
            self._bench.counters.flush()
        if len(spans) == 1 and spans[0].next_stage is Stage.FACES:
            self.find(index, 0)
            spans = row_state(row, self._plan.job, self._store).spans
        for number, span in enumerate(spans):
            if span.next_stage is not None:
                yield index, number

    def _put_off(self, index: int, host: str, rest_s: float) -> None:
        if self._queue is not None:
            self._queue.refuse(index, host, rest_s)


class _FindFaces(_WithFaces):
    def _outputs(self, piece: tuple[int, int]) -> Iterator[tuple[int, int]]:
        index, number = piece
        row = self._plan.manifest.rows[index]
        spans = row_state(row, self._plan.job, self._store).spans
        if not spans or spans[number].next_stage is Stage.FACES:
            self.find(index, number)
        state = row_state(row, self._plan.job, self._store)
        if state.failure is None and state.spans and state.spans[number].next_stage is Stage.FIT:
            yield index, number


class _FitSpans(Step):
    def setup(self) -> None:
        super().setup()
        import torch

        from fitting.face_model import load_face_model

        torch.set_num_threads(1)
        self._bench = self._desk()
        self._model = self._once_per_process(lambda: load_face_model(self._plan.job.model_path))

    def _outputs(self, pieces: list[tuple[int, int]]) -> Iterator[int]:
        from fitting.solver import fit_tracks
        from pipeline.fit_spans import fit_spans

        rows = [self._plan.manifest.rows[index] for index, _ in pieces]
        spans = [SpanOfRow(row=row, number=number) for row, (_, number) in zip(rows, pieces, strict=True)]
        own = row_state(rows[0], self._plan.job, self._store).spans if len(spans) == 1 else ()
        key = own[spans[0].number].fit_key if own else ""
        with in_hand(self._plan.job.state, [row.video_id for row in rows], Stage.FIT, key=key):
            fit_spans(spans, self._bench, self._model, fit_tracks)
        for row in rows:
            self._bench.counters.add("videos", 1 / max(len(row_state(row, self._plan.job, self._store).spans), 1))
        self._bench.counters.flush()
        yield len(pieces)
