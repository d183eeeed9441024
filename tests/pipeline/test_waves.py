"""What the build does when processes die, with a driver that only pretends to run Beam."""

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from synthetic import MODEL, fitted_track, job_in, landmark_track, with_options

from facevid.dataset import open_dataset
from facevid.failures import FailureCode, Stage
from pipeline import tell, waves
from pipeline.assemble import ShardOrder, bad_row_failure, failure_shard, references, write_shards
from pipeline.config import LimitOptions, PruneOptions
from pipeline.desk import Desk
from pipeline.driver import BuildError, Driver, WaveEnd
from pipeline.egress.lists import SourceList
from pipeline.fetch import Fetcher
from pipeline.fetch_errors import FetchError
from pipeline.items import FittedItem, SpanFacts, TrackPart, TrackSummary, write_faces, write_fitted
from pipeline.job import Job
from pipeline.label import fetch_row
from pipeline.manifest import BadRow, Manifest, ManifestRow
from pipeline.marks import Mark
from pipeline.progress import Counters
from pipeline.reading import FileFacts
from pipeline.row_split import own_split, read_moved
from pipeline.row_state import row_state
from pipeline.source_lists import Lists
from pipeline.status import render, status
from pipeline.store import Store
from pipeline.stored_crops import CropWriter
from pipeline.swap import new_tables
from pipeline.tell import Teller, progress_line
from pipeline.watch import Verdict, Watch
from pipeline.waves import BuildSummary, Waves

PID = 4711
LATE = Verdict(code=FailureCode.TIMEOUT, message="too late")
LARGE = Verdict(code=FailureCode.OUT_OF_MEMORY, message="too large")


class Pretender(Driver):
    """Does in this process what the child processes do, except where the plan says that one dies."""

    dies: dict[str, int] = {}  # noqa: RUF012
    fit_deaths: list[tuple[str, ...]] = []  # noqa: RUF012
    calls: list[tuple[str, tuple[int, ...]]] = []  # noqa: RUF012
    stillborn = False
    manifest: Manifest

    def __init__(self, job: Job, beam_options: Sequence[str], *, lock: int, on_wait: Callable[[int], None]) -> None:
        self.job, self.store, self.on_wait = job, Store(job.store_folder), on_wait

    def run(self, kind: str, rows: Sequence[int], *, workers: int, fit_batch: int = 1, **_: Any) -> WaveEnd:
        self.calls.append((kind, tuple(rows)))
        if self.stillborn:
            return WaveEnd(died=True)
        if kind == "assemble":
            self.assemble()
            return WaveEnd(died=False)
        for index in rows:
            row = self.manifest.rows[index]
            if self.dies.get(row.video_id, 0):
                self.dies[row.video_id] -= 1
                return died(Stage.FETCH, row.video_id)
            label(row, self.job, self.store)
            self.on_wait(PID)
        if self.fit_deaths:
            together = self.fit_deaths.pop()
            for row in self.manifest.rows:
                if row.video_id in together:
                    for span in row_state(row, self.job, self.store).found:
                        self.store.forget(Stage.FIT, span.fit_key)
            return died(Stage.FIT, *together)
        return WaveEnd(died=False)

    def assemble(self) -> None:
        found = [references(i, row, self.job, self.store) for i, row in enumerate(self.manifest.rows)]
        failures = [f for _, own in found for f in own] + [bad_row_failure(bad) for bad in self.manifest.bad_rows]
        from facevid.shards import shard_of

        shards = self.job.options.shards
        for shard in range(shards):
            order = ShardOrder(
                shard=shard,
                tracks=tuple(
                    (i, track) for i, (tracks, _) in enumerate(found) for track in tracks
                    if shard_of(self.manifest.rows[i].video_id, track, shards) == shard
                ),
                failures=tuple(f for f in failures if failure_shard(f, shards) == shard),
            )  # fmt: skip
            moved = read_moved(self.job.state)
            written = write_shards(order, self.manifest.rows, self.job, self.store, MODEL, moved=moved)
            folder = self.job.state / "assembled"
            folder.mkdir(exist_ok=True)
            (folder / f"{shard:05d}.json").write_text(json.dumps([asdict(info) for info in written]))


