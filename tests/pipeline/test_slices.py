"""Many machines: who labels which rows, that nobody gets in another's way, and that the tables are those of one."""

import fcntl
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from synthetic import MODEL, job_in, with_options
from test_waves import Pretender, build, data

from facevid.commands.build import Status
from pipeline import waves
from pipeline.config import BuildOptions, FetchOptions
from pipeline.forecast import plan_text
from pipeline.job import state_folder
from pipeline.lock_check import require_locks
from pipeline.manifest import Manifest, ManifestRow
from pipeline.output_lock import StoreBusyError, build_lock
from pipeline.plan import read_plan
from pipeline.prepare import run_job
from pipeline.slice_status import SliceStatuses, status_of_all
from pipeline.slices import begun_slices, require_nobody_else, rows_of_slice, slice_folder, take_slice, whole_out
from pipeline.status import render, status
from pipeline.store_users import outputs_of


def manifest(*urls: str) -> Manifest:
    rows = tuple(ManifestRow(video_id=f"v{n}", url=url, line=n) for n, url in enumerate(urls))
    return Manifest(rows=rows, bad_rows=(), folder=Path("/data"))


def slices_of(rows: Manifest, count: int, *, whole_hosts: bool) -> list[list[str]]:
    return [
        [row.url for row in rows_of_slice(rows, number, count, whole_hosts=whole_hosts)]
        for number in range(1, count + 1)
    ]


def test_every_row_is_in_one_slice_and_clips_of_one_address_are_in_the_same() -> None:
    urls = [f"https://h{n % 3}.org/{n // 2}.mp4" for n in range(40)] + ["a.mp4", "./a.mp4", "b.mp4"]
    for count in (1, 2, 7, 60):
        parts = slices_of(manifest(*urls), count, whole_hosts=False)
        assert Counter(url for part in parts for url in part) == Counter(urls)
        homes = [{url for url in part if url not in {"a.mp4", "./a.mp4"}} for part in parts]
        assert sum(map(len, homes)) == len(set().union(*homes))
        assert [["a.mp4" in part, "./a.mp4" in part] for part in parts].count([True, True]) == 1


def test_slices_are_of_one_size() -> None:
    urls = [f"https://host.org/{n}.mp4" for n in range(1001)]
    assert {len(part) for part in slices_of(manifest(*urls), 8, whole_hosts=False)} == {125, 126}
    hosts = [f"https://h{n % 40}.org/{n}.mp4" for n in range(1000)]
    assert {len(part) for part in slices_of(manifest(*hosts), 8, whole_hosts=True)} == {125}


def test_the_largest_hosts_are_dealt_out_first() -> None:
    urls = [f"https://{host}.org/{n}.mp4" for n, host in enumerate("abcddd")]
    parts = slices_of(manifest(*urls), 2, whole_hosts=True)
    assert parts == [[url for url in urls if "//d." in url], [url for url in urls if "//d." not in url]]


def test_without_one_way_out_for_all_each_host_has_one_machine() -> None:
    urls = [f"https://h{n % 5}.org/{n}.mp4" for n in range(50)] + ["https://H1.org:443/x", "c.mp4", "d.mp4"]
    parts = slices_of(manifest(*urls), 4, whole_hosts=True)
    hosts = [{url.lower().split("/")[2].split(":")[0] for url in part if "//" in url} for part in parts]
    assert sum(map(len, hosts)) == 5
    assert sum(map(len, parts)) == 53

    options = BuildOptions(slice="1/4")
    mine, _, _ = take_slice(manifest(*urls), Path("out"), options)
    assert [row.url for row in mine.rows] == parts[0]
    shared = BuildOptions(slice="1/4", fetch=FetchOptions(egress="10.0.0.5:3129"))
    mine, _, _ = take_slice(manifest(*urls), Path("out"), shared)
    assert [row.url for row in mine.rows] == slices_of(manifest(*urls), 4, whole_hosts=False)[0]


@pytest.mark.parametrize("given", ["0/4", "5/4", "1", "a/b", "01/4", "1/0", "-1/4", "1/4/2", ""])
def test_a_slice_that_is_none_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match="must be I/N with I from 1 to N, such as 3/8"):
        BuildOptions(slice=given)


