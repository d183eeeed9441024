from pathlib import Path

import pytest
from pretend import Line
from synthetic import MODEL, with_options

from pipeline import worker_count
from pipeline.config import BuildOptions, LimitOptions
from pipeline.forecast import forecast_text
from pipeline.manifest import Manifest, ManifestRow
from pipeline.plan import read_plan
from pipeline.waves import Waves
from pipeline.worker_count import WORKER_BYTES, workers_at_once


@pytest.mark.parametrize(("asked", "memory", "used"), [
    (8, 3.5, 3), (8, 8.0, 8), (8, 7.99, 7), (1, 0.5, 1), (2, 0.5, 1), (2, 100.0, 2),
])  # fmt: skip
def test_no_more_workers_are_used_than_there_is_memory_for(asked: int, memory: float, used: int) -> None:
    share = int(memory * WORKER_BYTES)

    workers, fewer = workers_at_once(BuildOptions(workers=asked), share=lambda workers: share // workers)

    assert workers == used
    assert (fewer is None) is (memory >= asked)
    told = BuildOptions(workers=asked, limits=LimitOptions(worker_memory_bytes=1 << 29))
    assert workers_at_once(told, share=lambda workers: share // workers) == (asked, None)


def test_too_many_workers_are_told_of_before_work_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_count, "memory_per_worker_bytes", lambda workers: int(3.5 * WORKER_BYTES) // workers)
    line = Line(tmp_path)
    job = with_options(line.job, workers=8)
    rows = Manifest(rows=(ManifestRow(video_id="a", url="a.mp4"),), bad_rows=(), folder=tmp_path)
    words = f"workers: 8 x {WORKER_BYTES / 1e9:.1f} GB > {3.5 * WORKER_BYTES / 1e9:.1f} GB of memory, using 3"

    text = forecast_text(rows, job, skip_bad_rows=False, networks_missing=False)
    said: list[str] = []
    job.state.mkdir(parents=True)
    made = Waves(job, rows, MODEL, beam_options=(), retry=frozenset(), report=said.append, lock=0)

    assert words in text
    assert "\n3 workers; " in text
    assert said[0].startswith(words)
    assert made._job.options.workers == 3
    assert read_plan(job.out).job.options.workers == 8  # another machine may take it up
