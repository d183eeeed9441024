from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pretend import LONG_S, Detector, Line, faces, facts_of, fits, pieces, shown_track
from synthetic import MODEL, manifest_of, with_options

from facevid.dataset import open_dataset
from facevid.failures import FailureCode, Stage
from pipeline import items, row_tracks
from pipeline.assemble import ShardOrder, references, write_description, write_shards
from pipeline.config import LimitOptions
from pipeline.desk import Desk
from pipeline.faces.options import FacesOptions
from pipeline.fetch import Fetcher
from pipeline.fit_spans import fit_spans
from pipeline.funnel import take_census
from pipeline.job import limited_key
from pipeline.label import fetch_row, find_faces
from pipeline.manifest import ManifestRow
from pipeline.progress import Counters
from pipeline.reading import FileFacts
from pipeline.row_state import places, row_state
from pipeline.spans import Span, outside, spans_of
from pipeline.swap import swap_tables

SECONDS = st.floats(0, 1e5)


@given(
    start_s=st.none() | SECONDS, length_s=st.none() | st.floats(0.1, 1e5), duration_s=st.none() | SECONDS,
    span_s=st.floats(50, 500),
)  # fmt: skip
def test_spans_are_the_clip_without_gap_or_overlap(
    start_s: float | None, length_s: float | None, duration_s: float | None, span_s: float
) -> None:
    end_s = None if length_s is None else (start_s or 0.0) + length_s

    spans = spans_of(start_s=start_s, end_s=end_s, duration_s=duration_s, span_s=span_s)

    assert (spans[0].start_s, spans[-1].end_s) == (start_s, end_s)
    assert all(before.end_s == after.start_s for before, after in pairwise(spans))
    known = [end for end in (end_s, duration_s) if end is not None]
    if duration_s is None:
        assert len(spans) == 1
    for span in spans[1:]:
        assert span.start_s is not None
        # The last may be half as long again, none is shorter than a half.
        assert span.start_s + 0.499 * span_s <= min(known)
    if duration_s is not None and len(spans) == 1:
        assert min(known) - (start_s or 0.0) <= 1.501 * span_s


def test_a_video_is_cut_at_multiples_of_the_span() -> None:
    spans = spans_of(start_s=None, end_s=None, duration_s=290.0, span_s=120.0)

    assert spans == (Span(start_s=None, end_s=120.0), Span(start_s=120.0, end_s=None, lead_s=3.0))
    assert len(spans_of(start_s=None, end_s=None, duration_s=300.0, span_s=120.0)) == 3
    assert spans_of(start_s=None, end_s=None, duration_s=None, span_s=120.0) == (Span(),)


@pytest.mark.parametrize(
    ("start_s", "end_s", "words"),
    [
        (9.0, 11.0, None), (None, None, None), (10.0, None, "the clip begins at 10 s, but the video lasts 10.00 s"),
        (12.0, 14.0, "begins at 12 s"), (3.0, 11.5, "the clip ends at 11.5 s, but the video lasts 10.00 s"),
    ],
)  # fmt: skip
def test_a_clip_must_lie_in_its_video(start_s: float | None, end_s: float | None, words: str | None) -> None:
    trouble = outside(start_s=start_s, end_s=end_s, duration_s=10.0)

    assert (trouble is None) if words is None else (words in (trouble or ""))
    assert outside(start_s=start_s, end_s=end_s, duration_s=None) is None


def long_line(folder: Path) -> Line:
    folder.mkdir(exist_ok=True)
    line = Line(folder)
    line.job = with_options(line.job, faces=FacesOptions(span_s=20.0), shards=1)
    return line


