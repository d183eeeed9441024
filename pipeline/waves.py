"""One build, in the process that the user started: label in waves, then assemble."""

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from facevid import storage
from facevid.counted import counted
from facevid.dataset import open_dataset
from facevid.description import FunnelStep
from facevid.failures import FailureCode, Stage
from fitting.face_model import FaceModel
from pipeline.blame import Labeller
from pipeline.driver import Driver
from pipeline.earlier_rows import denied_earlier_rows
from pipeline.finish import FINISHED_FILE, Assembled, assemble
from pipeline.funnel import take_census
from pipeline.job import Job
from pipeline.manifest import Manifest, is_remote
from pipeline.plan import Plan, write_plan
from pipeline.progress import clear_progress, total_counts
from pipeline.row_state import RowState, failures_to_forget, row_state
from pipeline.run_record import utc_now, write_begin, write_run_record
from pipeline.source_lists import kept_lists
from pipeline.store import Store
from pipeline.swap import settle_tables
from pipeline.tell import LookTeller, Teller
from pipeline.usage import can_watch, work_s
from pipeline.watch import Watch
from pipeline.worker_count import workers_at_once


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSummary:
    """What a build did.

    Attributes:
        funnel: What became of every item.
        failures: Number of failures per code.
        counts: What was really done in this run, see `progress.Counters`; nothing where all was in the store.
        worker_deaths: How often a worker process died, or was ended because its row went beyond a limit.
        assembled: Whether the tables were written; false where they were up to date, and of a slice.
        wall_s: Duration.
    """

    funnel: tuple[FunnelStep, ...]
    failures: Mapping[FailureCode, int]
    counts: Mapping[str, float]
    worker_deaths: int
    assembled: bool
    wall_s: float


class Waves:
    """One build, in the process that the user started.

    Args:
        job: The build.
        rows: The manifest.
        model: The face model of the job.
        beam_options: Further options of Beam, checked.
        retry: Failures with these codes are tried again.
        report: Receives progress lines.
        lock: Descriptor of the output's lock, which is held.
    """

    def __init__(
        self,
        job: Job,
        rows: Manifest,
        model: FaceModel,
        *,
        beam_options: Sequence[str],
        retry: frozenset[FailureCode],
        report: Callable[[str], None],
        lock: int,
    ) -> None:
        workers, fewer = workers_at_once(job.options)
        if fewer is not None:
            report(fewer)
        asked, job = job, replace(job, options=replace(job.options, workers=workers))
        self._job, self._rows, self._model = job, rows, model
        self._retry, self._report = retry, report
        self._store = Store(job.store_folder)
        self._store.sweep()
        settle_tables(job.out)
        clear_progress(job.state)
        storage.remove(job.state / FINISHED_FILE)
        write_plan(Plan(job=asked, manifest=rows))  # a retry may have more memory
        self._teller = Teller(job.state, report)
        self._watch = Watch(job.state, job.options.limits, work=work_s if can_watch() else None)
        if not can_watch():
            report("limits: without /proc nobody sees how much memory the workers use, or that Beam hangs")
        self._driver = Driver(job, beam_options, lock=lock, on_wait=self._on_wait)
        self._begun_at = utc_now()
        self._denied: dict[str, str] = {}  # id and key of the fetch
        self._deny_use = kept_lists(job.options.fetch, job.state).deny_use()

    def run(self) -> BuildSummary:
        """Label, assemble (but a slice), write `run.json`."""
        started_s = time.monotonic()
        self._prepare()
        pending = self._pending()
        if self._job.options.slice is None and (unused := self._unused_entries()):  # the list is for all rows
            self._report(unused)
        self._teller.todo = len(pending)
        write_begin(self._job.state, self._begun_at, todo=len(pending))
        done = len(self._rows.rows) - len(pending)
        to_fit = f", {self._teller.found} only to be fitted" if self._teller.found else ""
        self._report(f"label: {counted(len(self._rows.rows), 'video')}, {done:,} of them done before{to_fit}")
        labeller = Labeller(self._job, self._rows, self._store, self._driver, self._watch, report=self._report)
        labeller.label(pending)
        labelled_s = time.monotonic() - started_s
        funnel, assembled = self._assemble()
        summary = BuildSummary(
            funnel=funnel,
            failures=assembled.failures,
            counts=dict(total_counts(self._job.state)),
            worker_deaths=labeller.deaths + assembled.worker_deaths,
            assembled=assembled.written,
            wall_s=time.monotonic() - started_s,
        )
        if summary.assembled or pending:
            write_run_record(
                self._job, begun_at=self._begun_at, wall_s=summary.wall_s, label_s=labelled_s,
                worker_deaths=summary.worker_deaths, counts=summary.counts,
            )  # fmt: skip
        if kept := self._kept_of_denied():
            self._report(
                f"store: videos or results of {len(kept)} denied rows are still in {self._store.root}; "
                f"`facevid purge {shlex.quote(str(self._job.out))} --denied` removes them"
            )
        return summary

    def _assemble(self) -> tuple[tuple[FunnelStep, ...], Assembled]:
        if self._job.options.slice is not None:  # the tables are of all slices
            census = take_census(self._rows, self._job, self._store)
            return census.steps, Assembled(written=False, worker_deaths=0, failures=census.failures)
        assembled = assemble(
            self._job, self._rows, self._model, self._store, self._driver, teller=self._teller, report=self._report
        )
        return open_dataset(self._job.out).description.funnel, assembled

    def _state(self, index: int) -> RowState:
        return row_state(self._rows.rows[index], self._job, self._store)

    def _pending(self) -> list[int]:
        looked = LookTeller("looking for what is to do", len(self._rows.rows), self._report)
        found = []
        for index in range(len(self._rows.rows)):
            state = self._state(index)
            next_stage = state.next_stage
            if next_stage is not None:
                found.append(index)
            self._teller.found += next_stage is Stage.FIT
            if state.failure is not None and state.failure.code is FailureCode.DENIED and not state.failed_key:
                self._denied[state.failure.video_id] = state.fetch_key  # by a list: what a server says is stored
            row = self._rows.rows[index]
            self._deny_use.see(row.url, row.video_id, row.subject_id)
            looked.seen()
        return found

    def _unused_entries(self) -> str:
        for row in denied_earlier_rows(self._job, self._job.out, self._denied):
            self._deny_use.see(row.url, row.video_id, row.subject_id)
        return self._deny_use.unused_text("row of the manifest")

    def _kept_of_denied(self) -> set[str]:
        # They may have been fetched before they stood on a list, under the address of now or of then.
        earlier = denied_earlier_rows(self._job, self._job.out, self._denied)
        keys = [
            *self._denied.items(),
            *((row.video_id, row_state(row, self._job, self._store).fetch_key) for row in earlier),
        ]
        return {video_id for video_id, key in keys if self._store.find("fetch", key) is not None}

    def _prepare(self) -> None:
        looked = LookTeller("looking for what to try again", len(self._rows.rows), self._report)
        for index, row in enumerate(self._rows.rows):
            state = self._state(index)
            if forgotten := failures_to_forget(state, self._retry):
                for stage, key in forgotten:
                    self._store.forget(stage, key)
                state = self._state(index)
            while state.next_stage is Stage.FACES and state.fetched is not None and is_remote(row.url) and (
                not state.fetched.path.exists()
            ):
                # Someone made room in the store: the video must be had again before it can be read.
                self._store.forget("fetch", state.fetch_key)
                state = self._state(index)
            looked.seen()

    def _on_wait(self, driver_pid: int) -> None:
        self._watch.look(driver_pid)
        self._teller.tell()