def died(stage: Stage, *video_ids: str) -> WaveEnd:
    return WaveEnd(died=True, left=(Mark(video_ids=video_ids, stage=stage, pid=PID, since_s=0.0),))


def label(row: ManifestRow, job: Job, store: Store) -> None:
    """`bad*` cannot be fetched, `black*` has no face, others have one good, one pruned and one diverged track.

    A file is what stands before `=` in the id.
    """
    desk = Desk(job=job, store=store, counters=Counters(job.state))

    class Source:
        def fetch(self, url: str) -> object:
            if row.video_id.startswith("bad"):
                raise FetchError(FailureCode.NETWORK, "no route")
            return Fetcher(job.options.fetch, store, job.manifest_folder).fetch(url)

    if not row.video_id.startswith("bad"):
        (job.manifest_folder / row.url).write_bytes(row.video_id.partition("=")[0].encode())
    fetch_row(row, desk, Source(), lambda path, limits: FileFacts())
    state = row_state(row, job, store)
    if state.next_stage is Stage.FACES:
        if row.video_id.startswith("black"):
            store.commit_failure(Stage.FACES, state.next_key, FailureCode.NO_FACE, "no face")
        else:
            store.commit(Stage.FACES, state.next_key, write_made_up_faces)
    state = row_state(row, job, store)
    if state.next_stage is Stage.FIT:
        store.commit(Stage.FIT, state.next_key, write_made_up_fits)
    desk.counters.add("videos")
    desk.counters.flush()


def write_made_up_faces(folder: Path) -> None:
    crops = CropWriter(folder)
    for track in range(3):
        for frame in range(5):
            crops.add(track, 5 * track + frame, b"jpeg", np.zeros((2, 3), np.float32))
    crops.close()
    tracks = tuple(landmark_track(first=5 * track) for track in range(3))
    facts = SpanFacts(
        width_px=9, height_px=9, fps=25.0, codec="c", frames=15, lead_frames=0, short_tracks=1, cut_off_tracks=1,
        person_changes=3, lead_shot_ends=(), schemes=("mediapipe68",) * 3,
    )  # fmt: skip
    write_faces(folder, facts, tracks)


def write_made_up_fits(folder: Path) -> None:
    tracks = (fitted_track(), fitted_track(error=0.2), fitted_track(status="diverged"))
    summaries = [
        TrackSummary(
            status=track.status, frames=5, observed_frames=5, identity_norm=1.0,
            reprojection_error=float(track.reprojection_error[0]),
        )
        for track in tracks
    ]  # fmt: skip
    size = np.full(5, 40.0, np.float32)
    parts = tuple((TrackPart(span=0, track=k, begin=5 * k, end=5 * k + 5),) for k in range(3))
    write_fitted(folder, FittedItem(parts=parts, tracks=tracks, face_size_px=(size, size, size)), summaries)


