"""Label in waves, then assemble: what to run when, and what to do when processes die.

Workers that die cost a resume: the rows that were in hand are suspects, which run last and alone, one per
child; a suspect that takes its child down again becomes a failure `worker_died`, and the build goes on.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from facevid import storage
from facevid.description import DESCRIPTION_FILE, DatasetDescription, FunnelStep
from facevid.failures import FailureCode
from facevid.shards import ShardInfo
from fitting.face_model import FaceModel
from pipeline.assemble import content_key, remove_old_tables, write_description
from pipeline.driver import BuildError, Driver
from pipeline.funnel import failure_counts, funnel
from pipeline.job import Job, RowState, row_state
from pipeline.manifest import Manifest, is_remote
from pipeline.plan import Plan, write_plan
from pipeline.processes import worker_died
from pipeline.progress import clear_progress, take_marks, total_counts
from pipeline.run_record import utc_now, write_run_record
from pipeline.store import Store

FINISHED_FILE = "finished.json"

_REPORT_EVERY_S = 5.0
_BARREN_DEATHS = 3
# A worker process takes seconds to start, in which one that runs assembles this many.
_VIDEOS_WORTH_A_WORKER = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSummary:
    """What a build did.

    Attributes:
        funnel: What became of every item.
        failures: Number of failures per code.
        counts: What was really done in this run, see `progress.Counters`; nothing where all was in the store.
        worker_deaths: How often a worker process died.
        assembled: Whether the tables were written; false where they were up to date.
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
        self._job, self._rows, self._model = job, rows, model
        self._retry, self._report = retry, report
        self._store = Store(job.store_folder)
        self._store.sweep()
        clear_progress(job.state)
        storage.remove(job.state / FINISHED_FILE)
        write_plan(Plan(job=job, manifest=rows))
        self._driver = Driver(job, beam_options, lock=lock, on_wait=self._tell)
        self._started_s = self._told_s = time.monotonic()
        self._begun_at = utc_now()
        self._told_frames = 0
        self._todo = 0
        self._assembling = False
        self._deaths = 0

    def run(self) -> BuildSummary:
        """Label, assemble, write `run.json`."""
        self._prepare()
        pending = [index for index in range(len(self._rows.rows)) if self._state(index).next_stage is not None]
        self._todo = len(pending)
        self._report(f"label: {len(self._rows.rows)} videos, {len(self._rows.rows) - self._todo} of them done before")
        self._label(pending)
        labelled_s = time.monotonic() - self._started_s
        assembled = self._assemble()
        steps = funnel(self._rows, self._job, self._store)
        summary = BuildSummary(
            funnel=steps,
            failures=failure_counts(self._rows, self._job, self._store),
            counts=dict(total_counts(self._job.state)),
            worker_deaths=self._deaths,
            assembled=assembled,
            wall_s=time.monotonic() - self._started_s,
        )
        if assembled or pending:
            write_run_record(
                self._job, begun_at=self._begun_at, wall_s=summary.wall_s, label_s=labelled_s,
                worker_deaths=self._deaths, counts=summary.counts,
            )  # fmt: skip
        return summary

    def _state(self, index: int) -> RowState:
        return row_state(self._rows.rows[index], self._job, self._store)

    def _prepare(self) -> None:
        for index, row in enumerate(self._rows.rows):
            state = self._state(index)
            if state.failure is not None and state.failure.code in self._retry and state.failed_key:
                self._store.forget(state.failure.stage, state.failed_key)
            elif state.next_stage is not None and state.fetched is not None and is_remote(row.url) and (
                state.faces_key is None and not state.fetched.path.exists()
            ):
                # Someone made room in the store: the video must be had again before it can be read.
                self._store.forget("fetch", state.fetch_key)

    def _label(self, pending: list[int]) -> None:
        suspects: list[int] = []
        barren = 0
        size = self._job.options.wave
        for begin in range(0, len(pending), size):
            left = pending[begin : begin + size]
            while left:
                died = worker_died(self._driver.run("label", left, workers=min(self._job.options.workers, len(left))))
                marked = take_marks(self._job.state) if died else frozenset()
                unfinished = [index for index in left if self._state(index).next_stage is not None]
                if not died and unfinished:
                    raise BuildError(f"the label job left {len(unfinished)} rows unfinished without a word")
                accused = [index for index in unfinished if self._rows.rows[index].video_id in marked]
                suspects += accused
                self._deaths += died
                if died:
                    self._report(f"label: a worker process died; {len(accused)} videos were in hand, they run last")
                barren = 0 if accused or len(unfinished) < len(left) else barren + 1
                if barren >= _BARREN_DEATHS:
                    raise BuildError("worker processes die before they take a video in hand; see the logs in "
                                     f"{self._job.state / 'waves'}")
                left = [index for index in unfinished if index not in accused]
        for index in suspects:
            self._label_alone(index)

    def _label_alone(self, index: int) -> None:
        if self._state(index).next_stage is None:
            return
        died = worker_died(self._driver.run("label", [index], workers=1))
        take_marks(self._job.state)
        self._deaths += died
        state = self._state(index)
        if state.next_stage is None:
            return
        video_id = self._rows.rows[index].video_id
        if not died:
            raise BuildError(f"the label job left {video_id!r} unfinished without a word")
        self._report(f"label: {video_id} takes its process down; it is recorded as failed")
        message = "the worker process died twice while it had this video in hand: a crash in native code, or no memory"
        self._store.commit_failure(state.next_stage, state.next_key, FailureCode.WORKER_DIED, message)

    def _assemble(self) -> bool:
        key = content_key(self._rows, self._job, self._store)
        steps = funnel(self._rows, self._job, self._store)
        done = self._job.state / "assembled.json"
        if _up_to_date(self._job.out, done, key):
            storage.write_bytes(self._job.state / FINISHED_FILE, b"{}")
            self._report("assemble: the tables are up to date")
            return False
        self._report("assemble: writing shards")
        self._assembling = True
        storage.remove(done)
        remove_old_tables(self._job.out)
        from_shards = self._job.state / "assembled"
        for name in storage.list_files(from_shards):
            storage.remove(from_shards / name)
        everything = range(len(self._rows.rows) + len(self._rows.bad_rows))
        workers = min(self._job.options.workers, 1 + len(everything) // _VIDEOS_WORTH_A_WORKER)
        attempts = 0
        while worker_died(self._driver.run("assemble", everything, workers=workers)):
            self._deaths += 1
            attempts += 1
            if attempts == _BARREN_DEATHS:
                raise BuildError(f"assembling died {attempts} times; see the logs in {self._job.state / 'waves'}")
        shards = [
            ShardInfo(**info)
            for name in storage.list_files(from_shards)
            for info in json.loads(storage.read_bytes(from_shards / name))
        ]
        _check_rows(shards, steps, failures=sum(failure_counts(self._rows, self._job, self._store).values()))
        write_description(self._job, self._model, shards, steps)
        storage.write_bytes(done, json.dumps({"content_key": key}).encode())
        storage.write_bytes(self._job.state / FINISHED_FILE, b"{}")
        return True

    def _tell(self) -> None:
        now_s = time.monotonic()
        told_s = self._told_s
        if now_s - told_s < _REPORT_EVERY_S:
            return
        self._told_s = now_s
        counts = total_counts(self._job.state)
        if self._assembling:
            self._report(f"assemble: {now_s - self._started_s:.0f} s since the start")
            return
        frames = int(counts["decoded_frames"])
        rate = (frames - self._told_frames) / max(now_s - told_s, 1e-9)
        self._told_frames = frames
        self._report(
            progress_line(counts, todo=self._todo, elapsed_s=now_s - self._started_s, frames_per_s=rate)
        )


def progress_line(counts: Mapping[str, float], *, todo: int, elapsed_s: float, frames_per_s: float) -> str:
    """One line on how far labelling is: videos, frames per second, time left.

    Args:
        counts: See `progress.Counters`.
        todo: Videos that this run has to do.
        elapsed_s: Seconds since it began.
        frames_per_s: Frames decoded per second since the line before.
    """
    done, frames = int(counts.get("videos", 0)), int(counts.get("decoded_frames", 0))
    read = max(int(counts.get("read", 0)), done)
    line = f"label: {read} of {todo} videos read, {done} done, {frames} frames"
    if frames_per_s >= 0.5:  # none are read while processes start, and while a wave is fitted
        line += f", {frames_per_s:.0f}/s"
    # Reading takes most of the time; a wave is fitted when all of it is read.
    share = (9 * read + done) / (10 * todo) if todo else 1.0
    if 0 < share < 1:
        left_s = elapsed_s * (1 - share) / share
        line += f", about {left_s:.0f} s left" if left_s < 120 else f", about {left_s / 60:.0f} min left"
    return line


def _up_to_date(out: Path, done: Path, key: str) -> bool:
    try:
        if json.loads(storage.read_bytes(done))["content_key"] != key:
            return False
        description = DatasetDescription.from_json(storage.read_bytes(out / DESCRIPTION_FILE).decode())
        return all(storage.size_bytes(out / shard.path) == shard.bytes for shard in description.shards)
    except FileNotFoundError:
        return False


def _check_rows(shards: Sequence[ShardInfo], steps: tuple[FunnelStep, ...], *, failures: int) -> None:
    # The funnel is counted from the store, the shards were written by others: two witnesses.
    by_step = {step.step: step for step in steps}
    for before, after in (("manifest", "fetch"), ("fetch", "faces"), ("tracks", "fit")):
        if by_step[before].ok != by_step[after].entered:
            raise BuildError(f"{by_step[before].ok} passed {before}, but {by_step[after].entered} entered {after}")
    rows: Counter[str] = Counter()
    for shard in shards:
        rows[shard.table] += shard.rows
    wanted = {
        "frames": by_step["frames"].entered,
        "tracks": by_step["fit"].ok + by_step["fit"].filtered,
        "failures": failures,
    }
    for table, count in wanted.items():
        if rows[table] != count:
            raise BuildError(f"the shards of {table} have {rows[table]} rows, but the funnel counts {count}")
