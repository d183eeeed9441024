"""Builds as a user starts them: `python -m facevid build` in a process of its own, and what it left behind."""

import csv
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from facevid.dataset import open_dataset
from pipeline.processes import descendants, kill
from pipeline.usage import memory_bytes

ROOT = Path(__file__).parents[2]

EMPTY = 1
"""Exit status of a build that came to its end without a frame, as one of bad rows alone does."""

_END_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One manifest row, and how it must end.

    Attributes:
        video_id: Its id.
        url: Address or path.
        expected: `ok`, or a failure code.
        attack: It tries to reach, read or write what it must not.
    """

    video_id: str
    url: str
    expected: str
    attack: bool = False


def write_manifest(path: Path, rows: Iterable[Row]) -> Path:
    """Write rows as a CSV manifest."""
    with path.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(["video_id", "url"])
        lines.writerows([row.video_id, row.url] for row in rows)
    return path


def start_build(manifest: Path, out: Path, options: Sequence[str]) -> "subprocess.Popen[bytes]":
    """Start a build in a process group of its own; what it says goes to a log beside the dataset."""
    with out.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "facevid", "build", str(manifest), "--out", str(out), *options],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip


def run_build(manifest: Path, out: Path, options: Sequence[str], *, limit_s: float) -> tuple[int, float]:
    """Run a build to its end.

    Returns:
        Its exit status (-9 where it took longer than the limit, and was ended), and its peak memory in MiB: the
        proportional set size of all its processes together.
    """
    process = start_build(manifest, out, options)
    began_s, peak_bytes = time.monotonic(), 0
    try:
        while process.poll() is None and time.monotonic() - began_s < limit_s:
            peak_bytes = max(peak_bytes, memory_bytes(process.pid))
            time.sleep(0.25)
    finally:
        kill_all(process)
    return process.returncode, peak_bytes / 2**20


def kill_all(process: "subprocess.Popen[bytes]") -> None:
    """kill -9 of a build and everything that it started, all at once."""
    below = descendants(process.pid)
    for pid in (process.pid, *below):
        kill(pid)
    process.wait()


def kill_parent(process: "subprocess.Popen[bytes]") -> None:
    """kill -9 of a build's process group alone: what it started must end by itself."""
    below = descendants(process.pid)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pid in below:
        try:
            watched = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        ended = select.select([watched], [], [], _END_WITHIN_S)[0]
        os.close(watched)
        if not ended:
            raise RuntimeError(f"process {pid} outlived its build by {_END_WITHIN_S:.0f} s")


def outcomes(out: Path) -> dict[str, list[str]]:
    """What became of each video: `ok`, `filtered`, or its failure codes; a good row has exactly one."""
    dataset = open_dataset(out)
    dataset.verify()
    found: dict[str, list[str]] = {}
    for row in dataset.table("failures", columns=["video_id", "track", "code"]).to_pylist():
        if row["track"] is None:
            found.setdefault(row["video_id"], []).append(row["code"])
    kept: dict[str, bool] = {}
    for row in dataset.table("tracks", columns=["video_id", "kept"]).to_pylist():
        kept[row["video_id"]] = kept.get(row["video_id"], False) or row["kept"]
    for video_id, any_kept in kept.items():
        found.setdefault(video_id, []).append("ok" if any_kept else "filtered")
    return found


def data(out: Path) -> dict[str, bytes]:
    """The content of a dataset that must not depend on how it was built: all shards but for the time of downloads."""
    content = {
        str(path.relative_to(out)): path.read_bytes()
        for table in ("frames", "crops", "failures") for path in (out / table).glob("part-*.parquet")
    }  # fmt: skip
    for path in (out / "tracks").glob("part-*.parquet"):
        table = pq.read_table(path).drop_columns(["fetched_at"])
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
        content[str(path.relative_to(out))] = sink.getvalue().to_pybytes()
    return content


def results(out: Path, stage: str) -> int:
    """How many results of a stage are committed in a dataset's store."""
    return sum(1 for _ in (out / "store" / stage).glob("*/*"))
