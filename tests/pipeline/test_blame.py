"""Who pays when a worker dies over a long video: the part that it had in hand."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pretend import Detector, Line, faces, facts_of, fits, pieces
from synthetic import MODEL, manifest_of, with_options

from facevid.failures import FailureCode, Stage
from pipeline import worker_count
from pipeline.blame import Labeller
from pipeline.desk import Desk
from pipeline.driver import BuildError, Driver, WaveEnd
from pipeline.faces.options import FacesOptions
from pipeline.fetch import Fetcher
from pipeline.fetched_video import FetchedVideo
from pipeline.fit_spans import fit_spans
from pipeline.label import VideoFetcher, fetch_row, find_faces
from pipeline.manifest import ManifestRow
from pipeline.marks import Mark
from pipeline.progress import Counters
from pipeline.reading import FileFacts
from pipeline.row_state import row_state
from pipeline.store import Store, file_sha256
from pipeline.watch import Verdict, Watch

PID = 4711
LATE = Verdict(code=FailureCode.TIMEOUT, message="faces took longer than the limit faces_s=1")


class Watched(Watch):
    """Ends whoever dies, or nobody."""

    def __init__(self, verdict: Verdict | None) -> None:
        self._verdict = verdict

    def expect(self, *, workers: int) -> None:
        pass

    def verdict(self, pid: int) -> Verdict | None:
        return self._verdict


class Web:
    """Where a video is that is not here yet."""

    def __init__(self, store: Store, content: bytes) -> None:
        self._store, self._content = store, content

    def fetch(self, url: str) -> FetchedVideo:
        with self._store.scratch() as scratch:
            file = scratch / "video"
            file.write_bytes(self._content)
            sha256 = file_sha256(file)
            path = self._store.add_video(file, sha256)
        return FetchedVideo(
            sha256=sha256, path=path, url=url, title=None, uploader=None, licence=None,
            fetched_at="2026-01-01T00:00:00Z", bytes=len(self._content),
        )  # fmt: skip


class Talk(Driver):
    """One video of three spans, and a driver whose workers die where they are told to."""

    def __init__(
        self, folder: Path, *deaths: tuple[Stage, int], content: bytes = b"long", on_web: bool = False
    ) -> None:
        self.line = Line(folder)
        self.line.job = with_options(self.line.job, faces=FacesOptions(span_s=20.0), shards=1)
        self.row: ManifestRow = self.line.row("talk", content)
        self.source: VideoFetcher = Fetcher(self.line.job.options.fetch, self.line.store, folder)
        if on_web:
            self.row = replace(self.row, url="https://x.org/talk")
            self.source = Web(self.line.store, content)
        self.desk = Desk(job=self.line.job, store=self.line.store, counters=Counters(self.line.job.state))
        self.deaths = list(deaths)
        self.waves: list[tuple[int, int]] = []
        self.reported: list[str] = []

    def run(
        self, kind: str, rows: Sequence[int], *, workers: int, fit_batch: int = 1, leave_long: bool = False, **_: Any
    ) -> WaveEnd:
        self.waves.append((workers, len(self.deaths)))
        fetch_row(self.row, self.desk, self.source, facts_of)
        if leave_long and len(row_state(self.row, self.line.job, self.line.store).spans) > 1:
            return WaveEnd(died=False)
        if self.deaths:
            stage, number = self.deaths.pop(0)
            if stage is Stage.FIT:
                self.work(find_faces, Detector(), faces)
            span = row_state(self.row, self.line.job, self.line.store).spans[number]
            key = span.faces_key if stage is Stage.FACES else span.fit_key
            mark = Mark(video_ids=("talk",), stage=stage, pid=PID, since_s=0.0, key=key)
            return WaveEnd(died=True, left=(mark,))
        self.work(find_faces, Detector(), faces)
        fit_spans(pieces(self.row, self.line.job), self.desk, MODEL, fits)
        return WaveEnd(died=False)

    def work(self, do: Callable[..., None], *with_what: Any) -> None:
        for piece in pieces(self.row, self.line.job):
            do(piece, self.desk, *with_what)

    def label(self, verdict: Verdict | None, *, kills: Sequence[int] = (0, 0)) -> None:
        watch = Watched(verdict)
        labeller = Labeller(
            self.line.job, manifest_of(self.row), self.line.store, self, watch, report=self.reported.append,
            kills=iter(kills).__next__,
        )  # fmt: skip
        labeller.label([0])

    def failures(self) -> dict[int, str]:
        spans = row_state(self.row, self.line.job, self.line.store).spans
        return {number: span.failure.message for number, span in enumerate(spans) if span.failure is not None}


@pytest.mark.parametrize("stage", [Stage.FACES, Stage.FIT])
def test_a_span_that_took_too_long_is_the_one_that_is_recorded(tmp_path: Path, stage: Stage) -> None:
    talk = Talk(tmp_path, (stage, 2))

    talk.label(LATE)

    # The spans before it have their results, and the video fails by the one that failed.
    assert talk.failures() == {2: f"{LATE.message} (from 40 s on)"}
    assert talk.line.code(talk.row) == (stage, FailureCode.TIMEOUT)
    assert talk.reported == [f"label: talk is given up as timeout: {LATE.message} (from 40 s on)"]


def test_a_span_that_takes_its_worker_down_twice_is_the_one_that_is_recorded(tmp_path: Path) -> None:
    talk = Talk(tmp_path, (Stage.FACES, 1), (Stage.FACES, 1))

    talk.label(None)

    assert list(talk.failures()) == [1]
    assert talk.failures()[1].endswith("(from 20 s to 40 s)")
    assert talk.line.code(talk.row) == (Stage.FACES, FailureCode.WORKER_DIED)


def test_one_long_video_may_lose_many_workers_without_ending_the_build(tmp_path: Path) -> None:
    talk = Talk(tmp_path, *((Stage.FACES, number) for number in (2, 1, 0)))

    talk.label(LATE)

    assert list(talk.failures()) == [0, 1, 2]
    assert talk.line.code(talk.row) == (Stage.FACES, FailureCode.TIMEOUT)


@pytest.mark.parametrize(("verdict", "waves"), [(LATE, [3, 2]), (None, [3, 1])])
def test_all_workers_share_the_spans_of_one_long_video_until_it_is_a_suspect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verdict: Verdict | None, waves: list[int]
) -> None:
    monkeypatch.setattr(worker_count, "_facts_at_once", lambda *_: FileFacts(duration_s=60.0))
    talk = Talk(tmp_path, (Stage.FACES, 1))
    talk.line.job = with_options(talk.line.job, workers=8)

    talk.label(verdict)

    # What the file says before it is fetched; then those that are left, or alone.
    assert [workers for workers, _ in talk.waves] == waves


@pytest.mark.parametrize(("content", "waves"), [(b"video", [1]), (b"long", [1, 3])])
def test_one_video_of_the_web_has_one_worker_until_it_shows_that_it_is_long(
    tmp_path: Path, content: bytes, waves: list[int]
) -> None:
    talk = Talk(tmp_path, content=content, on_web=True)
    talk.line.job = with_options(talk.line.job, workers=8)

    talk.label(None)

    assert [workers for workers, _ in talk.waves] == waves
    assert talk.line.code(talk.row) is None


def test_a_clip_of_the_web_has_workers_for_its_spans_at_once(tmp_path: Path) -> None:
    talk = Talk(tmp_path, on_web=True)
    talk.row = replace(talk.row, end_s=40.0)
    talk.line.job = with_options(talk.line.job, workers=8)

    talk.label(None)

    assert [workers for workers, _ in talk.waves] == [2]
    assert talk.line.code(talk.row) is None


def test_the_wave_that_fetched_a_long_video_is_none_of_the_barren_ones(tmp_path: Path) -> None:
    talk = Talk(tmp_path, on_web=True)
    talk.line.job = with_options(talk.line.job, workers=8)
    before = talk.run
    deaths = [False, True, True]

    def run(*args: Any, **options: Any) -> WaveEnd:
        return WaveEnd(died=True) if deaths and deaths.pop(0) else before(*args, **options)

    talk.run = run  # type: ignore[method-assign]

    talk.label(None)

    assert talk.line.code(talk.row) is None


def test_a_wave_that_did_not_even_fetch_its_only_row_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = Talk(tmp_path, on_web=True)
    talk.line.job = with_options(talk.line.job, workers=8)
    monkeypatch.setattr(talk, "run", lambda *_, **__: WaveEnd(died=False))

    with pytest.raises(BuildError, match="left 1 rows unfinished without a word"):
        talk.label(None)


@pytest.mark.parametrize(("kills", "words"), [
    ((7, 10), r"has ended 3 processes for lack of memory, .* more memory, or use fewer workers than 4 \(--workers\)"),
    ((7, 7), "worker processes die or hang before they take a video in hand"),
])  # fmt: skip
def test_workers_that_the_system_ends_at_once_for_their_memory_are_told_apart(
    kills: tuple[int, int], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = Talk(tmp_path)
    monkeypatch.setattr(worker_count, "_facts_at_once", lambda *_: FileFacts(duration_s=600.0))
    talk.line.job = with_options(talk.line.job, workers=4)
    monkeypatch.setattr(talk, "run", lambda *_, **__: WaveEnd(died=True))

    with pytest.raises(BuildError, match=words):
        talk.label(None, kills=kills)


def test_a_worker_that_dies_before_it_has_begun_costs_the_row_its_next_step(tmp_path: Path) -> None:
    talk = Talk(tmp_path)
    talk.deaths = [(Stage.FACES, 0)] * 2
    before = talk.run

    def run(*args: Any, **options: Any) -> WaveEnd:
        end = before(*args, **options)
        return WaveEnd(died=end.died, left=tuple(replace(mark, stage=Stage.FETCH, key="x") for mark in end.left))

    talk.run = run  # type: ignore[method-assign]

    talk.label(None)

    assert list(talk.failures()) == [0]
