"""The steps of both jobs, each called as Beam calls it, over made-up videos."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pretend import LONG_S, Detector, Line, faces, facts_of, fits
from synthetic import manifest_of, with_options

from facevid.failures import FailureCode, Stage
from pipeline import assemble_job, fetch_step, find_step, label, marks
from pipeline.faces.options import FacesOptions
from pipeline.fetch_step import FetchRows
from pipeline.find_step import FindFaces
from pipeline.fit_steps import FitSpans, SpansToFit
from pipeline.plan import Plan, write_plan
from pipeline.progress import total_counts
from pipeline.row_split import own_split, write_moved
from pipeline.row_state import row_state
from pipeline.steps import LabelStep, Step
from pipeline.swap import new_tables
from pipeline.wave import Wave, span_queue


class Steps:
    """The steps of both jobs over one line, in a wave of all its rows."""

    def __init__(self, folder: Path, *contents: bytes, workers: int = 1) -> None:
        self.line = Line(folder)
        self.line.job = with_options(self.line.job, faces=FacesOptions(span_s=20.0))
        self.rows = [self.line.row(f"v{number}", content) for number, content in enumerate(contents)]
        write_plan(Plan(job=self.line.job, manifest=manifest_of(*self.rows)))
        self.wave_file = self.line.job.out / "wave.json"
        self.begin_wave(workers=workers)

    def begin_wave(self, *, workers: int = 1, leave_long: bool = False) -> None:
        places = tuple(range(len(self.rows)))
        Wave(
            kind="label", out=self.line.job.out, rows=places, hosts=("",) * len(places), workers=workers, fit_batch=8,
            beam_options=(), parent_pid=1, leave_long=leave_long,
        ).begin(self.wave_file)  # fmt: skip

    def worker(self, step: type[Step]) -> Any:
        """A worker at one step, to be driven by hand."""
        labels = issubclass(step, LabelStep)
        made: Any = step(self.line.job.out, self.wave_file) if labels else step(self.line.job.out)
        made.setup()
        return made

    def run(self, step: type[Step], elements: Iterable[Any]) -> list[Any]:
        made = self.worker(step)
        outputs = [output for element in elements for output in made.process(element)]
        made.finish_bundle()
        return outputs

    def label(self) -> None:
        """All steps of the label job, one after the other."""
        spans = self.run(FindFaces, self.run(FetchRows, range(len(self.rows))))
        found = [(index, [number for own, number in spans if own == index]) for index in dict(spans)]
        self.run(FitSpans, self.run(SpansToFit, found))

    def counts(self) -> dict[str, float]:
        return total_counts(self.line.job.state)


@pytest.fixture(autouse=True)
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label, "file_facts", facts_of)
    monkeypatch.setattr("fitting.solver.fit_tracks", fits)
    monkeypatch.setattr("pipeline.egress.service.find_egress", lambda *_: None)  # their videos are files
    monkeypatch.setattr(find_step.FacesStep, "_open_faces", lambda _: (Detector(), faces))


def test_a_long_video_goes_through_in_spans_and_counts_as_one(tmp_path: Path) -> None:
    steps = Steps(tmp_path, b"long", workers=2)
    fetcher = steps.worker(FetchRows)

    spans = list(fetcher._row(*fetcher._rows.take()))

    # Known at once, as the next row may be long in coming.
    assert spans == [(0, 0), (0, 1), (0, 2)]
    counts = steps.counts()
    assert (counts["begun"], counts["video_s"], counts["searched_s"], counts["read"]) == (1, LONG_S, 0, 0)

    assert steps.run(FindFaces, spans) == spans

    counts = steps.counts()
    assert (counts["read"], counts["searched_s"], counts["videos"]) == (pytest.approx(1), pytest.approx(LONG_S), 0)

    ready = steps.run(SpansToFit, [(0, [0, 1, 2])])
    steps.run(FitSpans, ready)

    assert ready == spans
    assert steps.counts()["videos"] == pytest.approx(1)
    assert row_state(steps.rows[0], steps.line.job, steps.line.store).next_stage is None


def test_a_short_video_is_searched_by_who_fetched_it(tmp_path: Path) -> None:
    steps = Steps(tmp_path, b"video", b"black")

    spans = steps.run(FetchRows, [0])

    assert spans == [(0, 0)]
    counts = steps.counts()
    assert (counts["begun"], counts["read"], counts["videos"]) == (2, 2, 1)
    assert steps.run(FindFaces, spans) == spans
    assert steps.counts()["read"] == 2


def test_a_video_at_which_ffmpeg_always_ends_as_if_asked_to_costs_no_worker(tmp_path: Path) -> None:
    steps = Steps(tmp_path, b"interrupted", b"video")

    steps.run(FetchRows, [0])

    assert steps.line.code(steps.rows[0]) == (Stage.FACES, FailureCode.CORRUPT)
    assert steps.counts()["read"] == 2
    assert not marks.read_marks(steps.line.job.state)


def test_where_long_videos_are_left_they_are_fetched_and_nothing_else(tmp_path: Path) -> None:
    steps = Steps(tmp_path, b"long", b"video")
    steps.begin_wave(leave_long=True)

    assert steps.run(FetchRows, [0]) == [(1, 0)]

    counts = steps.counts()
    assert (counts["fetched"], counts["begun"], counts["read"]) == (2, 1, 1)
    steps.begin_wave()
    assert steps.run(FetchRows, [0]) == [(0, 0), (0, 1), (0, 2), (1, 0)]


def test_spans_behind_one_that_failed_are_not_searched(tmp_path: Path) -> None:
    steps = Steps(tmp_path, b"long broken")
    worker = steps.worker(FetchRows)

    spans = list(worker._row(0, ""))
    for span in spans:
        worker.find(*span)

    assert steps.counts()["decoded_frames"] == 217
    assert steps.line.code(steps.rows[0]) == (Stage.FACES, FailureCode.CORRUPT)
    # The first has something to fit, but not the row.
    assert steps.run(SpansToFit, [(0, [number for _, number in spans])]) == []
    assert steps.run(FitSpans, [(0, 0)]) == [(0, 0)]
    counts = steps.counts()
    assert counts["fitted_tracks"] == 0


def test_who_has_no_row_left_searches_the_spans_of_long_videos(tmp_path: Path) -> None:
    steps = Steps(tmp_path, b"long", b"video", workers=2)

    spans = steps.run(FetchRows, [0])

    assert sorted(spans) == [(0, 0), (0, 1), (0, 2), (1, 0)]
    assert steps.counts()["read"] == pytest.approx(2)
    assert steps.run(FetchRows, [1]) == []
    before = steps.counts()["decoded_frames"]
    assert steps.run(FindFaces, spans) == spans
    assert steps.counts()["decoded_frames"] == before


@pytest.mark.parametrize("kind", [b"long", b"video"])
def test_who_finds_no_row_waits_for_what_another_fetches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: bytes
) -> None:
    steps = Steps(tmp_path, kind, workers=2)
    other = steps.worker(FetchRows)
    assert other._rows.take() == (0, "")
    fetched: list[tuple[int, int]] = []
    looks: list[float] = []

    def slow(wait_s: float) -> None:
        looks.append(wait_s)
        if len(looks) == 9:  # it has come at last
            fetched.extend(other._row(0, ""))

    monkeypatch.setattr(fetch_step, "sleep", slow)

    # The spans are the other's to hand on, who fetched the row; this one only searches them.
    assert steps.run(FetchRows, [1]) == []

    assert len(looks) == 9
    spans = {b"long": 3, b"video": 1}[kind]
    assert fetched == [(0, number) for number in range(spans)]
    assert steps.counts()["read"] == pytest.approx(1)
    state = row_state(steps.rows[0], steps.line.job, steps.line.store)
    assert all(span.next_stage is Stage.FIT for span in state.spans)


def test_who_finds_no_row_waits_no_longer_than_a_fetch_may_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps(tmp_path, b"long", workers=2)
    assert steps.worker(FetchRows)._rows.take() == (0, "")
    waits: list[float] = []
    monkeypatch.setattr(fetch_step, "sleep", waits.append)
    monkeypatch.setattr(fetch_step, "_LOOK_EVERY_S", 600.0)

    assert steps.run(FetchRows, [1]) == []

    # Both might have fetched from one host, one after the other.
    assert sum(waits) == pytest.approx(2 * steps.line.job.options.limits.fetch_s)


def test_nobody_waits_for_a_worker_that_met_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(tmp_path, b"long", workers=2)
    other = steps.worker(FetchRows)
    monkeypatch.setattr(label, "file_facts", lambda *_: 1 / 0)
    row = other._rows.take()
    assert not other._rows.over()

    with pytest.raises(ZeroDivisionError):
        list(other._row(*row))

    assert other._rows.over()


def test_networks_are_closed_before_anything_is_fitted(tmp_path: Path) -> None:
    steps = Steps(tmp_path, b"video")
    worker = steps.worker(FetchRows)

    list(worker.process(0))
    assert worker._faces is not None  # another turn may need them
    worker.finish_bundle()

    assert worker._faces is None


def test_spans_that_come_when_a_worker_has_gone_on_are_shared_at_the_next_step(tmp_path: Path) -> None:
    steps = Steps(tmp_path, b"long", workers=2)
    span_queue(steps.wave_file, Stage.FACES).hold()

    spans = steps.run(FetchRows, [0])

    assert (steps.counts()["fetched"], steps.counts()["decoded_frames"]) == (1, 0)
    # Whoever has a turn first takes them all here; as many workers have one as there are spans.
    steps.run(FindFaces, spans[2:])
    assert steps.counts()["searched_s"] == pytest.approx(LONG_S)


def test_spans_are_fitted_by_whoever_is_free_until_none_is_left(tmp_path: Path) -> None:
    steps = Steps(tmp_path, b"long", b"video", b"black", workers=2)
    spans = steps.run(FindFaces, steps.run(FetchRows, [0]))
    ready = steps.run(SpansToFit, [(0, [0, 1, 2]), (1, [0])])
    assert ready == [(0, 0), (0, 1), (0, 2), (1, 0)] == sorted(spans)

    waiting = span_queue(steps.wave_file, Stage.FIT)
    # The two faces of the short video have the most frames.
    assert waiting.take(most=8, workers=2) == [(1, 0)]
    waiting.offer([(400.0, 1, 0)])
    steps.run(FitSpans, ready[:1])

    assert waiting.take() == []
    assert all(row_state(row, steps.line.job, steps.line.store).next_stage is None for row in steps.rows)
    assert steps.counts()["videos"] == pytest.approx(3)


def test_a_turn_for_which_nothing_is_left_loads_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(tmp_path, b"video")
    monkeypatch.setattr("fitting.face_model.load_face_model", lambda *_: 1 / 0)

    assert steps.run(FitSpans, [(0, 0)]) == [(0, 0)]


def test_only_what_is_left_of_a_video_is_given_out_again(tmp_path: Path) -> None:
    steps = Steps(tmp_path, b"long")
    worker = steps.worker(FetchRows)
    spans = list(worker._row(0, ""))
    for span in spans[:2]:
        worker.find(*span)

    steps.begin_wave()
    before = steps.counts()["decoded_frames"]
    assert steps.run(FetchRows, [0]) == spans

    assert steps.counts()["fetched"] == 1
    assert steps.counts()["decoded_frames"] == before + 105 + 17
    steps.worker(FitSpans).fit(spans[1:])
    steps.begin_wave()
    assert steps.run(FetchRows, [0]) == [(0, 0)]


def test_who_searches_a_later_span_is_given_time_to_decode_what_comes_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []

    def in_hand(*what: Any, quiet_s: float = 0.0, key: str = "") -> Any:
        given.append(quiet_s)
        return marks.in_hand(*what, quiet_s=quiet_s, key=key)

    steps = Steps(tmp_path, b"long")
    monkeypatch.setattr(find_step, "in_hand", in_hand)

    steps.run(FetchRows, [0])

    assert sorted(given) == [0.0, 20.0, 40.0]


def test_all_rows_and_frames_are_counted_when_the_tables_are_written(tmp_path: Path) -> None:
    steps = Steps(tmp_path, b"video", b"long", b"black")
    steps.label()

    ids = [row.video_id for row in steps.rows[:2]]
    write_moved(steps.line.job.state, {ids[1]: "val"})

    listed = steps.run(assemble_job._ListReferences, [0, 1, 2])
    by_shard = {shard: [text for where, text in listed if where == shard] for shard, _ in listed}
    steps.run(assemble_job._WriteShards, by_shard.items())

    tracks = pq.read_table(new_tables(steps.line.job.out) / "tracks", columns=["video_id", "split"]).to_pylist()
    assert {(row["video_id"], row["split"]) for row in tracks} == {(ids[0], own_split(steps.rows[0])), (ids[1], "val")}
    assert own_split(steps.rows[1]) != "val"
    counts = steps.counts()
    frames = sum(pq.read_metadata(path).num_rows for path in (new_tables(steps.line.job.out) / "frames").iterdir())
    assert frames > 0
    assert (counts["listed"], counts["assembled_frames"]) == (3, pytest.approx(frames))