def build(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *names: str, dies: Mapping[str, int] = MappingProxyType({}),
    verdict: Verdict | None = None, fit_deaths: Sequence[tuple[str, ...]] = (), bad_rows: tuple[BadRow, ...] = (),
    retry: Sequence[FailureCode] = (), wave: int = 64, stillborn: bool = False, limits: LimitOptions | None = None,
    keep: str = "", workers: int = 1, rejects: tuple[str, ...] = (),
) -> tuple[BuildSummary, list[str], list[tuple[str, tuple[int, ...]]]]:
    rows = tuple(ManifestRow(video_id=name, url=name, line=n) for n, name in enumerate(names))
    manifest = Manifest(rows=rows, bad_rows=bad_rows, folder=folder)
    calls: list[tuple[str, tuple[int, ...]]] = []
    pretender = type("P", (Pretender,), {
        "dies": dict(dies), "fit_deaths": list(fit_deaths), "calls": calls, "stillborn": stillborn,
        "manifest": manifest,
    })  # fmt: skip
    monkeypatch.setattr(Watch, "verdict", lambda self, pid: verdict)
    monkeypatch.setattr(waves, "Driver", pretender)
    lines: list[str] = []
    job = with_options(
        job_in(folder), wave=wave, limits=limits or LimitOptions(), prune=PruneOptions(keep=keep), workers=workers,
    )  # fmt: skip
    job = replace(job, rejects=rejects)
    job.out.mkdir(exist_ok=True)
    job.state.mkdir(exist_ok=True)
    running = Waves(
        job, manifest, MODEL, beam_options=(), retry=frozenset(retry), report=lines.append, lock=0
    )
    return running.run(), lines, calls


def codes(folder: Path) -> dict[str, str]:
    return {row["video_id"]: row["code"] for row in open_dataset(folder / "out").table("failures").to_pylist()}


def data(folder: Path) -> dict[str, bytes]:
    out = folder / "out"
    return {str(path.relative_to(out)): path.read_bytes() for path in out.glob("*/*.parquet")} | {
        "facevid.json": (out / "facevid.json").read_bytes()
    }


def test_the_finished_funnel_counts_what_was_filtered_by_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path, monkeypatch, "a", "b", keep="frame >= 2")
    dataset = open_dataset(tmp_path / "out")
    steps = {step.step: step for step in dataset.description.funnel}
    frames = dataset.table("frames")
    assert steps["frames"].reasons == Counter(filter(None, frames["filtered_reason"].to_pylist()))
    kept = dataset.table("frames", kept_only=True)["frame"].to_pylist()
    assert steps["frames"].ok == len(kept) > 0
    assert min(kept) == 2
    assert steps["frames"].reasons["frame >= 2"] == 4
    assert steps["fit"].reasons == {"reprojection_error": 2}
    # In the only span of a video, a track that was short when it ended is as short as any other.
    assert steps["tracks"].reasons == {"min_track_s": 4}
    assert steps["tracks"].events == {"another face took the place": 6}
    text = render(status(tmp_path / "out"))
    assert "tracks: another face took the place 6 times" in text
    assert re.search(r"min_track_s +4", text)
    early = dataset.table("frames", keep="frame < 2", columns=["video_id"])
    assert early.column_names == ["video_id"]
    assert {len(track.frame) for track in dataset.tracks(keep="frame < 3")} == {1}
    assert "none is left" not in text


def test_what_somebody_rejects_is_marked_without_any_work_on_videos_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reasons() -> dict[tuple[str, int], object]:
        rows = open_dataset(tmp_path / "out").table("tracks").to_pylist()
        return {(row["video_id"], row["track"]): row["filtered_reason"] for row in rows}

    build(tmp_path, monkeypatch, "a", "b", "c")
    before = data(tmp_path)
    assert set(reasons().values()) == {None, "reprojection_error"}

    _, lines, calls = build(tmp_path, monkeypatch, "a", "b", "c", rejects=("a:0", "b", "c:7"))
    assert [stage for stage, _ in calls] == ["assemble"]
    assert "entries of the reject list whose video has no such track: 1, such as 'c:7'" in lines
    assert reasons() == {
        ("a", 0): "rejected", ("a", 1): "reprojection_error", ("b", 0): "rejected", ("b", 1): "rejected",
        ("c", 0): None, ("c", 1): "reprojection_error",
    }  # fmt: skip
    dataset = open_dataset(tmp_path / "out")
    frames = dataset.table("frames").to_pylist()
    assert {row["video_id"] for row in frames if row["kept"]} == {"c"}
    assert {row["filtered_reason"] for row in frames if row["video_id"] == "b"} == {"rejected"}
    steps = {step.step: step for step in dataset.description.funnel}
    assert steps["fit"].reasons == {"rejected": 3, "reprojection_error": 2}
    assert "a:0" not in (tmp_path / "out" / "facevid.json").read_text("utf-8")

    build(tmp_path, monkeypatch, "a", "b", "c")
    assert data(tmp_path) == before


