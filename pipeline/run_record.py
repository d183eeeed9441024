"""`run.json`: how a build went, and the note of when it began. They differ from run to run and are never hashed."""

import json
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from facevid import storage
from pipeline.damage import intact
from pipeline.job import Job

RUN_FILE = "run.json"
_BEGIN_FILE = "begin.json"
_TIME = "%Y-%m-%dT%H:%M:%SZ"

_PACKAGES = (
    "facevid", "apache-beam", "yt-dlp", "numpy", "torch", "pyarrow", "ai-edge-litert", "opencv-python-headless",
)  # fmt: skip


def write_run_record(
    job: Job, *, begun_at: str, wall_s: float, label_s: float, worker_deaths: int, counts: Mapping[str, float]
) -> None:
    """Write `run.json` into the dataset folder.

    Args:
        job: The build.
        begun_at: UTC time of its start, ISO 8601.
        wall_s: Its duration.
        label_s: Duration of labelling.
        worker_deaths: How often a worker process died.
        counts: What was really done, see `progress.Counters`.
    """
    run: dict[str, Any] = {
        "begun_at": begun_at,
        "ended_at": utc_now(),
        "wall_s": round(wall_s, 3),
        "label_s": round(label_s, 3),
        "worker_deaths": worker_deaths,
        "counts": {
            name: round(value, 3) if name.endswith("_s") else int(value) for name, value in sorted(counts.items())
        },
        "faces_frames_per_s": _rate(counts, "decoded_frames", "faces_s"),
        "faces_ms_per_frame": _steps_ms(counts),
        "fit_frames_per_s": _rate(counts, "fitted_frames", "fit_s"),
        "workers": job.options.workers,
        "wave": job.options.wave,
        "fit_batch": job.options.fit_batch,
        "machine": {"platform": platform.platform(), "processor": _processor(), "cpus": os.cpu_count()},
        "versions": {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES},
    }
    storage.write_bytes(job.out / RUN_FILE, (json.dumps(run, indent=2) + "\n").encode())


def write_begin(state: Path, begun_at: str, *, todo: int) -> None:
    """Note in the state folder when this run began, and how many rows it has to do."""
    storage.write_bytes(state / _BEGIN_FILE, json.dumps({"begun_at": begun_at, "todo": todo}).encode())


def read_begin(state: Path) -> tuple[datetime, int] | None:
    """When this or the last run began, and how many rows it had to do; None where none did."""
    file = state / _BEGIN_FILE
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return None
    with intact(file, "remove it: the next build writes another"):
        found = json.loads(data)
        return datetime.strptime(found["begun_at"], _TIME).replace(tzinfo=UTC), int(found["todo"])


def utc_now() -> str:
    """The time of day, UTC, ISO 8601."""
    return datetime.now(UTC).strftime(_TIME)


def _steps_ms(counts: Mapping[str, float]) -> dict[str, float]:
    """Wall time of each step of the faces stage per frame, in videos that had faces."""
    frames = counts.get("tracked_frames")
    steps = (name for name in counts if name.startswith("tracked_") and name.endswith("_s"))
    return {n[len("tracked_") : -len("_s")]: round(1000 * counts[n] / frames, 3) for n in steps} if frames else {}


def _rate(counts: Mapping[str, float], amount: str, seconds: str) -> float | None:
    return round(counts.get(amount, 0) / counts[seconds], 1) if counts.get(seconds) else None


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
