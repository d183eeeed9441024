"""How far a build is, and what became of every item: for `facevid status`, at any time, from any process."""

import json
import shlex
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from facevid.counted import counted
from facevid.dataset import open_dataset
from facevid.description import DESCRIPTION_FILE, RELEASE_STEP, DatasetError, FunnelStep
from facevid.failures import MOST_EXAMPLES, FailureCode, FailureExamples
from facevid.public_urls import without_secrets
from pipeline.funnel import take_census
from pipeline.job import state_folder
from pipeline.manifest import ManifestRow
from pipeline.marks import read_marks
from pipeline.output_lock import is_locked
from pipeline.plan import read_plan
from pipeline.progress import total_counts
from pipeline.row_state import RowState
from pipeline.run_record import read_begin
from pipeline.store import Store
from pipeline.tell import LookTeller, duration_text, quiet_s, time_left_s


@dataclass(frozen=True, slots=True, kw_only=True)
class InHand:
    """What one worker is doing.

    Attributes:
        video_ids: The rows that it works on.
        stage: What it does with them.
        pid: Its process.
        for_s: How long it has been at it, seconds.
    """

    video_ids: tuple[str, ...]
    stage: str
    pid: int
    for_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The state of a dataset folder.

    Attributes:
        out: The folder.
        running: A build is at work on it now.
        finished: The tables are complete and belong to the last build that was begun; all rows of a slice are done.
        videos: Good rows of the manifest.
        videos_done: Those of them that have a result, good or bad.
        frames_per_s: Frames decoded per second of worker time in this or the last run, None where none were.
        left_s: How long a running build will go on labelling, seconds, where that can be told; see `tell.time_left_s`.
        in_hand: What the workers of a running build are doing, the longest at it first.
        funnel: What became of every item.
        failures: Failures per code, the most frequent first.
        examples: Of each code the first failures of which different things were said, each with its video.
        slice: Which slice of a build it is, I/N; None for a whole one.
    """

    out: Path
    running: bool
    finished: bool
    videos: int
    videos_done: int
    frames_per_s: float | None
    left_s: float | None = None
    in_hand: tuple[InHand, ...] = ()
    funnel: tuple[FunnelStep, ...]
    failures: tuple[tuple[str, int], ...]
    examples: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    slice: str | None = None

    @property
    def word(self) -> str:
        """Running, finished or stopped."""
        return "running" if self.running else "finished" if self.finished else "stopped"

    def to_json(self) -> str:
        """As one JSON object, for programs."""
        plain = asdict(self) | {"out": str(self.out), "failures": dict(self.failures)}
        return json.dumps(plain, indent=2)


def status(out: Path, *, report: Callable[[str], None] = lambda _: None) -> Status:
    """Look at a dataset folder; works during a build, after one, and on a dataset that came without its store.

    Nothing is written, whatever stands there.

    Args:
        out: The dataset folder.
        report: Receives progress lines where there are very many rows.

    Raises:
        DatasetError: No build was ever begun there, or its tables are damaged.
    """
    state = state_folder(out)
    running = is_locked(state)
    begun = (state / "plan.json").is_file()
    if not begun or (not running and (state / "finished.json").is_file()):
        return _of_dataset(out)
    plan = read_plan(out, whole=True)
    rows = LookTeller("counting results", len(plan.manifest.rows), report)
    examples = FailureExamples()
    for bad in plan.manifest.bad_rows[:MOST_EXAMPLES]:
        examples.add(FailureCode.BAD_ROW.value, without_secrets(bad.words()))

    def on_row(row: ManifestRow, state: RowState) -> None:
        rows.seen()
        if (failure := state.failure) is not None:
            examples.add(failure.code.value, without_secrets(failure.message), row.video_id)

    census = take_census(plan.manifest, plan.job, Store(plan.job.store_folder), on_row=on_row)
    counts = total_counts(state)
    now_s = time.monotonic()
    in_hand = tuple(
        InHand(video_ids=mark.video_ids, stage=mark.stage.value, pid=mark.pid, for_s=max(now_s - mark.since_s, 0.0))
        for mark in (read_marks(state) if running else ())
    )
    part = plan.job.options.slice
    return Status(
        out=out,
        running=running,
        finished=part is not None and not running and census.done == len(plan.manifest.rows),
        slice=part,
        videos=len(plan.manifest.rows),
        videos_done=census.done,
        frames_per_s=decoding_rate(counts),
        left_s=_left_s(state, counts, in_hand) if running else None,
        in_hand=in_hand,
        funnel=census.steps,
        failures=ordered_failures(Counter({code.value: count for code, count in census.failures.items()})),
        examples={code.value: examples.of(code.value) for code in census.failures},
    )


def kept_frames(status: Status) -> int:
    """How many frames are left to train on; 0 while none are written."""
    return sum(step.ok for step in status.funnel if step.unit == "frames")


def render(status: Status) -> str:
    """The status as text for a terminal."""
    word = f"{status.word} before its end; run it again" if status.word == "stopped" else status.word
    quoted = shlex.quote(str(status.out))
    part = f"slice {status.slice} " if status.slice else ""
    lines = [f"{status.out}: {part}{word}", f"videos: {status.videos_done} of {status.videos} done"]
    if status.left_s is not None:
        lines[-1] += f", about {duration_text(status.left_s)} left"
    if status.frames_per_s is not None:
        lines.append(f"faces: {status.frames_per_s:.0f} frames per second and worker")
    lines += ["", f"{'step':<10}{'unit':<8}{'in':>9}{'ok':>9}{'failed':>9}{'filtered':>9}"]
    lines += [
        f"{step.step:<10}{step.unit:<8}{step.entered:>9}{step.ok:>9}{step.failed:>9}{step.filtered:>9}"
        for step in status.funnel
    ]
    if status.in_hand:
        lines += ["", "in hand", *(f"  {_hand(each)}" for each in status.in_hand)]
    for step in status.funnel:
        if step.reasons:
            ordered = sorted(step.reasons.items(), key=lambda pair: (-pair[1], pair[0]))
            word = f"{step.unit} filtered" + (" before the fit" if step.step == "tracks" else "")
            lines += ["", word, *(f"  {reason:<40}{count:>9}" for reason, count in ordered)]
            if step.unit == "frames" and not step.ok:
                lines.append(f"none is left; `facevid schema {quoted} --table frames` shows what its numbers are")
        lines += [f"{step.unit}: {event} {counted(count, 'time')}" for event, count in step.events.items()]
    if status.failures:
        lines += ["", "failures"]
        for code, count in status.failures:
            first, *others = status.examples.get(code) or ("",)
            lines.append(f"  {code:<20}{count:>7}  {first}".rstrip())
            lines += [f"{'':<31}{example}" for example in others]
        is_release = any(step.step == RELEASE_STEP for step in status.funnel)  # which nobody can go on with
        codes = [] if is_release else [code for code, _ in status.failures]
        if may_pass := [code for code in codes if FailureCode(code).retryable]:
            lines.append(f"some may pass when tried again: facevid retry {quoted} --only {','.join(may_pass)}")
    return "\n".join(lines)


def _hand(hand: InHand) -> str:
    more = f" and {len(hand.video_ids) - 3} more" if len(hand.video_ids) > 3 else ""
    return f"{hand.stage:<7}{duration_text(hand.for_s):>7}  {', '.join(hand.video_ids[:3])}{more} (process {hand.pid})"


def _left_s(state: Path, counts: Mapping[str, float], in_hand: Sequence[InHand]) -> float | None:
    if (begin := read_begin(state)) is None:
        return None
    begun_at, todo = begin
    elapsed_s = (datetime.now(UTC) - begun_at).total_seconds()
    return time_left_s(counts, todo=todo, elapsed_s=elapsed_s, since_s=quiet_s(each.for_s for each in in_hand))


def decoding_rate(counts: Mapping[str, float]) -> float | None:
    """Frames decoded per second of worker time, by the sums of counters; None where none were."""
    return counts["decoded_frames"] / counts["faces_s"] if counts["faces_s"] else None


def _of_dataset(out: Path) -> Status:
    if not (state_folder(out) / "plan.json").is_file() and not (out / DESCRIPTION_FILE).is_file():
        there = "it holds no dataset" if out.is_dir() else "it is no folder" if out.exists() else "it is not there"
        raise DatasetError(f"no build was begun in {out}: {there}")
    dataset = open_dataset(out)
    steps = {step.step: step for step in dataset.description.funnel}
    failures = dataset.table("failures", columns=["code", "video_id", "message"]).to_pylist()
    examples = FailureExamples()
    for failure in failures:
        examples.add(failure["code"], failure["message"], failure["video_id"])
    counts = Counter(failure["code"] for failure in failures)
    for name, count in dataset.description.failures.items():  # all that a release has of them
        counts[name.rpartition("/")[2]] += count
    return Status(
        out=out,
        running=False,
        finished=True,
        videos=steps["fetch"].entered,
        videos_done=steps["fetch"].entered,
        frames_per_s=decoding_rate(total_counts(state_folder(out))),
        funnel=dataset.description.funnel,
        failures=ordered_failures(counts),
        examples={code: examples.of(code) for code in counts},
    )


def ordered_failures(counts: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    """How many failures there are of each kind, the most frequent first."""
    return tuple(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