def test_one_file_under_several_ids_falls_into_one_split_and_that_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"a={number}" for number in range(12)]
    moved = [name for name in names if own_split(ManifestRow(video_id=name, url=name)) != "train"]
    assert own_split(ManifestRow(video_id=names[0], url=names[0])) == "train"
    assert min(moved) == "a=10"
    assert len(moved) == 5

    _, lines, _ = build(tmp_path, monkeypatch, *reversed(names), "b")
    (told,) = (line for line in lines if "the same file" in line)
    assert told == (
        "assemble: 5 videos, such as 'a=10', get the split of another one that shows the same file, so that nothing is "
        "trained on and tested on"
    )
    tracks = open_dataset(tmp_path / "out").table("tracks")
    assert len(set(tracks["source_sha256"].to_pylist())) == 2
    splits = dict(zip(tracks["video_id"].to_pylist(), tracks["split"].to_pylist(), strict=True))
    assert splits == dict.fromkeys(names, "train") | {"b": own_split(ManifestRow(video_id="b", url="b"))}


def test_the_tables_of_before_stand_where_the_new_ones_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path, monkeypatch, "a", "b")
    before = data(tmp_path)
    assemble = Pretender.assemble

    def fail(driver: Pretender) -> None:
        assemble(driver)
        raise BuildError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Pretender, "assemble", fail)
        with pytest.raises(BuildError, match="the disk is full"):
            build(tmp_path, monkeypatch, "a", "b", "c")

    assert data(tmp_path) == before
    open_dataset(tmp_path / "out").verify()
    # The old manifest again: nothing is to be written, and nothing is left of the try.
    assert not build(tmp_path, monkeypatch, "a", "b")[0].assembled
    assert not new_tables(tmp_path / "out").exists()
    assert build(tmp_path, monkeypatch, "a", "b", "c")[0].assembled
    assert open_dataset(tmp_path / "out").table("tracks").num_rows == 6


def test_a_build_says_how_what_it_keeps_of_denied_rows_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path, monkeypatch, "a", "b")
    monkeypatch.setattr("pipeline.row_state.denial", lambda row, *_: "id:a is listed" if row.url == "a" else None)

    summary, lines, _ = build(tmp_path, monkeypatch, "a", "b")

    assert summary.failures == {FailureCode.DENIED: 1, FailureCode.FIT_DIVERGED: 1}
    assert "of 1 denied rows are still in" in lines[-1]
    assert f"`facevid purge {tmp_path / 'out'} --denied` removes them" in lines[-1]


def test_entries_of_the_deny_list_that_name_no_row_are_said_before_the_work_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = Lists(allow=None, deny=SourceList(ids=frozenset({"A", "a"})))
    monkeypatch.setattr("pipeline.waves.kept_lists", lambda *_: listed)

    lines = build(tmp_path, monkeypatch, "a", "b")[1]

    assert lines[0] == "1 entry of the deny list names no row of the manifest: id:A; see how it is spelled"


def test_what_a_build_keeps_of_a_denied_row_that_left_the_manifest_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path, monkeypatch, "a", "b")
    build(tmp_path, monkeypatch, "b")
    monkeypatch.setattr("pipeline.earlier_rows.denial", lambda row, *_: "id:a" if row.video_id == "a" else None)

    assert "of 1 denied rows are still in" in build(tmp_path, monkeypatch, "b")[1][-1]


def test_who_has_filtered_every_frame_is_shown_where_the_numbers_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path, monkeypatch, "a", keep="frame < 0")

    out = tmp_path / "out"
    assert f"none is left; `facevid schema {out} --table frames` shows" in render(status(out))


