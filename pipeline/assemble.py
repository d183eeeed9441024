"""Assembling, as plain functions: stored results to sorted shards and `facevid.json`.

A shard is written from references, one track after the other; nothing that was stored is changed. They are written
beside the dataset that stands, and take its place when all are whole, see `pipeline.swap`. Shards without rows are not
written, but each table has at least one file (an empty first shard), so that its columns can always be read.
"""

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from facevid import storage
from facevid.dataset import Dataset
from facevid.description import DESCRIPTION_FILE, FACE_MODEL_FILE, DatasetDescription, FunnelStep
from facevid.failures import Failure, FailureCode, Stage
from facevid.public_urls import public_url
from facevid.release.documents import write_documents
from facevid.schema import TABLES, crops_schema, failures_schema, frames_schema, tracks_schema
from facevid.shards import ShardInfo, shard_of, write_shard_batches
from facevid.splits import Split
from facevid.video_address import video_address
from fitting.face_model import FaceModel
from pipeline.config import stable_hash
from pipeline.items import read_summaries
from pipeline.job import ASSEMBLE_VERSION, Job, result_config
from pipeline.manifest import BadRow, ManifestRow
from pipeline.row_state import RowState, row_state
from pipeline.rows import (
    Labels,
    failures_batch,
    frames_batches,
    tracks_batch,
)
from pipeline.store import Store
from pipeline.stored_tracks import StoredTracks
from pipeline.swap import CONTENT_FILE, new_tables

DIVERGED = "the fit found no face that explains the landmarks of this track"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardOrder:
    """What one shard holds, as references.

    Attributes:
        shard: Index of the shard.
        tracks: Fitted tracks, as (place of the row in the manifest's good rows, index of the track).
        failures: Failures of videos and tracks.
    """

    shard: int
    tracks: tuple[tuple[int, int], ...]
    failures: tuple[Failure, ...]


def references(index: int, row: ManifestRow, job: Job, store: Store) -> tuple[list[int], list[Failure]]:
    """What a finished row gives to the tables.

    Returns:
        The indices of its fitted tracks, and the failures of the whole or of single tracks.

    Raises:
        ValueError: The row is not finished.
    """
    state = row_state(row, job, store)
    if state.next_stage is not None:
        raise ValueError(f"index={index}: row {row.video_id!r} has no result of the stage {state.next_stage} yet")
    if state.failure is not None:
        return [], [state.failure]
    tracks, failures = [], []
    fits = (store.result_path(Stage.FIT, each.fit_key) for each in state.found)
    for track, summary in enumerate(summary for folder in fits for summary in read_summaries(folder)):
        if summary.status == "diverged":
            failures.append(
                Failure(video_id=row.video_id, track=track, url=row.url, stage=Stage.FIT,
                        code=FailureCode.FIT_DIVERGED, attempt=1, message=DIVERGED)
            )  # fmt: skip
        else:
            tracks.append(track)
    return tracks, failures


def bad_row_failure(bad: BadRow) -> Failure:
    """The failure of a manifest row that could not be used."""
    return Failure(
        video_id=bad.video_id, track=None, url=bad.url, stage=Stage.MANIFEST, code=FailureCode.BAD_ROW, attempt=1,
        message=bad.words(),
    )  # fmt: skip


def failure_shard(failure: Failure, shards: int) -> int:
    """The shard of a failure."""
    return shard_of(failure.video_id, failure.track, shards)


_PASSES = 3  # over the tracks of a shard: for the frames, tracks and crops tables


def write_shards(
    order: ShardOrder,
    rows: Sequence[ManifestRow],
    job: Job,
    store: Store,
    model: FaceModel,
    *,
    moved: Mapping[str, Split] = MappingProxyType({}),
    on_frames: Callable[[float], None] = lambda _: None,
) -> list[ShardInfo]:
    """Write one shard of every table that has rows in it.

    Args:
        order: What is in it.
        rows: The manifest's good rows.
        job: The build.
        store: Where the results are.
        model: The face model, for its name.
        moved: Videos that do not fall into their own split, see `FilesOfRows.moved`.
        on_frames: Called after each piece of work with the frames that it stands for; a frame is done when all tables
            have it.

    Returns:
        What was written.
    """
    prune = job.options.prune
    labels = _labels(job, model)
    tracks = sorted(order.tracks, key=lambda pair: (rows[pair[0]].video_id, pair[1]))
    stored = StoredTracks(tracks, rows, job, store, on_read=lambda frames: on_frames(frames / _PASSES))
    written = []
    if tracks:
        written += [
            _write(job, "frames", order.shard, _schemas(job, model)["frames"],
                   (batch for result in stored.results() for batch in frames_batches(result, prune))),
            _write(job, "tracks", order.shard, _schemas(job, model)["tracks"],
                   (tracks_batch(result, prune, labels, split=moved.get(result.row.video_id))
                    for result in stored.results())),
        ]  # fmt: skip
        first = next(batches := stored.crops(), None)
        if first is not None:
            written.append(_write(job, "crops", order.shard, crops_schema(), itertools.chain([first], batches)))
    if order.failures:
        written.append(
            _write(job, "failures", order.shard, failures_schema(), [failures_batch(list(order.failures))])
        )
    return written


