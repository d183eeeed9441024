"""The steps of both jobs, each called as Beam calls it, over made-up videos."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pretend import LONG_S, Detector, Line, faces, facts_of, fits
from synthetic import MODEL, manifest_of, with_options

from facevid.failures import FailureCode, Stage
from pipeline import assemble_job, label, label_job, marks
from pipeline.driver import Wave
from pipeline.faces.options import FacesOptions
from pipeline.fetch import Fetcher
from pipeline.plan import Plan, read_plan, write_plan
from pipeline.progress import total_counts
from pipeline.row_state import row_state
from pipeline.span_queue import span_queue
from pipeline.store import write_json
from pipeline.wave_queue import WaveQueue


class Steps:
    """The label job's steps over one line, without their own `setup`, which loads networks."""

    def __init__(self, folder: Path, *contents: bytes) -> None:
        self.line = Line(folder)
        self.line.job = with_options(self.line.job, faces=FacesOptions(span_s=20.0))
        self.rows = [self.line.row(f"v{number}", content) for number, content in enumerate(contents)]
        write_plan(Plan(job=self.line.job, manifest=manifest_of(*self.rows)))

    def begin_wave(self, *, workers: int) -> Path:
        """The files of a wave whose elements are turns, as the driver makes them."""
        order = self.line.job.out / "wave.json"
        rows, hosts = list(range(len(self.rows))), [""] * len(self.rows)
        write_json(order, {
            "kind": "label", "out": str(self.line.job.out), "rows": rows, "workers": workers, "fit_batch": 8,
            "beam_options": [], "parent_pid": 1, "hosts": hosts, "may_rest": False,
        })  # fmt: skip
        WaveQueue(order.with_suffix(".queue"), rows, hosts, pause_s=0.0).begin()
        for stage in (Stage.FACES, Stage.FIT):
            span_queue(order, stage).begin()
        return order

    def run(self, step: str, elements: list[Any], order: Path | None = None) -> list[Any]:
        job = label_job if hasattr(label_job, step) else assemble_job
        made: Any = getattr(job, step)(self.line.job.out, **{} if order is None else {"wave_file": order})
        made._plan, made._store = read_plan(self.line.job.out), self.line.store
        if order is not None:
            made._wave = Wave.read(order)
            made._queue = WaveQueue(order.with_suffix(".queue"), made._wave.rows, made._wave.hosts, pause_s=0.0)
        made._bench = made._desk()
        made._fetcher = Fetcher(self.line.job.options.fetch, self.line.store, self.line.folder)
        made._faces, made._model = (Detector(), faces), MODEL
        outputs = [output for element in elements for output in made.process(element)]
        made.finish_bundle()
        self.step = made
        return outputs

    def another(self, order: Path) -> Any:
        """Another worker at the first step, to be driven by hand."""
        self.run("_FetchRows", [], order)
        self.step._faces = Detector(), faces
        return self.step

    def counts(self) -> dict[str, float]:
        return total_counts(self.line.job.state)


@pytest.fixture(autouse=True)
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label, "file_facts", facts_of)
    monkeypatch.setattr("fitting.solver.fit_tracks", fits)


def test_a_long_video_goes_through_in_spans_and_counts_as_one(tmp_path: Path) -> None:
    steps = Steps(tmp_path, b"long")

    spans = steps.run("_FetchRows", [0])

    # Known at once, as the next row may be long in coming.
    assert spans == [(0, 0), (0, 1), (0, 2)]
    counts = steps.counts()
    assert (counts["begun"], counts["video_s"], counts["searched_s"], counts["read"]) == (1, LONG_S, 0, 0)

    found = steps.run("_FindFaces", spans)

    assert found == spans
    counts = steps.counts()
    assert (counts["read"], counts["searched_s"], counts["videos"]) == (pytest.approx(1), pytest.approx(LONG_S), 0)

    steps.run("_FitSpans", [found])

    assert steps.counts()["videos"] == pytest.approx(1)
    assert row_state(steps.rows[0], steps.line.job, steps.line.store).next_stage is None