def test_each_look_at_a_row_is_told_and_those_after_labelling_are_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path, monkeypatch, "a", "bad", "c")
    looked: list[str] = []

    def look(row: ManifestRow, *_: Any) -> None:
        looked.append(row.video_id)

    monkeypatch.setattr("pipeline.row_state.denial", look)
    monkeypatch.setattr(tell, "REPORT_EVERY_S", 0.0)
    monkeypatch.setattr(tell, "_LOOKS_PER_CLOCK", 1)
    summary, lines, _ = build(tmp_path, monkeypatch, "a", "bad", "c")

    assert not summary.assembled
    # For what to try again, for what is to do, and for the tables with the count of failures.
    assert Counter(looked) == {"a": 3, "bad": 3, "c": 3}
    assert summary.failures == {FailureCode.NETWORK: 1, FailureCode.FIT_DIVERGED: 2}
    told = [line for line in lines if " of 3 rows, " in line]
    assert [line.split(":")[0] for line in told] == [
        *["looking for what to try again"] * 3, *["looking for what is to do"] * 3, *["counting results"] * 3,
    ]  # fmt: skip


def test_the_funnel_adds_up_over_every_kind_of_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = BadRow(line=9, video_id="../x", url="u", reason="not an id")
    summary, _, _ = build(tmp_path, monkeypatch, "a", "b", "bad", "black", "bad2", bad_rows=(bad,))

    steps = {step.step: (step.entered, step.ok, step.failed, step.filtered) for step in summary.funnel}
    assert steps == {
        "manifest": (6, 5, 1, 0), "fetch": (5, 3, 2, 0), "faces": (3, 2, 1, 0), "tracks": (10, 6, 0, 4),
        "fit": (6, 2, 2, 2), "frames": (20, 10, 0, 10),
    }  # fmt: skip
    assert summary.failures == {
        FailureCode.BAD_ROW: 1, FailureCode.NETWORK: 2, FailureCode.NO_FACE: 1, FailureCode.FIT_DIVERGED: 2,
    }
    dataset = open_dataset(tmp_path / "out")
    dataset.verify()
    assert dataset.table("frames").num_rows == 20
    assert dataset.table("tracks")["filtered_reason"].to_pylist().count("reprojection_error") == 2
    assert dataset.table("crops").num_rows == 20
    assert codes(tmp_path) == {
        "../x": "bad_row", "bad": "network", "bad2": "network", "black": "no_face", "a": "fit_diverged",
        "b": "fit_diverged",
    }


def test_a_build_ends_with_a_card_that_stays_the_same_and_comes_back_where_it_was_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path, monkeypatch, "a", "bad")
    names = ("README.md", "croissant.json")
    first = {name: (tmp_path / "out" / name).read_bytes() for name in names}
    assert b"1 kept face track" in first["README.md"]
    (tmp_path / "out" / "README.md").unlink()

    summary, _, _ = build(tmp_path, monkeypatch, "a", "bad")
    assert not summary.assembled
    assert {name: (tmp_path / "out" / name).read_bytes() for name in names} == first

    build(tmp_path, monkeypatch, "a", "bad", "c")
    assert b"2 kept face tracks" in (tmp_path / "out" / "README.md").read_bytes()


def test_tables_are_sorted_whatever_the_order_of_the_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for names in ("abcd", "cdba"):
        folder = tmp_path / names
        folder.mkdir()
        build(folder, monkeypatch, *names)
        found.append({name: content for name, content in data(folder).items() if name != "facevid.json"})

    assert found[0] == found[1]


def test_a_worker_that_dies_once_costs_nothing_but_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    build(tmp_path / "one", monkeypatch, "a", "b", "c")

    summary, lines, calls = build(tmp_path / "two", monkeypatch, "a", "b", "c", dies={"b": 1})

    assert summary.worker_deaths == 1
    assert calls == [("label", (0, 1, 2)), ("label", (2,)), ("label", (1,)), ("assemble", (0, 1, 2))]
    assert any("1 video in its hand, to run last" in line for line in lines)
    assert data(tmp_path / "one") == data(tmp_path / "two")