def label_slice(
    folder: Path, monkeypatch: pytest.MonkeyPatch, part: str, *names: str, store: Path | None = None
) -> waves.BuildSummary:
    """One machine's work on a slice of these rows, with a driver that pretends."""
    rows = Manifest(
        rows=tuple(ManifestRow(video_id=name, url=name, line=n) for n, name in enumerate(names)), bad_rows=(),
        folder=folder,
    )  # fmt: skip
    whole = with_options(job_in(folder), slice=part, store=store)
    mine, out, options = take_slice(rows, whole.out, whole.options)
    calls: list[Any] = []
    fields = {"dies": {}, "fit_deaths": [], "calls": calls, "stillborn": False, "manifest": mine}
    monkeypatch.setattr(waves, "Driver", type("P", (Pretender,), fields))
    summary = run_job(replace(whole, out=out, options=options), MODEL, mine, report=lambda _: None)
    assert {kind for kind, _ in calls} <= {"label"}
    return summary


def test_two_slices_and_a_build_give_the_very_tables_of_one_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("v0", "v1", "bad2", "black3", "v4")
    (tmp_path / "one").mkdir()
    (tmp_path / "many").mkdir()
    build(tmp_path / "one", monkeypatch, *names)
    out = tmp_path / "many" / "out"

    first = label_slice(tmp_path / "many", monkeypatch, "1/2", *names)
    assert not first.assembled
    assert first.funnel[0].entered == 3
    assert not (out / "facevid.json").exists()
    seen = status_of_all(out)
    assert isinstance(seen, SliceStatuses)
    assert "3 of 3 done" in seen.render()
    assert "never begun: 2/2" in seen.render()

    label_slice(tmp_path / "many", monkeypatch, "2/2", *names)
    seen = status_of_all(out)
    assert isinstance(seen, SliceStatuses)
    assert list(seen.slices) == ["1/2", "2/2"]
    plain = json.loads(seen.to_json())
    assert list(plain["slices"]) == ["1/2", "2/2"]
    assert (plain["videos_done"], plain["finished"]) == (5, False)
    assert "without --slice writes the tables" in seen.render()
    assert "slice 2/2 finished" in render(status(slice_folder(out, "2/2")))
    assert Status(out=out, json=True).run() == 0
    assert Status(out=out, slice="1/2").run() == 0

    summary, _, calls = build(tmp_path / "many", monkeypatch, *names)
    assert summary.assembled
    assert [kind for kind, _ in calls] == ["assemble"]
    assert data(tmp_path / "many") == data(tmp_path / "one")
    assert not isinstance(status_of_all(out), SliceStatuses)


def test_slices_of_an_earlier_cut_are_named_and_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names, out = ("v0", "v1", "v2", "bad3"), tmp_path / "out"
    for part in ("1/2", "1/3", "2/3"):
        label_slice(tmp_path, monkeypatch, part, *names)
    seen = status_of_all(out)
    assert isinstance(seen, SliceStatuses)
    text = seen.render()
    assert f"{out}: slices, 3 of their 3 videos done" in text
    assert "never begun: 3/3\n" in text
    assert "of earlier cuts, and not counted: 1/2; what they made is in the store" in text

    label_slice(tmp_path, monkeypatch, "3/3", *names)
    with build_lock(state_folder(slice_folder(out, "1/2"))):
        seen = status_of_all(out)
    assert isinstance(seen, SliceStatuses)
    assert "all are done: the same `facevid build` without --slice" in seen.render()
    assert "not counted: 1/2 (running);" in seen.render()

    # Back to two: the cut that was begun last counts, not the finest.
    label_slice(tmp_path, monkeypatch, "2/2", *names)
    seen = status_of_all(out)
    assert isinstance(seen, SliceStatuses)
    assert (list(seen.slices), list(seen.older)) == (["1/2", "2/2"], ["1/3", "2/3", "3/3"])


def test_programs_are_told_of_all_slices_what_they_are_told_of_a_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("v0", "v1", "bad2", "black3", "v4")
    for folder in ("one", "many"):
        (tmp_path / folder).mkdir()
    label_slice(tmp_path / "one", monkeypatch, "1/1", *names)
    for part in ("1/2", "2/2"):
        label_slice(tmp_path / "many", monkeypatch, part, *names)

    one = json.loads(status(slice_folder(tmp_path / "one" / "out", "1/1")).to_json())
    many = json.loads(status_of_all(tmp_path / "many" / "out").to_json())

    assert many.keys() - one.keys() == {"slices", "never_begun", "older_slices"}
    own = {"out", "slice", "finished", "frames_per_s"}
    assert {key: many[key] for key in one.keys() - own} == {key: one[key] for key in one.keys() - own}
    assert (many["slice"], many["never_begun"], many["older_slices"]) == (None, [], [])
    assert sum(part["videos"] for part in many["slices"].values()) == many["videos"] == 5


