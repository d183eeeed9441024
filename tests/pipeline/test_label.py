import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pretend import Detector, Line, faces, facts_of, fits, pieces
from synthetic import MODEL, fitted_track, job_in, landmark_track, with_options

from facevid.failures import FailureCode, Stage
from fitting.face_model import FaceModel
from fitting.options import FitOptions
from fitting.tracks import FittedTrack, LandmarkSequence
from pipeline.config import FetchOptions, PruneOptions
from pipeline.desk import Desk, SpanOfRow
from pipeline.faces.errors import DecoderInterruptedError
from pipeline.faces.limits import DecodeLimits
from pipeline.faces.probe import VideoInfo
from pipeline.faces.tracks import FacesResult
from pipeline.fetch import Fetcher
from pipeline.fetched_video import FetchedVideo
from pipeline.fit_spans import face_size_px, fit_spans
from pipeline.items import TrackPart, read_facts, read_fitted, read_summaries, read_track
from pipeline.job import fit_key
from pipeline.label import fetch_row, find_faces
from pipeline.manifest import ManifestRow
from pipeline.progress import Counters
from pipeline.reading import FileFacts, file_facts
from pipeline.row_state import row_state
from pipeline.store import Store
from pipeline.stored_crops import read_crops


def test_a_good_video_goes_through_all_stages_and_keeps_its_arrays(tmp_path: Path) -> None:
    line = Line(tmp_path)
    row = line.row("a")

    counts = line.run(row)

    assert counts == {
        "fetched": 1, "decoded_frames": 400, "tracked_frames": 400, "fitted_tracks": 2, "fitted_frames": 400,
    }  # fmt: skip
    state = row_state(row, line.job, line.store)
    (span,) = state.found
    folder = line.store.result_path("faces", span.faces_key)
    facts = read_facts(folder)
    np.testing.assert_array_equal(read_track(folder, 1).observed_px, landmark_track(200, first=200).observed_px)
    assert (facts.width_px, facts.fps, facts.codec, facts.short_tracks) == (64, 25.0, "h264", 1)
    part = TrackPart(span=0, track=1, begin=0, end=200)
    crops = [crop for batch in read_crops(folder, part) for crop in batch.to_pylist()]
    assert [crop["frame"] for crop in crops] == list(range(200))
    assert crops[199]["jpeg"] == b"jpeg 1 199"
    fitted = read_fitted(line.store.result_path("fit", span.fit_key))
    np.testing.assert_array_equal(fitted.tracks[0].expression, fitted_track(200, seed=2).expression)
    assert fitted.tracks[0].holdout_error == 0.02


def test_a_second_run_does_nothing(tmp_path: Path) -> None:
    line = Line(tmp_path)
    rows = [line.row("a"), line.row("b", b"black"), line.row("c", None)]

    line.run(*rows)

    assert not any(line.run(*rows).values())


def test_changed_fit_options_fit_again_without_fetching_or_decoding(tmp_path: Path) -> None:
    line = Line(tmp_path)
    row = line.row("a")
    line.run(row)

    line.job = with_options(line.job, fit=FitOptions(keyframes=7))

    assert {name: n for name, n in line.run(row).items() if n} == {"fitted_tracks": 2, "fitted_frames": 400}


def test_changed_pruning_or_pauses_do_nothing_at_all(tmp_path: Path) -> None:
    line = Line(tmp_path)
    row = line.row("a")
    line.run(row)

    line.job = with_options(
        line.job, prune=PruneOptions(max_identity_norm=1.0), workers=2, wave=3,
        fetch=FetchOptions(allow_local=True, pause_s=9.0, timeout_s=3.0),
    )

    assert not any(line.run(row).values())