def test_a_video_that_kills_its_worker_twice_fails_and_the_build_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary, _, calls = build(tmp_path, monkeypatch, "a", "b", "c", "d", dies={"b": 2}, wave=2)

    assert summary.worker_deaths == 2
    assert calls[:4] == [("label", (0, 1)), ("label", (2, 3)), ("label", (1,)), ("assemble", (0, 1, 2, 3))]
    assert codes(tmp_path)["b"] == "worker_died"
    assert open_dataset(tmp_path / "out").table("tracks").num_rows == 6


def test_suspects_share_one_process_where_each_is_alone_in_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary, _, calls = build(tmp_path, monkeypatch, "a", "b", "c", "d", dies={"a": 1, "b": 2, "d": 1})

    assert [rows for kind, rows in calls if kind == "label"] == [(0, 1, 2, 3), (1, 2, 3), (2, 3), (0, 1, 3), (3,)]
    assert summary.worker_deaths == 4
    assert {video_id for video_id, code in codes(tmp_path).items() if code == "worker_died"} == {"b"}


def test_videos_that_were_fitted_together_are_fitted_one_by_one_before_one_is_blamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary, _, calls = build(tmp_path, monkeypatch, "a", "b", "c", fit_deaths=[("b",), ("a", "b")], verdict=LATE)

    assert [rows for kind, rows in calls if kind == "label"] == [(0, 1, 2), (0, 1)]
    assert summary.worker_deaths == 2
    rows = {row["video_id"]: row for row in open_dataset(tmp_path / "out").table("failures").to_pylist()}
    assert (rows["b"]["stage"], rows["b"]["code"], rows["b"]["message"]) == ("fit", "timeout", "too late")
    assert (rows["a"]["stage"], rows["a"]["code"]) == ("fit", "fit_diverged")


def test_a_video_that_takes_too_long_fails_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, lines, calls = build(tmp_path, monkeypatch, "a", "b", "c", dies={"b": 1}, verdict=LATE)

    assert [rows for kind, rows in calls if kind == "label"] == [(0, 1, 2), (2,)]
    assert codes(tmp_path)["b"] == "timeout"
    assert "label: b is given up as timeout: too late" in lines


def test_a_video_that_takes_too_much_memory_has_a_second_try_in_a_process_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, calls = build(tmp_path, monkeypatch, "a", "b", "c", dies={"a": 1, "b": 2}, verdict=LARGE)

    assert [rows for kind, rows in calls if kind == "label"] == [(0, 1, 2), (1, 2), (2,), (0, 1)]
    assert codes(tmp_path)["b"] == "out_of_memory"


def test_the_second_try_has_the_memory_of_all_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected: list[int] = []
    monkeypatch.setattr(Watch, "expect", lambda self, workers: expected.append(workers))

    build(tmp_path, monkeypatch, "a", "b", "c", dies={"a": 1}, verdict=LARGE, workers=2)

    assert expected == [1, 2, 2, 1]  # at first, two waves, the suspect alone


def test_a_changed_limit_tries_what_a_limit_stopped_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path, monkeypatch, "a", "b", "bad", dies={"b": 1}, verdict=LATE)

    _, _, same = build(tmp_path, monkeypatch, "a", "b", "bad")
    _, _, raised = build(tmp_path, monkeypatch, "a", "b", "bad", limits=LimitOptions(fetch_s=9999.0))

    assert same == []
    assert raised == [("label", (1,)), ("assemble", (0, 1, 2))]
    assert codes(tmp_path) == {"a": "fit_diverged", "b": "fit_diverged", "bad": "network"}


def test_workers_that_die_with_nothing_in_hand_stop_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BuildError, match="worker processes die or hang before they take a video in hand"):
        build(tmp_path, monkeypatch, "a", stillborn=True)


