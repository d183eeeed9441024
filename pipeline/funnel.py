"""The funnel: what became of every item at every step, counted from the store alone, during a build or after."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq

from facevid.description import FunnelStep
from facevid.failures import FailureCode, Stage
from facevid.schema import FUNNEL_UNITS
from facevid.shards import ShardInfo
from pipeline.items import read_summaries
from pipeline.job import Job
from pipeline.manifest import Manifest
from pipeline.row_state import SpanState, places, row_state
from pipeline.row_tracks import joined
from pipeline.rows import pruned
from pipeline.store import Store

TOO_SHORT = "min_track_s"
"""The reason of tracks that are left out before the fit."""
ANOTHER_FACE = "another face took the place"
"""A track ended and another began, as the face no longer looked like itself."""
_TABLE_OF_STEP = {"fit": "tracks", "frames": "frames"}


def funnel(manifest: Manifest, job: Job, store: Store) -> tuple[FunnelStep, ...]:
    """Count what became of every item at every step, each step in its own unit.

    Args:
        manifest: All rows, bad ones too.
        job: The build.
        store: Where the results are.

    Returns:
        The steps of `facevid.schema.FUNNEL_UNITS`; rows that are not finished count in no step that they
        have not ended, so that the funnel of a running build adds up too.
    """
    counts: Counter[tuple[str, str]] = Counter()
    pruned_tracks: Counter[str] = Counter()
    counts["manifest", "ok"] = len(manifest.rows)
    counts["manifest", "failed"] = len(manifest.bad_rows)
    for row in manifest.rows:
        state = row_state(row, job, store)
        failed_at = state.failure.stage if state.failure else None
        if failed_at is Stage.FETCH:
            counts["fetch", "failed"] += 1
        elif state.fetched is not None:
            counts["fetch", "ok"] += 1
        if failed_at is Stage.FACES:
            counts["faces", "failed"] += 1
        if not state.found:
            continue
        counts["faces", "ok"] += 1
        row_places = tuple(places(state, store))
        counts["tracks", "filtered"] += sum(place.facts.short_tracks for place in row_places)
        counts["tracks", ANOTHER_FACE] += sum(place.facts.person_changes for place in row_places)
        if not state.spans[-1].empty:
            counts["tracks", "filtered"] += row_places[-1].facts.cut_off_tracks
        if state.next_stage is None and failed_at is None:
            for each in state.found:
                _count_fits(each, job, store, counts, pruned_tracks)
            continue
        tracks = sum(len(found) for found in joined(row_places, store).values())
        counts["tracks", "ok"] += tracks
        if failed_at is Stage.FIT:
            counts["fit", "failed"] += tracks
    reasons = {"tracks": Counter({TOO_SHORT: counts["tracks", "filtered"]}), "fit": pruned_tracks}
    return tuple(_step(name, unit, counts, reasons.get(name, Counter())) for name, unit in FUNNEL_UNITS.items())


def with_reasons(steps: tuple[FunnelStep, ...], out: Path, shards: Sequence[ShardInfo]) -> tuple[FunnelStep, ...]:
    """The funnel of finished tables: by which rule tracks and frames were left out, frames by `--keep` too.

    Args:
        steps: As counted from the store, which knows nothing of single frames.
        out: The dataset folder.
        shards: Its shards.
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


def failure_counts(manifest: Manifest, job: Job, store: Store) -> Counter[FailureCode]:
    """How many failures there are of each kind so far; those of single tracks count too."""
    counts: Counter[FailureCode] = Counter({FailureCode.BAD_ROW: len(manifest.bad_rows)})
    for row in manifest.rows:
        state = row_state(row, job, store)
        if state.failure is not None:
            counts[state.failure.code] += 1
        elif state.next_stage is None:
            for each in state.found:
                summaries = read_summaries(store.result_path(Stage.FIT, each.fit_key))
                counts[FailureCode.FIT_DIVERGED] += sum(summary.status == "diverged" for summary in summaries)
    return +counts


def _count_fits(
    span: SpanState, job: Job, store: Store, counts: Counter[tuple[str, str]], pruned_tracks: Counter[str]
) -> None:
    for summary in read_summaries(store.result_path(Stage.FIT, span.fit_key)):
        counts["tracks", "ok"] += 1
        if summary.status == "diverged":
            counts["fit", "failed"] += 1
            continue
        reason = pruned(summary, job.options.prune)
        if reason is not None:
            pruned_tracks[reason] += 1
        kept_frames = summary.observed_frames if reason is None else 0
        counts["fit", "ok" if reason is None else "filtered"] += 1
        counts["frames", "ok"] += kept_frames
        counts["frames", "filtered"] += summary.frames - kept_frames


def _step(name: str, unit: str, counts: Counter[tuple[str, str]], reasons: Counter[str]) -> FunnelStep:
    ok, failed, filtered = (counts[name, what] for what in ("ok", "failed", "filtered"))
    events = Counter({ANOTHER_FACE: counts[name, ANOTHER_FACE]})
    return FunnelStep(
        step=name, unit=unit, entered=ok + failed + filtered, ok=ok, failed=failed, filtered=filtered,
        reasons=dict(sorted((+reasons).items())), events=dict(+events),
    )  # fmt: skip
