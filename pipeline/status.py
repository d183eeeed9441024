"""How far a build is, and what became of every item: for `facevid status`, at any time, from any process."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from facevid.dataset import open_dataset
from facevid.description import DatasetError, FunnelStep
from facevid.failures import FailureCode
from pipeline.funnel import failure_counts, funnel
from pipeline.job import state_folder
from pipeline.plan import read_plan
from pipeline.progress import total_counts
from pipeline.row_state import row_state
from pipeline.store import Store, is_locked


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The state of a dataset folder.

    Attributes:
        out: The folder.
        running: A build is at work on it now.
        finished: The tables are complete and belong to the last build that was begun.
        videos: Good rows of the manifest.
        videos_done: Those of them that have a result, good or bad.
        frames_per_s: Frames decoded per second of worker time in this or the last run, None where none were.
        funnel: What became of every item.
        failures: Failures per code, the most frequent first.
    """

    out: Path
    running: bool
    finished: bool
    videos: int
    videos_done: int
    frames_per_s: float | None
    funnel: tuple[FunnelStep, ...]
    failures: tuple[tuple[str, int], ...]


def status(out: Path) -> Status:
    """Look at a dataset folder; works during a build, after one, and on a dataset that came without its store.

    Raises:
        DatasetError: No build was ever begun there, or its tables are damaged.
    """
    state = state_folder(out)
    running = is_locked(state)
    if not running and ((state / "finished.json").is_file() or not (state / "plan.json").is_file()):
        return _of_dataset(out)
    plan = read_plan(out)
    store = Store(plan.job.store_folder)
    states = [row_state(row, plan.job, store) for row in plan.manifest.rows]
    counts = total_counts(state)
    return Status(
        out=out,
        running=running,
        finished=False,
        videos=len(states),
        videos_done=sum(each.next_stage is None for each in states),
        frames_per_s=counts["decoded_frames"] / counts["faces_s"] if counts["faces_s"] else None,
        funnel=funnel(plan.manifest, plan.job, store),
        failures=_ordered(Counter({c.value: n for c, n in failure_counts(plan.manifest, plan.job, store).items()})),
    )


def render(status: Status) -> str:
    """The status as text for a terminal."""
    word = "running" if status.running else "finished" if status.finished else "stopped before its end; run it again"
    lines = [f"{status.out}: {word}", f"videos: {status.videos_done} of {status.videos} done"]
    if status.frames_per_s is not None:
        lines.append(f"faces: {status.frames_per_s:.0f} frames per second and worker")
    lines += ["", f"{'step':<10}{'unit':<8}{'in':>9}{'ok':>9}{'failed':>9}{'filtered':>9}"]
    lines += [
        f"{step.step:<10}{step.unit:<8}{step.entered:>9}{step.ok:>9}{step.failed:>9}{step.filtered:>9}"
        for step in status.funnel
    ]
    if status.failures:
        lines += ["", "failures", *(f"  {code:<20}{count:>7}" for code, count in status.failures)]
        if may_pass := [code for code, _ in status.failures if FailureCode(code).retryable]:
            lines.append(f"some may pass when tried again: facevid build ... --retry {' '.join(may_pass)}")
    return "\n".join(lines)


def _of_dataset(out: Path) -> Status:
    try:
        dataset = open_dataset(out)
    except DatasetError as error:
        raise DatasetError(f"no build was begun in {out}: {error}") from error
    steps = {step.step: step for step in dataset.description.funnel}
    codes = dataset.table("failures", columns=["code"])["code"].to_pylist()
    counts = total_counts(state_folder(out))
    return Status(
        out=out,
        running=False,
        finished=True,
        videos=steps["fetch"].entered,
        videos_done=steps["fetch"].entered,
        frames_per_s=counts["decoded_frames"] / counts["faces_s"] if counts["faces_s"] else None,
        funnel=dataset.description.funnel,
        failures=_ordered(Counter(codes)),
    )


def _ordered(counts: Counter[str]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
