"""How far the slices of a build are: for `facevid status` of a dataset that many machines work on.

Who cuts the rows into another number of slices begins anew, with what is done in the store. So only the slices of the
cut that was begun last are counted.
"""

import json
import shlex
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from facevid.counted import counted
from facevid.description import FunnelStep
from facevid.failures import FailureExamples
from pipeline.job import state_folder
from pipeline.output_lock import is_locked
from pipeline.progress import total_counts
from pipeline.slices import begun_slices
from pipeline.status import Status, decoding_rate, ordered_failures, status
from pipeline.tell import duration_text


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceStatuses:
    """The state of the slices of a dataset whose tables nobody has begun yet.

    Attributes:
        total: What they come to together, as far as they were begun; never finished, as there are no tables.
        slices: Those of the latest cut that were begun, by I/N.
        never_begun: Those of it that were not.
        older: Slices of earlier cuts, which are counted nowhere, and whether somebody is at work on them all the same.
    """

    total: Status
    slices: Mapping[str, Status]
    never_begun: tuple[str, ...]
    older: Mapping[str, bool]

    @property
    def running(self) -> bool:
        """Whether any of them is being worked on."""
        return self.total.running

    def to_json(self) -> str:
        """As one JSON object, for programs: what a `Status` says of all of them, and below it each."""
        each = {part: json.loads(one.to_json()) for part, one in self.slices.items()}
        below = {"slices": each, "never_begun": self.never_begun, "older_slices": tuple(self.older)}
        return json.dumps(json.loads(self.total.to_json()) | below, indent=2)

    def render(self) -> str:
        """As text for a terminal, a line each."""
        total = self.total
        lines = [f"{total.out}: slices, {total.videos_done} of their {total.videos} videos done"]
        for part, each in self.slices.items():
            left = f", about {duration_text(each.left_s)} left" if each.left_s is not None else ""
            count = sum(number for _, number in each.failures)
            failed = f", {counted(count, 'failure')}" if count else ""
            lines.append(f"  {part:<9}{each.word:<10}{each.videos_done:>8} of {each.videos} done{failed}{left}")
        lines.append(f"more of one: facevid status {shlex.quote(str(total.out))} --slice {next(iter(self.slices))}")
        if self.never_begun:
            lines.append(f"never begun: {', '.join(self.never_begun)}")
        elif all(each.finished for each in self.slices.values()):
            lines.append("all are done: the same `facevid build` without --slice writes the tables")
        if self.older:
            named = (f"{part} (running)" if running else part for part, running in self.older.items())
            lines.append(f"of earlier cuts, and not counted: {', '.join(named)}; what they made is in the store")
        return "\n".join(lines)


def status_of_all(out: Path, *, report: Callable[[str], None] = lambda _: None) -> Status | SliceStatuses:
    """The state of a dataset folder; of its slices as long as only these were begun.

    Args:
        out: The dataset folder.
        report: Receives progress lines where there are very many rows.

    Raises:
        DatasetError: No build was ever begun there, or its tables are damaged.
    """
    if (state_folder(out) / "plan.json").is_file() or not (begun := begun_slices(out)):
        return status(out, report=report)
    latest = _count(max(begun, key=lambda part: (state_folder(begun[part]) / "plan.json").stat().st_mtime_ns))
    slices = {part: status(folder, report=report) for part, folder in begun.items() if _count(part) == latest}
    missing = tuple(part for n in range(latest) if (part := f"{n + 1}/{latest}") not in slices)
    return SliceStatuses(
        total=_together(out, [begun[part] for part in slices], list(slices.values())),
        slices=slices,
        never_begun=missing,
        older={part: is_locked(state_folder(folder)) for part, folder in begun.items() if _count(part) != latest},
    )


def _count(part: str) -> int:
    return int(part.partition("/")[2])


def _together(out: Path, folders: Iterable[Path], parts: Sequence[Status]) -> Status:
    counts: defaultdict[str, float] = defaultdict(float)
    for folder in folders:
        for name, amount in total_counts(state_folder(folder)).items():
            counts[name] += amount
    failures, examples = Counter[str](), FailureExamples()
    for each in parts:
        failures.update(dict(each.failures))
        for code, said in each.examples.items():
            for example in said:
                examples.add(code, example)
    running = [each for each in parts if each.running]
    left_s = [each.left_s for each in running if each.left_s is not None]
    return Status(
        out=out,
        running=bool(running),
        finished=False,  # there are no tables yet
        videos=sum(each.videos for each in parts),
        videos_done=sum(each.videos_done for each in parts),
        frames_per_s=decoding_rate(counts),
        left_s=max(left_s) if left_s and len(left_s) == len(running) else None,
        in_hand=tuple(sorted((hand for each in parts for hand in each.in_hand), key=lambda hand: -hand.for_s)),
        funnel=tuple(_sum(steps) for steps in zip(*(each.funnel for each in parts), strict=True)),
        failures=ordered_failures(failures),
        examples={code: examples.of(code) for code in failures},
    )


def _sum(steps: Sequence[FunnelStep]) -> FunnelStep:
    """The same step of several builds as one."""
    reasons, events = Counter[str](), Counter[str]()
    for step in steps:
        reasons.update(step.reasons)
        events.update(step.events)
    return FunnelStep(
        step=steps[0].step, unit=steps[0].unit, entered=sum(step.entered for step in steps),
        ok=sum(step.ok for step in steps), failed=sum(step.failed for step in steps),
        filtered=sum(step.filtered for step in steps), reasons=dict(sorted(reasons.items())),
        events=dict(sorted(events.items())),
    )  # fmt: skip