def test_waves_of_any_size_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for wave in (1, 2, 64):
        folder = tmp_path / str(wave)
        folder.mkdir()
        _, _, calls = build(folder, monkeypatch, "a", "b", "black", wave=wave)
        assert len(calls) == -(-3 // wave) + 1
        found.append(data(folder))

    assert found[0] == found[1] == found[2]


def test_a_build_that_goes_on_says_what_only_lacks_its_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path, monkeypatch, "a", "black")
    shutil.rmtree(job_in(tmp_path).store_folder / "fit")

    _, lines, _ = build(tmp_path, monkeypatch, "a", "black", "b")

    assert lines[0] == "label: 3 videos, 1 of them done before, 1 only to be fitted"


def test_a_second_run_starts_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path, monkeypatch, "a", "bad")
    before = data(tmp_path)

    summary, lines, calls = build(tmp_path, monkeypatch, "a", "bad")

    assert calls == []
    assert not summary.assembled
    assert summary.counts == {}
    assert lines == ["label: 2 videos, 2 of them done before", "assemble: the tables are up to date"]
    assert data(tmp_path) == before


def test_a_missing_shard_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path, monkeypatch, "a", "bad")
    before = data(tmp_path)
    next((tmp_path / "out" / "tracks").iterdir()).unlink()

    summary, _, calls = build(tmp_path, monkeypatch, "a", "bad")

    assert [kind for kind, _ in calls] == ["assemble"]
    assert summary.assembled
    assert data(tmp_path) == before


def test_new_rows_do_only_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path, monkeypatch, "a")

    summary, _, calls = build(tmp_path, monkeypatch, "a", "b")

    assert calls[0] == ("label", (1,))
    assert summary.counts["fetched"] == 1


def test_failures_stand_until_they_are_to_be_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path, monkeypatch, "bad", "black")

    _, _, calls = build(tmp_path, monkeypatch, "bad", "black", retry=[FailureCode.NETWORK])

    assert calls[0] == ("label", (0,))
    rows = {row["video_id"]: row for row in open_dataset(tmp_path / "out").table("failures").to_pylist()}
    assert (rows["bad"]["attempt"], rows["black"]["attempt"]) == (2, 1)


def test_a_row_that_is_lost_on_the_way_to_the_tables_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "failure_shard", lambda failure, shards: shards)  # one that nobody writes

    with pytest.raises(BuildError, match="the shards of failures have 0 rows, but the funnel counts 1"):
        build(tmp_path, monkeypatch, "black")

    assert not (tmp_path / "out" / "facevid.json").exists()


def test_tables_without_rows_have_one_empty_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path, monkeypatch, "black")

    dataset = open_dataset(tmp_path / "out")
    assert [(s.path, s.rows) for s in dataset.shards("frames")] == [("frames/part-00000-of-00002.parquet", 0)]
    assert dataset.table("frames").num_rows == 0
    assert len(dataset.shards("failures")) == 1


def test_status_tells_of_a_build_that_was_stopped_and_of_one_that_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path, monkeypatch, "a", "bad")
    done = status(tmp_path / "out")
    assert (done.finished, done.running, done.videos, done.videos_done) == (True, False, 2, 2)
    assert done.failures == (("fit_diverged", 1), ("network", 1))

    with pytest.raises(BuildError, match="before they take a video"):
        build(tmp_path, monkeypatch, "a", "bad", "new", stillborn=True)
    stopped = status(tmp_path / "out")

    assert (stopped.finished, stopped.videos, stopped.videos_done) == (False, 3, 2)
    text = render(stopped)
    assert "stopped before its end; run it again" in text
    assert "videos: 2 of 3 done" in text
    assert "fetch     videos          2        1        1        0" in text
    assert text.endswith(f"some may pass when tried again: facevid retry {tmp_path / 'out'} --only network")