def test_a_short_video_is_searched_by_who_fetched_it(tmp_path: Path) -> None:
    steps = Steps(tmp_path, b"video", b"black")

    spans = steps.run("_FetchRows", [0, 1])

    assert spans == [(0, 0)]
    counts = steps.counts()
    assert (counts["begun"], counts["read"], counts["videos"]) == (2, 2, 1)
    assert steps.run("_FindFaces", spans) == spans
    assert steps.counts()["read"] == 2


def test_spans_behind_one_that_failed_are_not_searched(tmp_path: Path) -> None:
    steps = Steps(tmp_path, b"long broken")

    spans = steps.run("_FindFaces", steps.run("_FetchRows", [0]))

    assert steps.counts()["decoded_frames"] == 217
    assert steps.line.code(steps.rows[0]) == (Stage.FACES, FailureCode.CORRUPT)
    # The first has something to fit, but not the row.
    assert steps.run("_SpansToFit", [(0, [number for _, number in spans])]) == []
    assert steps.run("_FitSpans", [[(0, 0)]]) == [1]
    counts = steps.counts()
    assert counts["fitted_tracks"] == 0


def test_who_has_no_row_left_searches_the_spans_of_long_videos(tmp_path: Path) -> None:
    steps = Steps(tmp_path, b"long", b"video")
    order = steps.begin_wave(workers=2)

    spans = steps.run("_FetchRows", [0], order)

    assert sorted(spans) == [(0, 0), (0, 1), (0, 2), (1, 0)]
    assert steps.counts()["read"] == pytest.approx(2)
    assert steps.run("_FetchRows", [1], order) == []
    before = steps.counts()["decoded_frames"]
    assert steps.run("_FindFaces", spans, order) == spans
    assert steps.counts()["decoded_frames"] == before


@pytest.mark.parametrize("kind", [b"long", b"video"])
def test_who_finds_no_row_waits_for_what_another_fetches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: bytes
) -> None:
    steps = Steps(tmp_path, kind)
    order = steps.begin_wave(workers=2)
    other = steps.another(order)
    assert other._queue.take() == (0, "")
    fetched: list[tuple[int, int]] = []
    looks: list[float] = []

    def slow(wait_s: float) -> None:
        looks.append(wait_s)
        if len(looks) == 9:  # it has come at last
            fetched.extend(other._row(0, ""))

    monkeypatch.setattr(label_job, "sleep", slow)

    # The spans are the other's to hand on, who fetched the row; this one only searches them.
    assert steps.run("_FetchRows", [1], order) == []

    assert len(looks) == 9
    spans = {b"long": 3, b"video": 1}[kind]
    assert fetched == [(0, number) for number in range(spans)]
    assert steps.counts()["read"] == pytest.approx(1)
    state = row_state(steps.rows[0], steps.line.job, steps.line.store)
    assert all(span.next_stage is Stage.FIT for span in state.spans)


def test_who_finds_no_row_waits_no_longer_than_a_fetch_may_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps(tmp_path, b"long")
    order = steps.begin_wave(workers=2)
    assert steps.another(order)._queue.take() == (0, "")
    waits: list[float] = []
    monkeypatch.setattr(label_job, "sleep", waits.append)
    monkeypatch.setattr(label_job, "_LOOK_EVERY_S", 600.0)

    assert steps.run("_FetchRows", [1], order) == []

    # Both might have fetched from one host, one after the other.
    assert sum(waits) == pytest.approx(2 * steps.line.job.options.limits.fetch_s)


def test_nobody_waits_for_a_worker_that_met_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(tmp_path, b"long")
    order = steps.begin_wave(workers=2)
    other = steps.another(order)
    monkeypatch.setattr(label, "file_facts", lambda *_: 1 / 0)
    row = other._queue.take()
    assert not other._queue.over()

    with pytest.raises(ZeroDivisionError):
        list(other._row(*row))

    assert other._queue.over()


