"""What the steps of the Beam jobs have in common in their worker process: those of both, and those of the label job."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.utils import shared

from pipeline.desk import Desk
from pipeline.egress.client import EgressError
from pipeline.plan import Plan, read_plan
from pipeline.progress import Counters
from pipeline.row_state import RowState, row_state
from pipeline.stop import leaving_reason
from pipeline.store import Store, StoreFullError
from pipeline.wave import Wave


class Step(beam.DoFn):
    """A step of a job: wiring over plain functions, which find in the store what is done already.

    Args:
        out: The dataset folder, whose plan says what the rows are.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._heavy = shared.Shared()

    def setup(self) -> None:
        """Read the plan."""
        self._plan: Plan = read_plan(self._out)
        self._store = Store(self._plan.job.store_folder)
        self._counters = Counters(self._plan.job.state)

    def process(self, element: Any) -> Iterator[Any]:
        """Do the step; a reason to stop that is no bug reaches the parent."""
        job = self._plan.job
        with leaving_reason(job.state, [job.store_folder, job.out], StoreFullError, EgressError):
            yield from self._outputs(element)

    def _outputs(self, element: Any) -> Iterator[Any]:
        """The step itself."""
        raise NotImplementedError

    def _once_per_process(self, make: Callable[[], Any]) -> Any:
        return self._heavy.acquire(lambda: _Held(make())).value


class LabelStep(Step):
    """A step of the label job, whose elements are turns: see `pipeline.wave`.

    Args:
        out: The dataset folder.
        wave_file: Says what the wave is.
    """

    def __init__(self, out: Path, wave_file: Path) -> None:
        super().__init__(out)
        self._wave_file = wave_file

    def setup(self) -> None:
        """Read the wave as well."""
        super().setup()
        self._wave = Wave.read(self._wave_file)
        self._bench = Desk(job=self._plan.job, store=self._store, counters=self._counters)

    def _state(self, index: int) -> RowState:
        return row_state(self._plan.manifest.rows[index], self._plan.job, self._store)


class _Held:
    """Beam shares what can be referred to weakly; slotted dataclasses cannot."""

    def __init__(self, value: Any) -> None:
        self.value = value
