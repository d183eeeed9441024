from pathlib import Path
from typing import Any

import pytest
from pretend import Detector, Line, faces, facts_of, fits, pieces
from synthetic import MODEL, with_options

from pipeline import reading, worker_count
from pipeline.config import BuildOptions, LimitOptions
from pipeline.desk import Desk
from pipeline.faces.errors import DecoderMemoryError, DecoderTimeoutError
from pipeline.faces.limits import DecodeLimits
from pipeline.faces.options import FacesOptions
from pipeline.fetch import Fetcher
from pipeline.fit_spans import fit_spans
from pipeline.forecast import forecast_text
from pipeline.label import fetch_row, find_faces
from pipeline.manifest import Manifest, ManifestRow
from pipeline.plan import read_plan
from pipeline.progress import Counters
from pipeline.reading import FileFacts
from pipeline.waves import Waves
from pipeline.worker_count import WORKER_BYTES, workers_at_once, workers_for


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


def test_a_long_video_alone_has_as_many_workers_as_spans_with_something_to_do(tmp_path: Path) -> None:
    line = Line(tmp_path)
    line.job = with_options(line.job, faces=FacesOptions(span_s=20.0))
    row = line.row("talk", b"long")  # 61 s
    desk = Desk(job=line.job, store=line.store, counters=Counters(line.job.state))

    def workers(*rows: ManifestRow, most: int = 8) -> int:
        return workers_for(rows, line.job, line.store, most=most, facts_of=facts_of)

    assert workers(row) == 3
    fetch_row(row, desk, Fetcher(line.job.options.fetch, line.store, tmp_path), facts_of)
    assert (workers(row), workers(row, most=2)) == (3, 2)
    for piece in pieces(row, line.job):
        find_faces(piece, desk, Detector(), faces)
    assert workers(row) == 3
    spans = pieces(row, line.job)
    fit_spans(spans[:2], desk, MODEL, fits)
    assert workers(row) == 1


@pytest.mark.parametrize(("said_s", "count"), [(5.0, 1), (61.0, 3), (1e12, 8), (None, 1)])
def test_a_local_video_alone_has_no_more_workers_than_it_is_long_for(
    tmp_path: Path, said_s: float | None, count: int
) -> None:
    line = Line(tmp_path)
    line.job = with_options(line.job, faces=FacesOptions(span_s=20.0))
    row = line.row("talk", b"video")

    def says(_: Path, limits: object) -> FileFacts:
        return FileFacts(duration_s=said_s)

    assert workers_for([row], line.job, line.store, most=8, facts_of=says) == count


def test_what_cannot_be_asked_for_its_length_has_one_worker_and_what_is_on_the_web_has_all(tmp_path: Path) -> None:
    line = Line(tmp_path)

    def breaks(path: Path, limits: object) -> FileFacts:
        raise DecoderMemoryError(f"{path.name} took too much memory")

    def workers(row: ManifestRow) -> int:
        return workers_for([row], line.job, line.store, most=8, facts_of=breaks)

    assert workers(line.row("talk", b"video")) == 1
    assert workers(ManifestRow(video_id="gone", url="gone.mp4")) == 1
    assert workers(ManifestRow(video_id="web", url="https://example.org/a.mp4")) == 8


def test_a_file_that_does_not_tell_its_length_at_once_has_all_workers_and_is_the_last_to_be_asked(
    tmp_path: Path,
) -> None:
    line = Line(tmp_path)
    rows = [line.row(name, name.encode()) for name in ("short", "hangs", "too")]
    asked: list[tuple[str, float]] = []

    def facts(path: Path, limits: DecodeLimits) -> FileFacts:
        asked.append((path.stem, limits.decoder_stall_s))
        if path.stem != "short":
            raise DecoderTimeoutError(f"{path.name} took too long")
        return FileFacts(duration_s=5.0)

    known_s: dict[Path, float | None] = {}
    counts = [
        workers_for(wave, line.job, line.store, most=8, known_s=known_s, facts_of=facts) for wave in (rows, rows[:2])
    ]

    assert counts == [8, 8]
    assert asked == [("short", 3.0), ("hangs", 3.0)]


def test_a_file_is_asked_for_its_length_for_seconds_however_patient_the_build_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = Line(tmp_path)
    line.job = with_options(line.job, limits=LimitOptions(decoder_stall_s=600.0))
    given: list[float] = []

    def hangs(path: Path, limits: DecodeLimits) -> Any:
        given.append(limits.decoder_stall_s)
        raise DecoderTimeoutError(f"{path.name} took too long")

    monkeypatch.setattr(reading, "probe", hangs)

    assert workers_for([line.row("talk", b"video")], line.job, line.store, most=2) == 2
    assert given == [3.0]


def test_clips_that_the_manifest_asks_for_have_no_more_workers_than_spans(tmp_path: Path) -> None:
    line = Line(tmp_path)
    short, long = (ManifestRow(video_id=str(s), url=f"{s}", start_s=60.0, end_s=60.0 + s) for s in (5.0, 350.0))

    counts = [workers_for(rows, line.job, line.store, most=8) for rows in ((short,), (short, short), (long, short))]

    assert counts == [1, 2, 4]