@pytest.mark.parametrize(
    ("ends", "failed"),
    [(1, None), (2, (Stage.FACES, FailureCode.CORRUPT, "the video: the decoder was ended from outside, twice"))],
)
def test_a_video_whose_decoder_was_ended_is_read_again_and_the_second_end_is_its_own_fault(
    tmp_path: Path, ends: int, failed: tuple[Stage, FailureCode, str] | None
) -> None:
    line = Line(tmp_path)
    row = line.row("v7")
    desk = Desk(job=line.job, store=line.store, counters=Counters(line.job.state))
    fetch_row(row, desk, Fetcher(line.job.options.fetch, line.store, tmp_path), facts_of)
    states: list[object] = []

    def read(path: Path, *arguments: Any, **part: Any) -> FacesResult:
        state = row_state(row, line.job, line.store)
        states.append((state.next_stage, state.failure))
        if len(states) <= ends:
            raise DecoderInterruptedError(f"{path.name}: the decoder was ended from outside")
        return faces(path, *arguments, **part)

    find_faces(pieces(row, line.job)[0], desk, Detector(), read)

    # Between the two, nothing is recorded: a scheduler ends this process there.
    assert states == [(Stage.FACES, None)] * 2
    failure = row_state(row, line.job, line.store).failure
    assert (failure and (failure.stage, failure.code, failure.message)) == failed


@pytest.mark.parametrize(("ends", "told"), [(1, FileFacts(duration_s=2.0)), (2, FileFacts())])
def test_a_file_whose_facts_were_interrupted_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: int, told: FileFacts
) -> None:
    asked: list[Path] = []

    def answers(path: Path, _limits: DecodeLimits) -> VideoInfo:
        asked.append(path)
        if len(asked) <= ends:
            raise DecoderInterruptedError("the decoder was ended from outside")
        return VideoInfo(
            width_px=64, height_px=48, fps=25.0, duration_s=2.0, codec="h264", rotation_deg=0.0, seekable=True
        )

    monkeypatch.setattr("pipeline.reading.probe", answers)
    assert file_facts(tmp_path / "a.mp4", DecodeLimits()) == told
    assert len(asked) == 2


def test_the_same_bytes_under_two_names_are_decoded_and_fitted_once(tmp_path: Path) -> None:
    line = Line(tmp_path)

    counts = line.run(line.row("a"), line.row("b"))

    assert counts["fetched"] == 2
    assert counts["decoded_frames"] == 400
    assert counts["fitted_tracks"] == 2


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    line = Line(tmp_path)
    row = line.row("a", b"black")
    line.run(row)
    assert line.code(row) == (Stage.FACES, FailureCode.NO_FACE)

    line.row("a", b"a face now")
    line.run(row)

    assert line.code(row) is None


@pytest.mark.parametrize(
    ("content", "stage", "code"),
    [
        (None, Stage.FETCH, FailureCode.NOT_FOUND),
        (b"", Stage.FETCH, FailureCode.CORRUPT),
        (b"black", Stage.FACES, FailureCode.NO_FACE),
        (b"broken", Stage.FACES, FailureCode.CORRUPT),
        (b"huge", Stage.FACES, FailureCode.OUT_OF_MEMORY),
    ],
)
def test_a_bad_video_costs_only_itself(
    tmp_path: Path, content: bytes | None, stage: Stage, code: FailureCode
) -> None:
    line = Line(tmp_path)
    bad, good = line.row("bad", content), line.row("good")

    line.run(bad, good)

    assert line.code(bad) == (stage, code)
    assert line.code(good) is None
    assert list((line.job.store_folder / "tmp").iterdir()) == []


def test_a_file_that_changes_while_it_is_read_is_not_believed(tmp_path: Path) -> None:
    line = Line(tmp_path)
    row = line.row("a")
    desk = Desk(job=line.job, store=line.store, counters=Counters(line.job.state))
    fetch_row(row, desk, Fetcher(line.job.options.fetch, line.store, tmp_path), facts_of)

    def overwritten(*arguments: object, **part: float | None) -> FacesResult:
        result = faces(*arguments, **part)
        (tmp_path / "a").write_bytes(b"something longer than before")
        return result

    find_faces(SpanOfRow(row=row, number=0), desk, Detector(), overwritten)

    assert line.code(row) == (Stage.FETCH, FailureCode.CORRUPT)


