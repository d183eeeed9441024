"""The second half of a build: when every row has its result, write the tables, unless they are up to date."""

import itertools
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from facevid import storage
from facevid.dataset import open_dataset
from facevid.description import DESCRIPTION_FILE, FACE_MODEL_FILE, DatasetDescription, DatasetError, FunnelStep
from facevid.failures import FailureCode
from facevid.release.documents import has_documents, is_own_card, write_documents
from facevid.shards import ShardInfo
from fitting.face_model import FaceModel
from pipeline.assemble import ContentKey, write_description
from pipeline.driver import BuildError, Driver
from pipeline.funnel import Census, take_census, with_reasons
from pipeline.job import Job
from pipeline.manifest import Manifest, ManifestRow
from pipeline.rejects import unknown_tracks
from pipeline.row_split import FilesOfRows, write_moved
from pipeline.row_state import RowState
from pipeline.store import Store
from pipeline.swap import CONTENT_FILE, drop_new_tables, new_tables, swap_tables
from pipeline.tell import LookTeller, Teller

FINISHED_FILE = "finished.json"

_ATTEMPTS = 3
# A worker process takes seconds to start, in which one that runs assembles this many.
_VIDEOS_WORTH_A_WORKER = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembled:
    """What assembling did.

    Attributes:
        written: Whether the tables were written; false where they were up to date and nothing was done.
        worker_deaths: How often a worker process died.
        failures: Number of failures per code in the tables.
    """

    written: bool
    worker_deaths: int
    failures: Mapping[FailureCode, int]


def assemble(
    job: Job,
    rows: Manifest,
    model: FaceModel,
    store: Store,
    driver: Driver,
    *,
    teller: Teller,
    report: Callable[[str], None],
) -> Assembled:
    """Write the tables of a build whose rows all have their results; the old ones stand until the new ones are whole.

    Args:
        job: The build.
        rows: The manifest.
        model: The face model of the job.
        store: Where the results are.
        driver: Runs the Beam job.
        teller: Is told what there is to do; says how far it is while the driver waits.
        report: Receives progress lines.

    Raises:
        BuildError: It died again and again, or the tables do not hold what the funnel counts.
    """
    census, key, files = _look(rows, job, store, report)
    steps = census.steps
    if _up_to_date(job.out, job.state / CONTENT_FILE, key):
        if not has_documents(str(job.out)):  # somebody removed them, or an earlier version wrote none
            write_documents(open_dataset(job.out))
        storage.write_bytes(job.state / FINISHED_FILE, b"{}")
        report("assemble: the tables are up to date")
        _tell_unknown_tracks(job, rows, report)
        return Assembled(written=False, worker_deaths=0, failures=census.failures)
    moved = files.moved(rows.rows)
    write_moved(job.state, moved)
    if moved:
        report(
            f"assemble: {len(moved)} videos, such as {min(moved)!r}, get the split of another one that shows the same "
            "file, so that nothing is trained on and tested on"
        )
    report("assemble: writing shards")
    drop_new_tables(job.out)
    from_shards = job.state / "assembled"
    for name in storage.list_files(from_shards):
        storage.remove(from_shards / name)
    everything = range(len(rows.rows) + len(rows.bad_rows))
    workers = min(job.options.workers, 1 + len(everything) // _VIDEOS_WORTH_A_WORKER)
    frames = next(step.entered for step in steps if step.step == "frames")
    teller.assemble(rows=len(everything), frames=frames)
    deaths = 0
    while driver.run("assemble", everything, workers=workers).died:
        deaths += 1
        if deaths == _ATTEMPTS:
            raise BuildError(f"assembling died {deaths} times; see the logs in {job.state / 'waves'}")
        teller.assemble(rows=len(everything), frames=frames)
    shards = [
        ShardInfo(**info)
        for name in storage.list_files(from_shards)
        for info in json.loads(storage.read_bytes(from_shards / name))
    ]
    _check_rows(shards, steps, failures=sum(census.failures.values()))
    steps = with_reasons(steps, new_tables(job.out), shards)
    write_description(job, model, shards, steps, content_key=key)
    swap_tables(job.out)
    if not is_own_card(str(job.out)):
        report("assemble: README.md was edited, or is not ours, and stays; without it, the next build writes a new one")
    _tell_unknown_tracks(job, rows, report)
    storage.write_bytes(job.state / FINISHED_FILE, b"{}")
    return Assembled(written=True, worker_deaths=deaths, failures=census.failures)


def _tell_unknown_tracks(job: Job, rows: Manifest, report: Callable[[str], None]) -> None:
    if not job.rejects:
        return
    table = open_dataset(job.out).table("tracks", columns=["video_id", "track"])
    found = zip(table["video_id"].to_pylist(), table["track"].to_pylist(), strict=True)
    if unknown := unknown_tracks(job.rejects, rows.rows, found):
        report(f"entries of the reject list whose video has no such track: {len(unknown)}, such as {unknown[0]!r}")


def _look(rows: Manifest, job: Job, store: Store, report: Callable[[str], None]) -> tuple[Census, str, FilesOfRows]:
    """What became of every row, the key of what they give to the tables, and their files; each is looked at once."""
    key, files = ContentKey(job, rows.bad_rows), FilesOfRows()
    places = itertools.count()
    looked = LookTeller("counting results", len(rows.rows), report)

    def on_row(row: ManifestRow, state: RowState) -> None:
        key.add(row, state)
        place = next(places)
        if state.fetched is not None:
            files.add(place, row, state.fetched.sha256)
        looked.seen()

    return take_census(rows, job, store, on_row=on_row), key.hexdigest(), files


def _up_to_date(out: Path, done: Path, key: str) -> bool:
    try:
        if json.loads(storage.read_bytes(done))["content_key"] != key:
            return False
        description = DatasetDescription.from_json(storage.read_bytes(out / DESCRIPTION_FILE).decode())
        if not storage.exists(out / FACE_MODEL_FILE):
            return False
        return all(storage.size_bytes(out / shard.path) == shard.bytes for shard in description.shards)
    except (FileNotFoundError, DatasetError, ValueError, TypeError, LookupError, RecursionError):
        return False  # damaged ones are written anew


def _check_rows(shards: Sequence[ShardInfo], steps: tuple[FunnelStep, ...], *, failures: int) -> None:
    # The funnel is counted from the store, the shards were written by others: two witnesses.
    by_step = {step.step: step for step in steps}
    for before, after in (("manifest", "fetch"), ("fetch", "faces"), ("tracks", "fit")):
        if by_step[before].ok != by_step[after].entered:
            raise BuildError(f"{by_step[before].ok} passed {before}, but {by_step[after].entered} entered {after}")
    rows: Counter[str] = Counter()
    for shard in shards:
        rows[shard.table] += shard.rows
    wanted = {
        "frames": by_step["frames"].entered,
        "tracks": by_step["fit"].ok + by_step["fit"].filtered,
        "failures": failures,
    }
    for table, count in wanted.items():
        if rows[table] != count:
            raise BuildError(f"the shards of {table} have {rows[table]} rows, but the funnel counts {count}")