def test_networks_are_closed_before_anything_is_fitted(tmp_path: Path) -> None:
    steps = Steps(tmp_path, b"video")

    steps.run("_FetchRows", [0])
    assert steps.step._faces is not None  # elsewhere, the next bundle may need them
    steps.run("_FetchRows", [0], steps.begin_wave(workers=2))
    assert steps.step._faces is None


def test_spans_that_come_when_a_worker_has_gone_on_are_shared_at_the_next_step(tmp_path: Path) -> None:
    steps = Steps(tmp_path, b"long")
    order = steps.begin_wave(workers=2)
    span_queue(order, Stage.FACES).hold()

    spans = steps.run("_FetchRows", [0], order)

    assert (steps.counts()["fetched"], steps.counts()["decoded_frames"]) == (1, 0)
    # Whoever has a turn first takes them all here; as many workers have one as there are spans.
    steps.run("_FindFaces", spans[2:], order)
    assert steps.counts()["searched_s"] == pytest.approx(LONG_S)


def test_spans_are_fitted_by_whoever_is_free_until_none_is_left(tmp_path: Path) -> None:
    steps = Steps(tmp_path, b"long", b"video", b"black")
    order = steps.begin_wave(workers=2)
    spans = steps.run("_FindFaces", steps.run("_FetchRows", [0], order), order)
    ready = steps.run("_SpansToFit", [(0, [0, 1, 2]), (1, [0])], order)
    assert ready == [(0, 0), (0, 1), (0, 2), (1, 0)] == sorted(spans)

    waiting = span_queue(order, Stage.FIT)
    # The two faces of the short video have the most frames.
    assert waiting.take(most=8, workers=2) == [(1, 0)]
    waiting.offer([(400.0, 1, 0)])
    steps.run("_FitSpans", [ready[:1]], order)

    assert waiting.take() == []
    assert all(row_state(row, steps.line.job, steps.line.store).next_stage is None for row in steps.rows)
    assert steps.counts()["videos"] == pytest.approx(3)
    # A turn for which nothing is left loads nothing.
    assert steps.run("_FitSpans", [ready[1:]], order) == [3]


def test_only_what_is_left_of_a_video_is_given_out_again(tmp_path: Path) -> None:
    steps = Steps(tmp_path, b"long")
    spans = steps.run("_FetchRows", [0])
    steps.run("_FindFaces", spans[:2])

    assert steps.run("_FetchRows", [0]) == spans
    before = steps.counts()["decoded_frames"]
    steps.run("_FitSpans", [steps.run("_FindFaces", spans)[1:]])

    assert steps.counts()["fetched"] == 1
    assert steps.counts()["decoded_frames"] == before + 105 + 17
    assert steps.run("_FetchRows", [0]) == [(0, 0)]


def test_who_searches_a_later_span_is_given_time_to_decode_what_comes_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []

    def in_hand(*what: Any, quiet_s: float = 0.0, key: str = "") -> Any:
        given.append(quiet_s)
        return marks.in_hand(*what, quiet_s=quiet_s, key=key)

    steps = Steps(tmp_path, b"long")
    spans = steps.run("_FetchRows", [0])
    monkeypatch.setattr(label_job, "in_hand", in_hand)

    steps.run("_FindFaces", spans)

    assert given == [0.0, 20.0, 40.0]


def test_all_rows_and_frames_are_counted_when_the_tables_are_written(tmp_path: Path) -> None:
    steps = Steps(tmp_path, b"video", b"long", b"black")
    for number in range(3):
        spans = steps.run("_FindFaces", steps.run("_FetchRows", [number]))
        if spans:
            steps.run("_FitSpans", [spans])

    listed = steps.run("_ListReferences", [0, 1, 2])
    by_shard = {shard: [text for where, text in listed if where == shard] for shard, _ in listed}
    steps.run("_WriteShards", list(by_shard.items()))

    counts = steps.counts()
    frames = sum(pq.read_metadata(path).num_rows for path in (steps.line.job.out / "frames").iterdir())
    assert frames > 0
    assert (counts["listed"], counts["assembled_frames"]) == (3, pytest.approx(frames))