def test_a_slice_that_was_stopped_says_so_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Pretender, "run", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            label_slice(tmp_path, monkeypatch, "1/2", "a", "b", "c")
    out = tmp_path / "out"
    assert "slice 1/2 stopped before its end; run it again" in render(status(slice_folder(out, "1/2")))
    assert read_plan(slice_folder(out, "1/2")).job.options.slice == "1/2"

    label_slice(tmp_path, monkeypatch, "1/2", "a", "b", "c")

    assert status(slice_folder(out, "1/2")).finished


def test_the_folder_of_a_slice_is_for_its_user_alone_and_its_rows_go_into_the_store_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    label_slice(tmp_path, monkeypatch, "2/3", "a", "b", "c")
    out = tmp_path / "out"
    assert [state_folder(out).stat().st_mode & 0o777, (out / "store").stat().st_mode & 0o777] == [0o700, 0o700]
    assert begun_slices(out) == {"2/3": slice_folder(out, "2/3")}
    job = read_plan(slice_folder(out, "2/3")).job
    assert job.store_folder == out / "store"
    assert whole_out(job) == out


def test_a_store_of_its_own_knows_the_output_of_the_slices_and_not_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "disk" / "store"
    label_slice(tmp_path, monkeypatch, "1/2", "a", "b", store=store)
    assert outputs_of(store) == {tmp_path / "out"}
    label_slice(tmp_path, monkeypatch, "1/2", "a", "b")
    assert outputs_of(tmp_path / "out" / "store") == set()  # nobody knows yet what is needed of it


def test_a_slice_and_the_whole_build_keep_out_of_each_others_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    label_slice(tmp_path, monkeypatch, "1/2", "a", "b")
    whole = job_in(tmp_path)
    part = read_plan(slice_folder(whole.out, "1/2")).job
    require_nobody_else(whole)
    with build_lock(part.state), pytest.raises(StoreBusyError, match=r"slices are at work in .*: 1/2; wait"):
        require_nobody_else(whole)
    require_nobody_else(part)
    with build_lock(whole.state), pytest.raises(StoreBusyError, match="a build of all rows is at work"):
        require_nobody_else(part)


def test_a_dry_run_tells_what_a_slice_would_do(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("video_id,url\n" + "".join(f"v{n},https://h{n}.org/a\n" for n in range(9)) + "-,\n")
    text, would_begin = plan_text(tmp_path / "m.csv", tmp_path / "out", BuildOptions(slice="2/4"))
    assert text.startswith("slice 2/4: 2 of 9 rows, by whole hosts (without --egress)\n2 rows into ")
    assert "1 bad row" in text
    assert not would_begin
    assert not (tmp_path / "out").exists()


def test_a_dry_run_of_a_slice_says_that_the_pauses_are_everybodys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m.csv").write_text("video_id,url\n" + "".join(f"v{n},https://h.org/{n}\n" for n in range(9)))
    monkeypatch.setenv("FACEVID_EGRESS_TOKEN", "x" * 16)
    alone = BuildOptions(slice="2/4")
    together = BuildOptions(slice="2/4", fetch=FetchOptions(egress="10.0.0.5:3129"))
    assert "pauses of all slices" in plan_text(tmp_path / "m.csv", tmp_path / "out", together)[0]
    assert "pauses of all slices" not in plan_text(tmp_path / "m.csv", tmp_path / "out", alone)[0]


def test_locks_that_work_are_let_pass_and_leave_nothing(tmp_path: Path) -> None:
    require_locks(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["flock", "fcntl"])
def test_a_file_system_that_grants_every_lock_or_none_is_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, kind, lambda *_: None)
        with pytest.raises(ValueError, match=r"gives one lock \(.*\) to two at once; .*Lustre mounted with `flock`"):
            require_locks(tmp_path)

    def no_locks(*_: object) -> None:
        raise OSError(37, "No locks available")

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, kind, no_locks)
        with pytest.raises(ValueError, match=r"takes no lock \(.*: No locks available\)"):
            require_locks(tmp_path)
    assert not list(tmp_path.iterdir())
