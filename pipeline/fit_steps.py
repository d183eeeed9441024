"""The steps of the label job that fit: which spans of a searched video have something to fit, and the fits.

A worker takes as many spans together as leaves enough for the others, the largest first.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from facevid.failures import Stage
from pipeline.desk import SpanOfRow
from pipeline.marks import in_hand
from pipeline.row_state import places
from pipeline.row_tracks import Tracks, tracks_from
from pipeline.steps import LabelStep
from pipeline.wave import span_queue


class _FitStep(LabelStep):
    def __init__(self, out: Path, wave_file: Path) -> None:
        super().__init__(out, wave_file)
        self._spans = span_queue(wave_file, Stage.FIT)


class SpansToFit(_FitStep):
    """Lets those spans of a row wait that have something to fit, once all of them have been searched.

    Args:
        out: The dataset folder.
        wave_file: Says what the wave is.
    """

    def _outputs(self, row: tuple[int, Iterable[int]]) -> Iterator[tuple[int, int]]:
        """(the row's place, the span's number), for all that wait."""
        index, numbers = row
        state = self._state(index)
        ready = [
            number for number in sorted(set(numbers))
            if state.spans and state.spans[number].next_stage is Stage.FIT
        ]  # fmt: skip
        if state.failure is not None:
            self._counters.add("videos", len(ready) / max(len(state.spans), 1))
            self._counters.flush()
        elif ready:
            found = tuple(places(state, self._store))
            self._spans.offer((_frames(tracks_from(number, found, self._store)), index, number) for number in ready)
            yield from ((index, number) for number in ready)


def _frames(tracks: Tracks) -> float:
    return float(sum(part.end - part.begin for parts in tracks for part in parts))


class FitSpans(_FitStep):
    """Fits the spans that wait.

    Args:
        out: The dataset folder.
        wave_file: Says what the wave is.
    """

    _model: Any = None

    def _outputs(self, span: tuple[int, int]) -> Iterator[tuple[int, int]]:
        while found := self._spans.take(most=self._wave.fit_batch, workers=self._wave.workers):
            self.fit(found)
        yield span

    def fit(self, pieces: Sequence[tuple[int, int]]) -> None:
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
            self._counters.add("videos", 1 / max(len(self._state(index).spans), 1))
        self._counters.flush()
