"""How far the slices of a build are: for `facevid status` of a dataset that many machines work on."""

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from facevid.counted import counted
from pipeline.job import state_folder
from pipeline.slices import begun_slices
from pipeline.status import Status, status
from pipeline.tell import duration_text


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceStatuses:
    """The state of the slices of a dataset whose tables nobody has begun yet.

    Attributes:
        out: The dataset folder.
        slices: Those that were begun, by I/N.
    """

    out: Path
    slices: Mapping[str, Status]

    @property
    def running(self) -> bool:
        """Whether any of them is being worked on."""
        return any(each.running for each in self.slices.values())

    def to_json(self) -> str:
        """As one JSON object, for programs: a status per slice."""
        return json.dumps({part: json.loads(each.to_json()) for part, each in self.slices.items()}, indent=2)

    def render(self) -> str:
        """As text for a terminal, a line each."""
        done = sum(each.videos_done for each in self.slices.values())
        lines = [f"{self.out}: slices, {done} of their {sum(each.videos for each in self.slices.values())} videos done"]
        for part, each in self.slices.items():
            left = f", about {duration_text(each.left_s)} left" if each.left_s is not None else ""
            count = sum(number for _, number in each.failures)
            failed = f", {counted(count, 'failure')}" if count else ""
            lines.append(f"  {part:<9}{each.word:<10}{each.videos_done:>8} of {each.videos} done{failed}{left}")
        lines.append(f"more of one: facevid status {shlex.quote(str(self.out))} --slice {next(iter(self.slices))}")
        if missing := self._missing():
            lines.append(f"never begun: {', '.join(missing)}")
        elif all(each.finished for each in self.slices.values()):
            lines.append("all are done: the same `facevid build` without --slice writes the tables")
        return "\n".join(lines)

    def _missing(self) -> list[str]:
        counts = sorted({int(part.partition("/")[2]) for part in self.slices})
        every = (f"{number}/{count}" for count in counts for number in range(1, count + 1))
        return [part for part in every if part not in self.slices]


def status_of_all(out: Path, *, report: Callable[[str], None] = lambda _: None) -> Status | SliceStatuses:
    """The state of a dataset folder; of its slices as long as only these were begun.

    Args:
        out: The dataset folder.
        report: Receives progress lines where there are very many rows.

    Raises:
        DatasetError: No build was ever begun there, or its tables are damaged.
    """
    if not (state_folder(out) / "plan.json").is_file() and (folders := begun_slices(out)):
        return SliceStatuses(
            out=out, slices={part: status(folder, report=report) for part, folder in folders.items()}
        )
    return status(out, report=report)