def tables(line: Line, *rows: ManifestRow) -> dict[str, list[dict[str, object]]]:
    """Assembled as the build does it, into one shard."""
    found = [references(index, row, line.job, line.store) for index, row in enumerate(rows)]
    order = ShardOrder(
        shard=0, tracks=tuple((index, track) for index, (tracks, _) in enumerate(found) for track in tracks),
        failures=tuple(failure for _, failures in found for failure in failures),
    )  # fmt: skip
    written = write_shards(order, rows, line.job, line.store, MODEL)
    steps = take_census(manifest_of(*rows), line.job, line.store).steps
    write_description(line.job, MODEL, written, steps, content_key="")
    swap_tables(line.job.out)
    dataset = open_dataset(line.job.out)
    return {name: dataset.table(name).to_pylist() for name in ("frames", "tracks", "crops", "failures")}


def test_a_long_video_is_one_video_again_in_the_tables(tmp_path: Path) -> None:
    line = long_line(tmp_path)
    row = line.row("talk", b"long")

    counts = line.run(row)

    # 61 s are three spans, from 0, 20 and 40 s: 100, 100 and 105 frames, each with a track of 10 in its middle.
    # 17 frames before each of the later two are read by both.
    assert counts["decoded_frames"] == 305 + 2 * 17
    assert counts["fitted_tracks"] == 3
    found = tables(line, row)
    assert [(t["track"], t["first_frame"], t["last_frame"]) for t in found["tracks"]] == [
        (0, 50, 59), (1, 150, 159), (2, 252, 261),
    ]  # fmt: skip
    assert [f["frame"] for f in found["frames"]] == [*range(50, 60), *range(150, 160), *range(252, 262)]
    # A crop of these says which frame of the video it shows.
    crops = [(crop["track"], crop["frame"], crop["jpeg"]) for crop in found["crops"]]
    assert crops[::10] == [(0, 50, b"50"), (1, 150, b"150"), (2, 252, b"252")]
    assert [crop[:2] for crop in crops] == [(frame["track"], frame["frame"]) for frame in found["frames"]]
    (step,) = [step for step in take_census(manifest_of(row), line.job, line.store).steps if step.step == "tracks"]
    assert (step.ok, step.filtered) == (3, 3)


def test_a_span_without_a_face_still_counts_its_frames(tmp_path: Path) -> None:
    line = long_line(tmp_path)
    row = line.row("talk", b"long half dark")
    line.run(row)

    assert line.code(row) is None
    assert [(t["track"], t["first_frame"]) for t in tables(line, row)["tracks"]] == [(0, 50), (1, 252)]


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (b"long dark", FailureCode.NO_FACE, "none of the 3 spans of the video has a face track"),
        (b"long broken", FailureCode.CORRUPT, "broken at 16.5 s"),
    ],
)
def test_a_long_video_fails_once_whoever_of_its_spans_comes_first(
    tmp_path: Path, content: bytes, code: FailureCode, message: str
) -> None:
    for seed in range(4):
        line = long_line(tmp_path / str(seed))
        row = line.row("talk", content)
        desk = Desk(job=line.job, store=line.store, counters=Counters(line.job.state))
        fetch_row(row, desk, Fetcher(line.job.options.fetch, line.store, line.folder), facts_of)
        mixed = pieces(row, line.job)
        Random(seed).shuffle(mixed)

        for piece in mixed:
            find_faces(piece, desk, Detector(), faces)
        fit_spans(mixed, desk, MODEL, fits)

        assert line.code(row) == (Stage.FACES, code)
        (failure,) = tables(line, row)["failures"]
        assert str(failure["message"]).startswith(message)


def test_a_container_that_promises_more_than_it_holds_costs_nothing(tmp_path: Path) -> None:
    line = long_line(tmp_path)
    row = line.row("talk", b"long promise")
    line.run(row)

    assert line.code(row) is None
    assert len(tables(line, row)["tracks"]) == 1


def test_a_stopped_long_video_goes_on_where_it_was(tmp_path: Path) -> None:
    line = long_line(tmp_path)
    row = line.row("talk", b"long")
    desk = Desk(job=line.job, store=line.store, counters=Counters(line.job.state))
    fetch_row(row, desk, Fetcher(line.job.options.fetch, line.store, tmp_path), facts_of)
    find_faces(pieces(row, line.job)[1], desk, Detector(), faces)
    desk.counters.flush()

    counts = line.run(row)

    assert counts["decoded_frames"] == 205 + 17
    assert "fetched" not in counts or counts["fetched"] == 0


