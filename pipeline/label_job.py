"""The first Beam job: from turns to results in the store, as wiring over plain functions.

What travels between the steps are places in the manifest and numbers of spans, never arrays: the local runner keeps
what crosses a shuffle in memory at several times its size. Every step finds in the store what is done already, so a
bundle that is tried again costs nothing.

What a step works with is imported by the worker that does it: with several, their driver works at nothing itself, and
none of them can start before it is ready.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection

from pipeline.fetch_step import FetchRows
from pipeline.find_step import FindFaces
from pipeline.fit_steps import FitSpans, SpansToFit


@dataclass(eq=False)
class LabelRows(beam.PTransform[Any, Any]):
    """From turns (see `pipeline.wave`) to results in the store: fetch, faces, fit.

    A video of one span is searched by the worker that fetched it, while others fetch; the spans of longer ones are
    spread over all workers.

    Attributes:
        out: The dataset folder, whose plan says what the rows are.
        wave_file: Says which of them are worked on.
    """

    out: Path
    wave_file: Path

    def expand(self, turns: PCollection[int]) -> PCollection[tuple[int, int]]:
        """Wire it: a shuffle before each heavy step, so that idle workers get their share."""
        labelled: PCollection[tuple[int, int]] = (
            turns
            | "SpreadTurns" >> beam.Reshuffle()
            | "FetchRows" >> beam.ParDo(FetchRows(self.out, self.wave_file))
            | "SpreadSpans" >> beam.Reshuffle()
            | "FindFaces" >> beam.ParDo(FindFaces(self.out, self.wave_file))
            # A track may go on in the next span: a video is fitted when all of it has been searched.
            | "SearchedRows" >> beam.GroupByKey()
            | "SpansToFit" >> beam.ParDo(SpansToFit(self.out, self.wave_file))
            | "SpreadFound" >> beam.Reshuffle()
            | "FitSpans" >> beam.ParDo(FitSpans(self.out, self.wave_file))
        )
        return labelled
