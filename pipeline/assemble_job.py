"""The second Beam job: from stored results to shards, as wiring over the plain functions of `assemble`."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection

from facevid import storage
from facevid.failures import Failure, FailureCode, Stage
from facevid.shards import shard_of
from fitting.face_model import load_face_model
from pipeline.assemble import ShardOrder, bad_row_failure, failure_shard, references, write_shards
from pipeline.job import state_folder
from pipeline.row_split import read_moved
from pipeline.steps import Step

ASSEMBLED_FOLDER = "assembled"


@dataclass(eq=False)
class AssembleShards(beam.PTransform[Any, Any]):
    """From places in the manifest (all finished) to shards; what was written goes to files in the state folder.

    Attributes:
        out: The dataset folder, whose plan says what the rows are.
    """

    out: Path

    def expand(self, rows: PCollection[int]) -> PCollection[int]:
        """Wire it."""
        written: PCollection[int] = (
            rows
            | "SpreadRows" >> beam.Reshuffle()
            | "ListReferences" >> beam.ParDo(_ListReferences(self.out))
            | "GroupByShard" >> beam.GroupByKey()
            | "WriteShards" >> beam.ParDo(_WriteShards(self.out))
        )
        return written


class _ListReferences(Step):
    def finish_bundle(self) -> None:
        self._counters.flush()

    def _outputs(self, index: int) -> Iterator[tuple[int, str]]:
        """(shard, reference as JSON): a track by its row's place and its number, or a failure."""
        manifest, job = self._plan.manifest, self._plan.job
        failures: list[Failure]
        if index >= len(manifest.rows):
            failures = [bad_row_failure(manifest.bad_rows[index - len(manifest.rows)])]
        else:
            row = manifest.rows[index]
            tracks, failures = references(index, row, job, self._store)
            for track in tracks:
                yield shard_of(row.video_id, track, job.options.shards), json.dumps([index, track])
        for failure in failures:
            yield failure_shard(failure, job.options.shards), json.dumps(asdict(failure))
        self._counters.add("listed")


class _WriteShards(Step):
    def setup(self) -> None:
        super().setup()
        self._model = self._once_per_process(lambda: load_face_model(self._plan.job.model_path))
        self._moved = read_moved(self._plan.job.state)

    def _outputs(self, group: tuple[int, Iterable[str]]) -> Iterator[int]:
        shard, texts = group
        found = [json.loads(text) for text in texts]
        order = ShardOrder(
            shard=shard,
            tracks=tuple((pair[0], pair[1]) for pair in found if isinstance(pair, list)),
            failures=tuple(_failure(plain) for plain in found if isinstance(plain, dict)),
        )
        written = write_shards(
            order, self._plan.manifest.rows, self._plan.job, self._store, self._model,
            moved=self._moved, on_frames=lambda frames: self._counters.add("assembled_frames", frames),
        )  # fmt: skip
        self._counters.flush()
        record = json.dumps([asdict(info) for info in written]).encode()
        storage.write_bytes(state_folder(self._out) / ASSEMBLED_FOLDER / f"{shard:05d}.json", record)
        yield shard


def _failure(plain: dict[str, Any]) -> Failure:
    return Failure(**plain | {"stage": Stage(plain["stage"]), "code": FailureCode(plain["code"])})
