"""One Beam run, as the files say that its processes share: the order of it and, beside that, what is left to take.

The steps of the label job take their rows and spans from queues, see `pipeline.wave_queue` and `pipeline.span_queue`:
what Beam deals out to them are turns, and who has a turn works until nothing is left. The driver begins a wave, its
workers open it.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from facevid.failures import Stage
from pipeline.span_queue import SpanQueue
from pipeline.store import write_json
from pipeline.wave_queue import WaveQueue


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """One Beam run.

    Attributes:
        kind: Which of the two jobs.
        out: The dataset folder.
        rows: Places of the rows in the plan's manifest; bad rows count on after the good ones.
        workers: Worker processes; 1 works in the child itself.
        beam_options: Further options of Beam.
        parent_pid: The process that the child belongs to.
        hosts: Of the label job, the host that each row waits for, see `wave_queue.host_of`.
        fit_batch: Of the label job, the most spans whose tracks are fitted together.
        may_rest: Of the label job, whether rows whose host is left alone stay as they are; else they fail.
        leave_long: Of the label job, whether a video of several spans is only fetched, and searched in another wave.
    """

    kind: Literal["label", "assemble"]
    out: Path
    rows: tuple[int, ...]
    workers: int
    beam_options: tuple[str, ...]
    parent_pid: int
    hosts: tuple[str, ...] = ()
    fit_batch: int = 1
    may_rest: bool = False
    leave_long: bool = False

    @classmethod
    def read(cls, path: Path) -> "Wave":
        """Read the file that `begin` wrote."""
        plain = json.loads(path.read_bytes())
        lists = {name: tuple(plain[name]) for name in ("rows", "beam_options", "hosts")}
        return cls(**plain | lists | {"out": Path(plain["out"])})

    def begin(self, path: Path) -> None:
        """Write the file, and make the queues of a label job beside it, from which nothing is taken yet.

        Raises:
            ValueError: It is a label job, and not every row has a host.
        """
        write_json(path, asdict(self) | {"out": str(self.out)})
        if self.kind == "label":
            row_queue(path, self).begin()
            for stage in (Stage.FACES, Stage.FIT):
                span_queue(path, stage).begin()

    @property
    def elements(self) -> Sequence[int]:
        """What Beam deals out: the rows of an assemble job; of a label job turns, at least one for every worker."""
        return range(max(len(self.rows), self.workers)) if self.kind == "label" else self.rows


def row_queue(path: Path, wave: Wave, *, pause_s: float = 0.0) -> WaveQueue:
    """The queue of a label job's rows.

    Args:
        path: The wave's file.
        wave: What it says.
        pause_s: The longest pause between two videos of one host, for those who take rows.
    """
    return WaveQueue(path.with_suffix(".queue"), wave.rows, wave.hosts, pause_s=pause_s)


def span_queue(path: Path, stage: Stage) -> SpanQueue:
    """The queue of the spans that wait for a stage of a label job, whose wave has this file."""
    return SpanQueue(path.with_suffix(f".{stage.value}"))