def test_the_tables_do_not_depend_on_the_order_of_the_spans(tmp_path: Path) -> None:
    found = []
    for seed in range(3):
        line = long_line(tmp_path / str(seed))
        rows = [line.row("a", b"long"), line.row("b", b"long half dark")]
        desk = Desk(job=line.job, store=line.store, counters=Counters(line.job.state))
        for row in rows:
            fetch_row(row, desk, Fetcher(line.job.options.fetch, line.store, line.folder), facts_of)
        mixed = [piece for row in rows for piece in pieces(row, line.job)]
        Random(seed).shuffle(mixed)
        for piece in mixed:
            find_faces(piece, desk, Detector(), faces)
        for piece in mixed:
            fit_spans([piece], desk, MODEL, fits)
        found.append(tables(line, *rows))

    assert found[0] == found[1] == found[2]


def test_clips_of_one_video_are_fetched_and_hashed_as_one_but_read_apart(tmp_path: Path) -> None:
    line = long_line(tmp_path)
    whole = line.row("talk", b"long")
    clips = [replace(whole, video_id=f"clip-{k}", start_s=20.0 * k, end_s=20.0 * k + 20) for k in range(3)]

    counts = line.run(*clips)

    assert counts["decoded_frames"] == 300
    found = tables(line, *clips)
    assert [t["first_frame"] for t in found["tracks"]] == [50, 50, 52]
    assert [(t["clip_start_s"], t["clip_end_s"]) for t in found["tracks"]] == [(0.0, 20.0), (20.0, 40.0), (40.0, 60.0)]
    # They show the same people: one split, by what they are clips of.
    assert len({t["split"] for t in found["tracks"]}) == 1


def test_a_clip_beyond_the_end_is_a_failure_that_says_so(tmp_path: Path) -> None:
    line = long_line(tmp_path)
    row = replace(line.row("talk", b"long"), start_s=LONG_S + 1)
    line.run(row)

    assert line.code(row) == (Stage.FACES, FailureCode.OUTSIDE_VIDEO)
    (failure,) = tables(line, row)["failures"]
    assert failure["message"] == "the clip begins at 62 s, but the video lasts 61.00 s"


def test_a_file_that_claims_to_last_for_ever_is_not_looked_at(tmp_path: Path) -> None:
    line = long_line(tmp_path)
    row = line.row("talk", b"for ever")
    desk = Desk(job=line.job, store=line.store, counters=Counters(line.job.state))

    source = Fetcher(line.job.options.fetch, line.store, tmp_path)
    fetch_row(row, desk, source, lambda path, limits: FileFacts(duration_s=1e9))

    assert pieces(row, line.job) == []
    assert line.code(row) == (Stage.FACES, FailureCode.TOO_LARGE)


def test_a_lowered_limit_holds_for_what_was_read_before(tmp_path: Path) -> None:
    line = long_line(tmp_path)
    row = line.row("talk", b"long")
    line.run(row)
    assert line.code(row) is None

    line.job = with_options(line.job, limits=LimitOptions(max_duration_s=60.0))

    assert line.code(row) == (Stage.FACES, FailureCode.TOO_LARGE)


def test_a_span_knows_which_shots_end_in_its_lead(tmp_path: Path) -> None:
    line = long_line(tmp_path)
    row = line.row("talk", b"long cut")  # before frames 95 and 120; the lead of the second span is 83 to 99
    line.run(row)

    facts = [place.facts for place in places(row_state(row, line.job, line.store), line.store)]

    assert [(each.lead_frames, each.lead_shot_ends) for each in facts] == [(0, ()), (17, (12,)), (17, ())]


