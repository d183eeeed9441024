"""What the steps of both Beam jobs have in common in their worker process."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.utils import shared

from pipeline.desk import Desk
from pipeline.egress.client import EgressError
from pipeline.plan import Plan, read_plan
from pipeline.progress import Counters
from pipeline.stop import leaving_reason
from pipeline.store import Store, StoreFullError


class Step(beam.DoFn):
    """A step of a job: wiring over plain functions, which find in the store what is done already.

    Args:
        out: The dataset folder, whose plan says what the rows are.
        heavy: What is loaded once per process; steps that are given the same share it.
    """

    def __init__(self, out: Path, heavy: shared.Shared | None = None) -> None:
        self._out = out
        self._heavy = heavy or shared.Shared()

    def setup(self) -> None:
        """Read the plan."""
        self._plan: Plan = read_plan(self._out)
        self._store = Store(self._plan.job.store_folder)

    def process(self, element: Any) -> Iterator[Any]:
        """Do the step; a reason to stop that is no bug reaches the parent."""
        job = self._plan.job
        with leaving_reason(job.state, [job.store_folder, job.out], StoreFullError, EgressError):
            yield from self._outputs(element)

    def _outputs(self, element: Any) -> Iterator[Any]:
        """The step itself."""
        raise NotImplementedError

    def _desk(self) -> Desk:
        return Desk(job=self._plan.job, store=self._store, counters=Counters(self._plan.job.state))

    def _once_per_process(self, make: Callable[[], Any]) -> Any:
        return self._heavy.acquire(lambda: _Held(make())).value


class _Held:
    """Beam shares what can be referred to weakly; slotted dataclasses cannot."""

    def __init__(self, value: Any) -> None:
        self.value = value
