"""Labelling in waves, and who pays when a worker process dies: the row that it had in hand, and no other.

A row whose worker died is a suspect. Suspects run last, one at a time in a single process, where a second death is
proof: it becomes the failure `worker_died` (or `out_of_memory`, where the watch ended the worker for its memory),
and the others go on. A row that took too long needs no second trial.

Rows of a host that is left alone, as it refused too many, are put off to a later wave; when nothing else is left to do,
their hosts' rests are waited for, within `FetchOptions.rests_s`.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from facevid.counted import counted
from facevid.failures import FailureCode, Stage
from pipeline.driver import BuildError, Driver, WaveEnd
from pipeline.job import Job, limited_key
from pipeline.manifest import Manifest
from pipeline.marks import Mark
from pipeline.memory_limit import out_of_memory_kills
from pipeline.row_state import RowState, row_state
from pipeline.store import Store
from pipeline.tell import duration_text
from pipeline.watch import Verdict, Watch
from pipeline.wave_queue import due_first, host_of, interleaved
from pipeline.worker_count import is_one_of_unknown_length, workers_for

_BARREN_DEATHS = 3
_CRASHED = Verdict(
    code=FailureCode.WORKER_DIED,
    message="the worker process died twice while it had this video in hand: a crash in native code, or no memory",
)


class Labeller:
    """Brings rows to their results, whatever happens to the processes that work on them.

    Args:
        job: The build.
        rows: The manifest.
        store: Where results are.
        driver: Runs the waves.
        watch: Knows whom it has ended, and why.
        report: Receives what a user should know.
        clock: The machine's monotonic clock, seconds; tests replace it and the sleeper.
        sleep: Waits for seconds.
        kills: How many processes the system has ended for lack of memory; tests replace it.
    """

    def __init__(
        self,
        job: Job,
        rows: Manifest,
        store: Store,
        driver: Driver,
        watch: Watch,
        *,
        report: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        kills: Callable[[], int] = out_of_memory_kills,
    ) -> None:
        self._job, self._rows, self._store = job, rows, store
        self._driver, self._watch, self._report = driver, watch, report
        self._clock, self._sleep = clock, sleep
        self._kills, self._killed_before = kills, kills()
        self._place = {row.video_id: index for index, row in enumerate(rows.rows)}
        self._known_s: dict[Path, float | None] = {}
        self.deaths = 0

    def label(self, pending: Sequence[int]) -> None:
        """Label rows, given by their places in the manifest.

        Raises:
            BuildError: Workers die with nothing in hand, or rows stay without a result.
        """
        options = self._job.options
        suspects: list[int] = []
        resting: dict[int, float] = {}
        fresh = deque(interleaved(pending, [host_of(self._rows.rows[index].url) for index in pending]))
        patience_s = options.fetch.rests_s
        while fresh or resting:
            due = due_first(resting, self._clock())
            if not fresh and not due:
                wait_s = min(resting.values()) - self._clock()
                if wait_s <= patience_s:
                    patience_s -= wait_s
                    self._rest(wait_s, resting)
                    continue
                # Now they fail, and are for `facevid retry`.
                due, patience_s = list(resting), -1.0
            wave = due[: options.wave]
            for index in wave:
                del resting[index]
            wave += [fresh.popleft() for _ in range(min(len(fresh), options.wave - len(wave)))]
            accused, put_off = self._until_done(
                wave, workers=options.workers, fit_batch=options.fit_batch, may_rest=patience_s >= 0
            )
            suspects += accused
            resting |= put_off
        self._until_done(self._unfinished(suspects), workers=1, fit_batch=1, last=True)

    def _rest(self, wait_s: float, resting: Mapping[int, float]) -> None:
        hosts = sorted({self._host(index) for index in resting})
        named = ", ".join(hosts[:3]) + (f" and {len(hosts) - 3} more" if len(hosts) > 3 else "")
        wait = duration_text(wait_s)
        left = counted(len(resting), "video")
        self._report(f"label: waiting {wait} for {named}, which refused too many; {left} left")
        self._sleep(wait_s)

    def _host(self, index: int) -> str:
        row = self._rows.rows[index]
        fetch = row_state(row, self._job, self._store).next_stage is Stage.FETCH
        return host_of(row.url) if fetch else ""

    def _until_done(
        self, left: Sequence[int], *, workers: int, fit_batch: int, last: bool = False, may_rest: bool = False
    ) -> tuple[list[int], dict[int, float]]:
        suspects: list[int] = []
        resting: dict[int, float] = {}
        barren = 0
        while left:
            rows = [self._rows.rows[index] for index in left]
            # One worker fetches it, and has it done if it is short; the spans of a long one are for all.
            leave_long = workers > 1 and is_one_of_unknown_length(rows, self._job, self._store)
            most = 1 if leave_long else workers
            at_work = workers_for(rows, self._job, self._store, most=most, known_s=self._known_s)
            self._watch.expect(workers=at_work)
            hosts = [self._host(index) for index in left]
            end = self._driver.run(
                "label", left, workers=at_work, fit_batch=fit_batch, hosts=hosts, may_rest=may_rest,
                leave_long=leave_long,
            )  # fmt: skip
            accused = self._judge(end, last=last)
            suspects += accused
            unfinished = self._unfinished(left)
            resting |= {index: end.resting[index] for index in unfinished if index in end.resting}
            fetched = leave_long and not is_one_of_unknown_length(rows, self._job, self._store)
            if not (end.died or fetched) and not resting.keys() >= set(unfinished):
                raise BuildError(f"the label job left {len(unfinished)} rows unfinished without a word")
            barren = 0 if end.left or fetched or len(unfinished) < len(left) else barren + 1
            if barren >= _BARREN_DEATHS:
                raise BuildError(self._why_barren(at_work))
            left = [index for index in unfinished if index not in accused and index not in resting]
        return suspects, resting

    def _why_barren(self, workers: int) -> str:
        logs = f"see the logs in {self._job.state / 'waves'}"
        if killed := self._kills() - self._killed_before:
            fewer = f", or use fewer workers than {workers} (--workers)" if workers > 1 else ""
            ended = counted(killed, "process", "processes")
            return (
                f"the system has ended {ended} for lack of memory, before they took a video in hand: give the job more "
                f"memory{fewer}; {logs}"
            )
        return f"worker processes die or hang before they take a video in hand; {logs}"

    def _unfinished(self, rows: Iterable[int]) -> list[int]:
        return [i for i in rows if row_state(self._rows.rows[i], self._job, self._store).next_stage is not None]

    def _judge(self, end: WaveEnd, *, last: bool) -> list[int]:
        """Give up on the rows that are proven guilty; the other suspects are returned."""
        if not end.died:
            return []
        self.deaths += 1
        suspects: list[int] = []
        for mark in end.left:
            verdict = self._watch.verdict(mark.pid)
            alone = len(mark.video_ids) == 1
            if alone and (last or (verdict is not None and verdict.code is FailureCode.TIMEOUT)):
                self._give_up(mark, verdict or _CRASHED)
            else:
                suspects += self._unfinished(self._place[video_id] for video_id in mark.video_ids)
        if not end.left:
            self._report("label: a worker process died with nothing in hand; going on")
        elif suspects:
            in_hand = counted(len(suspects), "video")
            self._report(f"label: a worker process died with {in_hand} in its hand, to run last")
        return suspects

    def _give_up(self, mark: Mark, verdict: Verdict) -> None:
        (video_id,) = mark.video_ids
        state = row_state(self._rows.rows[self._place[video_id]], self._job, self._store)
        if state.next_stage is None:  # it had its result, and the worker died a moment later
            return
        stage, key, part = _where(mark, state)
        message = f"{verdict.message}{part}"
        self._report(f"label: {video_id} is given up as {verdict.code}: {message}")
        self._store.commit_failure(stage, limited_key(key, self._job), verdict.code, message)


def _where(mark: Mark, state: RowState) -> tuple[Stage, str, str]:
    """Stage, key and words for the part of a video that a mark tells of."""
    for each in state.spans:
        key = each.faces_key if mark.stage is Stage.FACES else each.fit_key
        if each.next_stage is mark.stage and key == mark.key:
            words = each.span.words() if len(state.spans) > 1 else ""
            return mark.stage, key, f" ({words})" if words else ""
    if state.next_stage is None:
        raise ValueError(f"state of {mark.video_ids} has nothing left to do")
    # It died as it was about to begin with that.
    return state.next_stage, state.next_key, ""