def test_a_file_that_vanishes_before_it_is_read_is_not_found(tmp_path: Path) -> None:
    line = Line(tmp_path)
    row = line.row("a")
    desk = Desk(job=line.job, store=line.store, counters=Counters(line.job.state))
    fetch_row(row, desk, Fetcher(line.job.options.fetch, line.store, tmp_path), facts_of)

    def vanished(path: Path, *_: object, **part: float | None) -> FacesResult:
        path.unlink()
        raise FileNotFoundError(path)

    find_faces(SpanOfRow(row=row, number=0), desk, Detector(), vanished)

    assert line.code(row) == (Stage.FETCH, FailureCode.NOT_FOUND)


def test_too_little_memory_for_a_batch_fails_only_the_video_that_needs_it(tmp_path: Path) -> None:
    line = Line(tmp_path)
    rows = [line.row("a", b"1"), line.row("b", b"22"), line.row("c", b"333")]
    desk = Desk(job=line.job, store=line.store, counters=Counters(line.job.state))
    for row in rows:
        fetch_row(row, desk, Fetcher(line.job.options.fetch, line.store, tmp_path), facts_of)
        find_faces(SpanOfRow(row=row, number=0), desk, Detector(), faces)
    calls = []

    def greedy(sequences: Sequence[LandmarkSequence], model: FaceModel, options: FitOptions) -> list[FittedTrack]:
        calls.append(len(sequences))
        if len(sequences) > 2 or len(calls) == 3:
            raise MemoryError
        return fits(sequences, model, options)

    fit_spans([SpanOfRow(row=row, number=0) for row in rows], desk, MODEL, greedy)

    assert calls == [6, 2, 2, 2]
    assert [line.code(row) for row in rows] == [None, (Stage.FIT, FailureCode.OUT_OF_MEMORY), None]


def test_so_many_frames_of_several_videos_are_fitted_together_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = Line(tmp_path)
    rows = [line.row(name, name.encode()) for name in "abcd"]  # 400 frames each, in two tracks
    desk = Desk(job=line.job, store=line.store, counters=Counters(line.job.state))
    for row in rows:
        fetch_row(row, desk, Fetcher(line.job.options.fetch, line.store, tmp_path), facts_of)
        find_faces(SpanOfRow(row=row, number=0), desk, Detector(), faces)
    calls = []

    def counted(sequences: Sequence[LandmarkSequence], model: FaceModel, options: FitOptions) -> list[FittedTrack]:
        calls.append(sum(len(sequence.pts_s) for sequence in sequences))
        return fits(sequences, model, options)

    monkeypatch.setattr("pipeline.fit_spans.FRAMES_TOGETHER", 800)
    fit_spans([SpanOfRow(row=row, number=0) for row in rows[:3]], desk, MODEL, counted)
    monkeypatch.setattr("pipeline.fit_spans.FRAMES_TOGETHER", 10)
    fit_spans([SpanOfRow(row=row, number=0) for row in rows], desk, MODEL, counted)

    assert calls == [800, 400, 400]
    assert [line.code(row) for row in rows] == [None] * 4


def test_a_failure_of_bytes_does_not_tell_which_row_came_first(tmp_path: Path) -> None:
    line = Line(tmp_path)
    rows = [line.row("a.mp4", b"black"), line.row("b.mp4", b"black")]

    line.run(*rows)

    states = [row_state(row, line.job, line.store) for row in rows]
    messages = [state.failure.message for state in states if state.failure]
    assert messages == ["the video shows no face in any of its 3 frames"] * 2


def test_a_bug_is_no_bad_video(tmp_path: Path) -> None:
    line = Line(tmp_path)
    row = line.row("a")
    desk = Desk(job=line.job, store=line.store, counters=Counters(line.job.state))
    fetch_row(row, desk, Fetcher(line.job.options.fetch, line.store, tmp_path), facts_of)

    def bug(*_: object, **part: float | None) -> FacesResult:
        raise ZeroDivisionError("division by zero")

    with pytest.raises(ZeroDivisionError, match="division by zero"):
        find_faces(SpanOfRow(row=row, number=0), desk, Detector(), bug)
    assert row_state(row, line.job, line.store).next_stage is Stage.FACES