@pytest.mark.parametrize(
    ("counts", "line"),
    [
        ({}, "label: 0 of 8 videos read, 0 done, 0 frames"),
        ({"read": 4.0, "decoded_frames": 300.0},
         "label: 4 of 8 videos read, 0 done, 300 frames, 30/s, about 12 s left"),
        ({"videos": 8.0, "decoded_frames": 300.0}, "label: 8 of 8 videos read, 8 done, 300 frames, 30/s"),
        ({"read": 8.0, "decoded_frames": 300.0, "fitted_frames": 90.0},
         "label: 8 of 8 videos read, 0 done, 300 frames, 30/s, 90 fitted, about 1 s left"),
    ],
)
def test_a_progress_line_says_how_far_and_how_long(counts: dict[str, float], line: str) -> None:
    rate = 30.0 if counts else 0.0
    assert progress_line(counts, todo=8, elapsed_s=10.0, frames_per_s=rate) == line


def test_a_row_for_which_all_wait_is_named_with_how_long_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s, lines = 1000.0, []
    mark = Mark(video_ids=("talk",), stage=Stage.FETCH, pid=PID, since_s=1030.0)
    monkeypatch.setattr(tell, "read_marks", lambda _: (mark,))
    teller, counters = Teller(tmp_path, lines.append, clock=lambda: now_s), Counters(tmp_path)
    teller.todo = 4
    counters.add("videos", 3)
    counters.add("read", 3)
    counters.flush()

    for at_s in (1030.0, 1035.0, 1041.0, 1750.0):
        now_s = at_s
        teller.tell()

    assert [line.removeprefix("label: 3 of 4 videos read, 3 done, 0 frames, ") for line in lines] == [
        "about 10 s left", "about 5 s left", "in hand: talk (fetch, 11 s)",
        "in hand: talk (fetch, 12 min)",
    ]  # fmt: skip


def test_spans_that_are_fitted_together_are_in_hand_together() -> None:
    marks = [Mark(video_ids=ids, stage=Stage.FIT, pid=PID, since_s=5.0) for ids in (("a", "b", "c"), ("d",))]

    line = progress_line({}, marks, todo=8, elapsed_s=10.0, frames_per_s=0.0, now_s=95.0)

    assert line == "label: 0 of 8 videos read, 0 done, 0 frames, longest in hand: a and 2 more (fit, 90 s)"


def test_videos_that_only_lack_their_fit_count_as_read() -> None:
    counts = {"videos": 2.0, "fitted_frames": 400.0}
    line = "label: 8 of 8 videos read, 2 done, 0 frames, 400 fitted, about 30 s left"
    assert progress_line(counts, todo=8, found=8, elapsed_s=10.0, frames_per_s=0.0) == line
    assert progress_line({"read": 3.0}, todo=8, found=2, elapsed_s=10.0, frames_per_s=0.0).startswith("label: 5 of 8")


def test_writing_the_tables_tells_rate_and_time_left(tmp_path: Path) -> None:
    now_s, lines = 0.0, []
    teller, counters = Teller(tmp_path, lines.append, clock=lambda: now_s), Counters(tmp_path)
    counters.add("assembled_frames", 700)  # by an attempt that died
    counters.flush()
    teller.assemble(rows=100, frames=6000)

    for count, amount in (("listed", 0), ("listed", 40), ("listed", 60), *(("assembled_frames", 250.0),) * 3):
        now_s += 5
        counters.add(count, amount)
        counters.flush()
        teller.tell()

    assert lines == [
        "assemble: 0 of 100 rows listed",
        "assemble: 40 of 100 rows listed, 8/s, about 8 s left",
        "assemble: 100 of 100 rows listed, 10/s, about 0 s left",
        "assemble: 250 of 6000 frames written, 50/s, about 115 s left",
        "assemble: 500 of 6000 frames written, 50/s, about 110 s left",
        "assemble: 750 of 6000 frames written, 50/s, about 105 s left",
    ]