def test_somebody_who_shows_across_borders_is_one_track_with_one_identity(tmp_path: Path) -> None:
    line = long_line(tmp_path)
    row = line.row("talk", b"long talk")

    counts = line.run(row)

    assert (counts["fitted_tracks"], counts["fitted_frames"]) == (1, 200)
    found = tables(line, row)
    (track,) = found["tracks"]
    assert (track["track"], track["first_frame"], track["last_frame"], track["frames"]) == (0, 50, 249, 200)
    assert [f["frame"] for f in found["frames"]] == list(range(50, 250))
    assert [(crop["frame"], crop["jpeg"]) for crop in found["crops"]] == [(k, b"%d" % k) for k in range(50, 250)]
    whole = shown_track(50, 250)
    np.testing.assert_array_equal([f["landmarks_px"] for f in found["frames"]], whole.observed_px.reshape(200, -1))
    np.testing.assert_array_equal([f["pts_s"] for f in found["frames"]], whole.pts_s)
    steps = {step.step: step for step in take_census(manifest_of(row), line.job, line.store).steps}
    assert (steps["tracks"].ok, steps["fit"].ok, steps["frames"].ok) == (1, 1, 200)


def test_nothing_of_a_video_is_fitted_before_all_of_it_is_searched(tmp_path: Path) -> None:
    line = long_line(tmp_path)
    row = line.row("talk", b"long talk")
    desk = Desk(job=line.job, store=line.store, counters=Counters(line.job.state))
    fetch_row(row, desk, Fetcher(line.job.options.fetch, line.store, tmp_path), facts_of)
    parts = pieces(row, line.job)
    for piece in parts[:2]:
        find_faces(piece, desk, Detector(), faces)

    fit_spans(parts, desk, MODEL, fits)
    assert row_state(row, line.job, line.store).next_stage is Stage.FACES

    find_faces(parts[2], desk, Detector(), faces)
    fit_spans(parts, desk, MODEL, fits)
    assert row_state(row, line.job, line.store).next_stage is None


def test_a_batch_reads_each_span_once_however_many_rows_it_is_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = long_line(tmp_path)
    rows = [line.row(f"talk{n:02d}", f"long {n}".encode()) for n in range(10)]
    desk = Desk(job=line.job, store=line.store, counters=Counters(line.job.state))
    for row in rows:
        fetch_row(row, desk, Fetcher(line.job.options.fetch, line.store, tmp_path), facts_of)
        for piece in pieces(row, line.job):
            find_faces(piece, desk, Detector(), faces)
    read: Counter[Path] = Counter()

    def read_boxes(folder: Path) -> object:
        read[folder] += 1
        return items.read_boxes(folder)

    monkeypatch.setattr(row_tracks, "read_boxes", read_boxes)
    # As a shuffle may give them: a row's spans apart.
    batch = sorted((piece for row in rows for piece in pieces(row, line.job)), key=lambda piece: -piece.number)
    fit_spans(batch, desk, MODEL, fits)

    assert all(line.code(row) is None for row in rows)
    assert set(read.values()) == {1}
    assert len(read) == len(batch) == 30


def test_a_span_that_takes_its_worker_down_costs_its_video(tmp_path: Path) -> None:
    line = long_line(tmp_path)
    row = line.row("talk", b"long")
    desk = Desk(job=line.job, store=line.store, counters=Counters(line.job.state))
    fetch_row(row, desk, Fetcher(line.job.options.fetch, line.store, tmp_path), facts_of)
    find_faces(pieces(row, line.job)[0], desk, Detector(), faces)
    state = row_state(row, line.job, line.store)
    assert state.next_stage is Stage.FACES

    # As `pipeline.blame` gives a row up.
    line.store.commit_failure(Stage.FACES, limited_key(state.next_key, line.job), FailureCode.WORKER_DIED, "crash")

    assert line.code(row) == (Stage.FACES, FailureCode.WORKER_DIED)
    assert len(tables(line, row)["failures"]) == 1
