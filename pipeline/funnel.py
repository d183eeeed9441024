"""The funnel: what became of every item at every step, counted from the store alone, during a build or after."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow.parquet as pq

from facevid.description import FunnelStep
from facevid.failures import FailureCode, Stage
from facevid.schema import FUNNEL_UNITS
from facevid.shards import ShardInfo
from pipeline.items import read_summaries
from pipeline.job import Job
from pipeline.manifest import Manifest, ManifestRow
from pipeline.pruning import pruned
from pipeline.row_state import RowState, SpanState, places, row_state
from pipeline.row_tracks import joined
from pipeline.store import Store

TOO_SHORT = "min_track_s"
"""The reason of tracks that are left out before the fit."""
ANOTHER_FACE = "another face took the place"
"""A track ended and another began, as the face no longer looked like itself."""
_TABLE_OF_STEP = {"fit": "tracks", "frames": "frames"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """What became of every item so far.

    Attributes:
        steps: The steps of `facevid.schema.FUNNEL_UNITS`; rows that are not finished count in no step that they
            have not ended, so that the funnel of a running build adds up too.
        failures: How many failures there are of each kind; those of single tracks count too.
        done: Good rows that have a result, good or bad.
    """

    steps: tuple[FunnelStep, ...]
    failures: Counter[FailureCode]
    done: int


@dataclass(slots=True)
class _Counts:
    ends: Counter[tuple[str, str]] = field(default_factory=Counter)
    pruned_tracks: Counter[str] = field(default_factory=Counter)
    failures: Counter[FailureCode] = field(default_factory=Counter)


def take_census(
    manifest: Manifest, job: Job, store: Store, *, on_row: Callable[[ManifestRow, RowState], None] = lambda *_: None
) -> Census:
    """Look at every row once, and count what became of every item at every step, each step in its own unit.

    Args:
        manifest: All rows, bad ones too.
        job: The build.
        store: Where the results are.
        on_row: Called after each good row, in their order, with how far it has come.
    """
    counts = _Counts()
    counts.failures[FailureCode.BAD_ROW] = len(manifest.bad_rows)
    counts.ends["manifest", "ok"] = len(manifest.rows)
    counts.ends["manifest", "failed"] = len(manifest.bad_rows)
    done = 0
    for row in manifest.rows:
        state = row_state(row, job, store)
        done += state.next_stage is None
        if state.failure is not None:
            counts.failures[state.failure.code] += 1
        _count_row(state, job, store, counts)
        on_row(row, state)
    reasons = {"tracks": Counter({TOO_SHORT: counts.ends["tracks", "filtered"]}), "fit": counts.pruned_tracks}
    steps = (_step(name, unit, counts.ends, reasons.get(name, Counter())) for name, unit in FUNNEL_UNITS.items())
    return Census(steps=tuple(steps), failures=+counts.failures, done=done)


def with_reasons(steps: tuple[FunnelStep, ...], out: Path, shards: Sequence[ShardInfo]) -> tuple[FunnelStep, ...]:
    """The funnel of finished tables: by which rule tracks and frames were left out, frames by `--keep` too.

    Args:
        steps: As counted from the store, which knows nothing of single frames.
        out: The folder of the tables.
        shards: Their shards.
    """
    counted = []
    for step in steps:
        table = _TABLE_OF_STEP.get(step.step)
        if table is None:
            counted.append(step)
            continue
        reasons: Counter[str] = Counter()
        for shard in shards:
            if shard.table == table:
                column = pq.read_table(out / shard.path, columns=["filtered_reason"])["filtered_reason"].drop_null()
                reasons.update({pair["values"]: pair["counts"] for pair in column.value_counts().to_pylist()})
        filtered = sum(reasons.values())
        kept = step.ok + step.filtered - filtered
        counted.append(replace(step, ok=kept, filtered=filtered, reasons=dict(sorted(reasons.items()))))
    return tuple(counted)


def _count_row(state: RowState, job: Job, store: Store, counts: _Counts) -> None:
    ends = counts.ends
    failed_at = state.failure.stage if state.failure else None
    if failed_at is Stage.FETCH:
        ends["fetch", "failed"] += 1
    elif state.fetched is not None:
        ends["fetch", "ok"] += 1
    if failed_at is Stage.FACES:
        ends["faces", "failed"] += 1
    if not state.found:
        return
    ends["faces", "ok"] += 1
    row_places = tuple(places(state, store))
    ends["tracks", "filtered"] += sum(place.facts.short_tracks for place in row_places)
    ends["tracks", ANOTHER_FACE] += sum(place.facts.person_changes for place in row_places)
    if not state.spans[-1].empty:
        ends["tracks", "filtered"] += row_places[-1].facts.cut_off_tracks
    if state.next_stage is None and failed_at is None:
        for each in state.found:
            _count_fits(each, job, store, counts)
        return
    tracks = sum(len(found) for found in joined(row_places, store).values())
    ends["tracks", "ok"] += tracks
    if failed_at is Stage.FIT:
        ends["fit", "failed"] += tracks


def _count_fits(span: SpanState, job: Job, store: Store, counts: _Counts) -> None:
    ends = counts.ends
    for summary in read_summaries(store.result_path(Stage.FIT, span.fit_key)):
        ends["tracks", "ok"] += 1
        if summary.status == "diverged":
            ends["fit", "failed"] += 1
            counts.failures[FailureCode.FIT_DIVERGED] += 1
            continue
        reason = pruned(summary, job.options.prune)
        if reason is not None:
            counts.pruned_tracks[reason] += 1
        kept_frames = summary.observed_frames if reason is None else 0
        ends["fit", "ok" if reason is None else "filtered"] += 1
        ends["frames", "ok"] += kept_frames
        ends["frames", "filtered"] += summary.frames - kept_frames


def _step(name: str, unit: str, counts: Counter[tuple[str, str]], reasons: Counter[str]) -> FunnelStep:
    ok, failed, filtered = (counts[name, what] for what in ("ok", "failed", "filtered"))
    events = Counter({ANOTHER_FACE: counts[name, ANOTHER_FACE]})
    return FunnelStep(
        step=name, unit=unit, entered=ok + failed + filtered, ok=ok, failed=failed, filtered=filtered,
        reasons=dict(sorted((+reasons).items())), events=dict(+events),
    )  # fmt: skip