def test_a_smaller_size_limit_judges_what_was_fetched_without_fetching(tmp_path: Path) -> None:
    line = Line(tmp_path)
    row = line.row("a", b"12345")
    line.run(row)

    line.job = with_options(line.job, fetch=FetchOptions(allow_local=True, max_bytes=4))
    assert not any(line.run(row).values())
    assert line.code(row) == (Stage.FETCH, FailureCode.TOO_LARGE)

    line.job = with_options(line.job, fetch=FetchOptions(allow_local=True, max_bytes=5))
    assert not any(line.run(row).values())
    assert line.code(row) is None


def test_keys_know_the_detector_and_the_face_model(tmp_path: Path) -> None:
    line = Line(tmp_path)
    row = line.row("a")
    line.run(row)

    assert fit_key(["k"], 0, line.job) != fit_key(["k"], 0, replace(line.job, model_sha256="0" * 64))
    other = replace(line.job, detector_sha256="0" * 64)
    assert row_state(row, other, line.store).next_stage is Stage.FACES


def test_summaries_hold_what_pruning_needs(tmp_path: Path) -> None:
    line = Line(tmp_path)
    row = line.row("a")
    line.run(row)
    (span,) = row_state(row, line.job, line.store).found
    key = span.fit_key

    first = read_summaries(line.store.result_path("fit", key))[0]

    assert first.identity_norm == pytest.approx(0.1 * np.sqrt(MODEL.n_identity), rel=1e-6)
    assert (first.frames, first.observed_frames, first.status) == (200, 200, "converged")
    assert first.reprojection_error == pytest.approx(0.01)


def test_face_size_is_the_outer_eye_distance_of_the_posed_face_at_its_scale() -> None:
    fit = fitted_track(3, seed=4)
    embedding = MODEL.embedding("mediapipe68")
    vertices = MODEL.vertices_mm(np.tile(fit.identity, (3, 1)), fit.expression)
    points = np.einsum("pv,fpvc->fpc", embedding.weights, vertices[:, embedding.vertex_ids])
    wanted = 1.5 * np.linalg.norm(points[:, 36] - points[:, 45], axis=1)

    np.testing.assert_allclose(face_size_px(fit, MODEL, scheme="mediapipe68"), wanted, rtol=1e-5)


class Meeting(Store):
    """A store that tells when somebody comes to wait for a result."""

    def __init__(self, root: Path, came: threading.Event) -> None:
        super().__init__(root)
        self.came = came

    @contextmanager
    def alone(self, stage: str, key: str, *, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
        self.came.set()
        with super().alone(stage, key, on_wait=on_wait):
            yield


def test_two_workers_that_want_one_address_download_it_once(tmp_path: Path) -> None:
    job = job_in(tmp_path)
    clips = [ManifestRow(video_id=f"clip-{at_s:g}", url="https://example.org/v", start_s=at_s) for at_s in (0.0, 5.0)]
    (tmp_path / "video").write_bytes(b"video")
    came = threading.Event()
    desks = [
        Desk(job=job, store=store, counters=Counters(job.state))
        for store in (Store(job.store_folder), Meeting(job.store_folder, came))
    ]
    told = threading.Event()
    second = threading.Thread(
        target=lambda: fetch_row(clips[1], desks[1], source, facts_of, on_wait=told.set)
    )
    asked = []

    class Source:
        def fetch(self, url: str) -> FetchedVideo:
            asked.append(url)
            if len(asked) == 1:
                second.start()
                assert came.wait(10)
                assert told.wait(10)
            return FetchedVideo(
                sha256="a" * 64, path=tmp_path / "video", url=url, title=None, uploader=None, licence=None,
                fetched_at=None, bytes=5,
            )  # fmt: skip

    source = Source()

    fetch_row(clips[0], desks[0], source, facts_of)
    second.join()

    assert asked == ["https://example.org/v"]
    assert all(row_state(clip, job, desks[0].store).fetched is not None for clip in clips)