def write_description(
    job: Job, model: FaceModel, shards: Iterable[ShardInfo], steps: tuple[FunnelStep, ...], *, content_key: str
) -> None:
    """Finish new tables: empty ones where nothing was written, the face model, the card, and `facevid.json` last.

    Args:
        job: The build.
        model: Its face model.
        shards: What was written.
        steps: What became of every item.
        content_key: From what they were made, see `ContentKey`.
    """
    new = new_tables(job.out)
    listed = list(shards)
    for table, schema in _schemas(job, model).items():
        if all(shard.table != table for shard in listed):
            listed.append(_write(job, table, 0, schema, []))
    storage.write_bytes(new / FACE_MODEL_FILE, job.model_path.read_bytes())
    config = result_config(job)
    description = DatasetDescription(
        program_version=version("facevid"),
        config=config,
        config_hash=stable_hash(config),
        face_model=model.name,
        face_model_sha256=job.model_sha256,
        face_model_licence=model.licence,
        n_identity=model.n_identity,
        n_expression=model.n_expression,
        detector=job.options.faces.detector,
        detector_sha256=job.detector_sha256,
        landmark_scheme=job.options.faces.scheme,
        points=len(model.embedding(job.options.faces.scheme).weights),
        funnel=steps,
        shards=tuple(sorted(listed, key=lambda shard: (TABLES.index(shard.table), shard.path))),
    )
    write_documents(Dataset(root=str(new), description=description))
    storage.write_bytes(new / CONTENT_FILE, json.dumps({"content_key": content_key}).encode())
    storage.write_bytes(new / DESCRIPTION_FILE, description.to_json().encode())


class ContentKey:
    """Hash of all that the tables are made from: while it stays, they need not be made again.

    Args:
        job: The build.
        bad_rows: The manifest's bad rows; the good ones follow by `add`.
    """

    def __init__(self, job: Job, bad_rows: Sequence[BadRow]) -> None:
        self._parts = hashlib.sha256()
        self._add([ASSEMBLE_VERSION, result_config(job), job.detector_sha256, job.model_sha256, version("facevid")])
        for bad in bad_rows:
            self._add(bad)

    def add(self, row: ManifestRow, state: RowState) -> None:
        """The next good row and how far it has come."""
        # What the tables and their splits have of an address: a link that is signed anew changes nothing.
        url = {"url": [public_url(row.url), video_address(row.url)]}
        fetched = asdict(state.fetched) | url if state.fetched else None
        fits = [each.fit_key for each in state.found]
        self._add([asdict(row) | url, fits, fetched, asdict(state.failure) | url if state.failure else None])

    def hexdigest(self) -> str:
        """The hash of what was added so far, as 64 hexadecimal digits."""
        return self._parts.hexdigest()

    def _add(self, part: Any) -> None:
        self._parts.update(stable_hash(part).encode())


def _labels(job: Job, model: FaceModel) -> Labels:
    return Labels(
        detector=job.options.faces.detector, detector_sha256=job.detector_sha256,
        face_model=model.name, face_model_sha256=job.model_sha256,
    )  # fmt: skip


def _schemas(job: Job, model: FaceModel) -> dict[str, pa.Schema]:
    points = len(model.embedding(job.options.faces.scheme).weights)
    return {
        "frames": frames_schema(points=points, n_expression=model.n_expression),
        "tracks": tracks_schema(n_identity=model.n_identity),
        "crops": crops_schema(),
        "failures": failures_schema(),
    }


def _write(job: Job, table: str, shard: int, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> ShardInfo:
    root = str(new_tables(job.out))
    return write_shard_batches(root, table, shard, job.options.shards, schema=schema, batches=batches)
