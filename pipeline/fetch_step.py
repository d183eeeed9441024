"""The step of the label job that fetches rows, and searches while there is nothing to fetch.

A worker takes the row whose host can be asked at once; else a span that waits to be searched; else a row whose host
must be waited for; and where another still fetches, it waits for what that brings.
"""

from collections.abc import Callable, Iterator
from functools import partial
from time import sleep

from facevid.failures import Stage
from pipeline.find_step import FacesStep
from pipeline.marks import in_hand
from pipeline.row_state import RowState
from pipeline.wave import row_queue

_LOOK_EVERY_S = 0.25


class FetchRows(FacesStep):
    """Fetches, and searches what is short or what others have brought.

    Args:
        out: The dataset folder.
        wave_file: Says what the wave is.
    """

    def setup(self) -> None:
        """Make ready to fetch."""
        super().setup()
        from pipeline.egress.service import find_egress
        from pipeline.fetch import Fetcher

        job = self._plan.job
        egress = find_egress(job.options.fetch, job.state)
        self._begin_anew: Callable[[], None] = lambda: None

        def on_wait() -> None:
            self._begin_anew()

        self._fetcher = Fetcher(job.options.fetch, self._store, job.manifest_folder, egress=egress, on_wait=on_wait)
        courtesy = job.options.fetch.courtesy
        self._rows = row_queue(self._wave_file, self._wave, pause_s=courtesy.pause_s + courtesy.pause_spread_s)

    def _outputs(self, _turn: int) -> Iterator[tuple[int, int]]:
        """(the row's place, the span's number), for all spans in which something is left to do."""
        waited_s = 0.0
        while True:
            over = self._rows.over()  # asked first: a row is left when its spans wait
            if (row := self._rows.take(patient=False)) is not None:
                yield from self._row(*row)
            elif found := self._spans.take():
                self.find(*found[0])
            elif (row := self._rows.take()) is not None:
                yield from self._row(*row)
            elif over or waited_s >= self._longest_wait_s():
                break
            else:
                # Another fetches, and may bring more than it can search by itself.
                sleep(_LOOK_EVERY_S)
                waited_s += _LOOK_EVERY_S
                continue
            waited_s = 0.0
        self._spans.hold()

    def _longest_wait_s(self) -> float:
        """How long those who fetch may take, as the watch lets them: in turn, where all wait for one host."""
        return self._plan.job.options.limits.fetch_s * self._wave.workers

    def _row(self, index: int, host: str) -> Iterator[tuple[int, int]]:
        from pipeline.label import fetch_row

        row = self._plan.manifest.rows[index]
        try:
            with in_hand(self._plan.job.state, [row.video_id], Stage.FETCH) as self._begin_anew:
                on_rest = partial(self._rows.refuse, index, host) if self._wave.may_rest else None
                fetch_row(row, self._bench, self._fetcher, on_wait=self._begin_anew, on_rest=on_rest)
                state = self._state(index)
            put_off = state.next_stage is Stage.FETCH
            if put_off or (self._wave.leave_long and len(state.spans) > 1):
                return
            self._begun(index, state)
        finally:  # an error stops the build, for which nobody else has to wait
            self._rows.leave(host)
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
        self._counters.add("begun")
        self._counters.add("video_s", sum(lengths_s.values()))
        if not state.spans:
            self._counters.add("read")
            self._counters.add("videos")
        self._counters.flush()
        if len(state.spans) > 1:
            self._spans.offer((length_s, index, number) for number, length_s in lengths_s.items())
