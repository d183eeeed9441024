"""What the plain functions of labelling are given: where to work, and on which part of a row."""

from dataclasses import dataclass

from pipeline.job import Job
from pipeline.manifest import ManifestRow
from pipeline.progress import Counters
from pipeline.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Where labelling works: the job, its store and its counters.

    Attributes:
        job: The build.
        store: Where results are looked up and committed.
        counters: Receives what was really done, as opposed to found in the store.
    """

    job: Job
    store: Store
    counters: Counters


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanOfRow:
    """A part of the work.

    Attributes:
        row: The manifest's row.
        number: Place of the span among those of the row's video.
    """

    row: ManifestRow
    number: int
