"""The step of the label job that searches spans for faces, and what it shares with the one before, which may do so too.

Who has fetched a short video searches it at once, and who finds nothing left to fetch searches what others brought
(`pipeline.fetch_step`). This step is for what is left when the last row has been fetched.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from facevid.failures import Stage
from pipeline.desk import SpanOfRow
from pipeline.marks import in_hand
from pipeline.steps import LabelStep
from pipeline.usage import give_back_memory
from pipeline.wave import span_queue


class FacesStep(LabelStep):
    """What finds faces.

    Args:
        out: The dataset folder.
        wave_file: Says what the wave is.
    """

    _faces: tuple[Any, Any] | None = None  # a detector, and `track_faces`

    def __init__(self, out: Path, wave_file: Path) -> None:
        super().__init__(out, wave_file)
        self._spans = span_queue(wave_file, Stage.FACES)

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
        self._counters.add("read", share)
        if state.spans and state.fetched is not None:
            length_s = state.spans[number].span.length_s(state.fetched.file_duration_s)
            self._counters.add("searched_s", length_s)
        if not state.spans or state.spans[number].next_stage is not Stage.FIT:
            self._counters.add("videos", share)
        self._counters.flush()

    def finish_bundle(self) -> None:
        """Close the networks, as nothing more is to be searched in this step: fits need the memory."""
        if self._faces is not None:
            self._faces = None
            give_back_memory()

    def _open_faces(self) -> tuple[Any, Any]:
        import cv2

        from pipeline.faces.landmarks import open_detector
        from pipeline.faces.tracks import track_faces

        # N workers with N threads each would fight over the cores.
        cv2.setNumThreads(1)
        job = self._plan.job
        detector = open_detector(job.options.faces, job.networks)
        return detector, partial(track_faces, limits=job.options.limits)


class FindFaces(FacesStep):
    """Searches the spans that are left."""

    def _outputs(self, span: tuple[int, int]) -> Iterator[tuple[int, int]]:
        while found := self._spans.take(held=True):
            self.find(*found[0])
        yield span
