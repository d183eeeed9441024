from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pretend import LONG_S, Line
from synthetic import with_options

from facevid.failures import FailureCode
from pipeline.config import BuildOptions, FetchOptions
from pipeline.forecast import ASSUMED_FPS, ASSUMED_FRAMES_PER_S, forecast, forecast_text, plan_text
from pipeline.manifest import BadRow, Manifest, ManifestRow
from pipeline.manifest_files import read_manifest
from pipeline.source_lists import keep_lists


def manifest(*rows: ManifestRow, bad: tuple[BadRow, ...] = (), remarks: tuple[str, ...] = ()) -> Manifest:
    return Manifest(rows=rows, bad_rows=bad, folder=Path("/"), remarks=remarks)


def test_what_is_done_is_looked_up_and_the_rest_is_reckoned_with_it(tmp_path: Path) -> None:
    line = Line(tmp_path)
    done, dark = line.row("done", b"long"), line.row("dark", b"long dark")
    line.run(done, dark)
    to_do = [line.row("new", b"long half dark"), line.row("other", b"video")]

    found = forecast(manifest(done, dark, *to_do), line.job)

    assert (found.rows, found.done, found.to_search, found.to_fit, found.local) == (4, 2, 2, 0, 2)
    assert found.failed == {FailureCode.NO_FACE: 1}
    assert (found.known, found.video_s) == (2, LONG_S)
    assert found.search_s(workers=2) == pytest.approx(LONG_S * ASSUMED_FPS / ASSUMED_FRAMES_PER_S)
    frames = 2 * LONG_S * ASSUMED_FPS
    assert found.disk_bytes(crops=True) == pytest.approx(frames * 22_800)
    assert found.disk_bytes(crops=True, crops_per_s=ASSUMED_FPS / 5) == pytest.approx(frames * 7_600)
    assert found.disk_bytes(crops=True, crops_per_s=240.0) == found.disk_bytes(crops=True)
    assert found.disk_bytes(crops=False) == pytest.approx(frames * 3_800)


def test_a_dry_run_judges_by_the_lists_of_now_and_says_which_entries_name_no_row(tmp_path: Path) -> None:
    line = Line(tmp_path)
    rows = line.row("a"), replace(line.row("b"), subject_id="anna")
    line.run(*rows)
    (tmp_path / "deny.txt").write_text("id:a")
    line.job = with_options(line.job, fetch=replace(line.job.options.fetch, deny_list=tmp_path / "deny.txt"))
    line.job.state.mkdir(parents=True, exist_ok=True)
    keep_lists(line.job.options.fetch, line.job.state)

    (tmp_path / "deny.txt").write_text("id:A\nsubject:anna")
    found = forecast(manifest(*rows), line.job)
    text = forecast_text(manifest(*rows), line.job, skip_bad_rows=False, networks_missing=False)

    assert (found.done, found.failed) == (2, {FailureCode.DENIED: 1})
    assert "remark: 1 entry of the deny list names no row of the manifest: id:A; see" in text


def test_rows_that_only_lack_their_fit_are_told_apart(tmp_path: Path) -> None:
    line = Line(tmp_path)
    row = line.row("a")
    line.run(row)
    line.job = with_options(line.job, fit=type(line.job.options.fit)(keyframes=7))

    found = forecast(manifest(row), line.job)

    assert (found.done, found.to_search, found.to_fit) == (0, 0, 1)


def test_the_slowest_host_or_the_number_of_workers_says_how_long_pauses_take(tmp_path: Path) -> None:
    urls = [*(f"https://a.org/{k}" for k in range(6)), *(f"https://b.org/{k}" for k in range(4)), "https://a.org/0"]
    rows = [ManifestRow(video_id=f"v{k}", url=url, start_s=float(k)) for k, url in enumerate(urls)]

    found = forecast(manifest(*rows), Line(tmp_path).job)

    # Two clips of one address are one download.
    assert dict(found.to_fetch) == {"a.org": 6, "b.org": 4}
    assert found.fetch_s(pause_s=7.0, workers=2) == 42.0
    assert found.fetch_s(pause_s=7.0, workers=1) == 70.0
    assert forecast(manifest(), Line(tmp_path).job).fetch_s(pause_s=7.0, workers=1) == 0.0


def test_the_text_names_hosts_bad_rows_and_what_it_assumes(tmp_path: Path) -> None:
    rows = manifest(
        ManifestRow(video_id="a", url="a.mp4"), ManifestRow(video_id="b", url="https://x.org/1"),
        bad=(BadRow(line=4, video_id="c", url="", reason="url is empty"),), remarks=("line 9: twice",),
    )  # fmt: skip
    job = with_options(Line(tmp_path).job, fetch=FetchOptions())

    text = forecast_text(rows, job, skip_bad_rows=False, networks_missing=True)

    for part in ("2 rows", "2 to do", "1 bad row, the build would refuse", "  line 4: url is empty", "line 9: twice",
                 "1 from x.org", "1 local file, refused without --allow-local", "assumed", "not here yet"):
        assert part in text
    assert "would become failures" in forecast_text(rows, job, skip_bad_rows=True, networks_missing=True)


def test_nothing_is_made_or_downloaded_for_a_forecast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEVID_CACHE", str(tmp_path / "empty"))
    (tmp_path / "m.csv").write_text("video_id,url\na,a.mp4\n")

    options = BuildOptions(fetch=FetchOptions(allow_local=True))
    text, would_begin = plan_text(tmp_path / "m.csv", tmp_path / "out", options)

    assert would_begin
    assert "the landmark networks are not here yet" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.csv"]


def test_files_that_are_not_there_are_named_before_the_build(tmp_path: Path) -> None:
    line = Line(tmp_path)
    rows = [line.row("here"), *(
        ManifestRow(video_id=f"v{k}", url=url, line=k)
        for k, url in ((5, "gone.mp4"), (6, "www.x.org/a"), (7, "n" * 300), (8, "https://www.x.org/a"))
    )]  # fmt: skip

    text = forecast_text(manifest(*rows), line.job, skip_bad_rows=False, networks_missing=False)

    assert "4 local files\n" in text
    assert "3 of them are not there" in text
    assert "line 5: gone.mp4\n" in text
    assert "line 6: www.x.org/a (an address of the web begins with https://)\n" in text


def test_a_broken_link_in_a_folder_is_named_without_a_line(tmp_path: Path) -> None:
    (tmp_path / "gone.mp4").symlink_to("nowhere.mp4")

    text = forecast_text(read_manifest(tmp_path), Line(tmp_path).job, skip_bad_rows=False, networks_missing=False)

    assert "\n            gone.mp4\n" in text


def test_downloads_are_not_spoken_of_where_there_are_none(tmp_path: Path) -> None:
    line = Line(tmp_path)
    text = forecast_text(manifest(line.row("here")), line.job, skip_bad_rows=False, networks_missing=False)
    assert "pauses" not in text
    assert "hosts" not in text


def test_a_disk_that_is_too_small_is_told_beforehand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line(tmp_path)
    rows = manifest(line.row("here"))
    for free, verdict in ((10**6, "1 MB are free, too little"), (10**15, "1000.0 TB are free")):
        monkeypatch.setattr("pipeline.forecast.free_bytes", lambda _, free=free: free)
        assert forecast_text(rows, line.job, skip_bad_rows=False, networks_missing=False).endswith(verdict)


@pytest.mark.parametrize("full", ["store_folder", "out"])
def test_the_fuller_of_two_disks_says_how_much_room_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    line = Line(tmp_path)
    free = {line.job.store_folder: 10**15, line.job.out: 10**15, getattr(line.job, full): 10**6}
    monkeypatch.setattr("pipeline.forecast.free_bytes", free.__getitem__)

    text = forecast_text(manifest(line.row("here")), line.job, skip_bad_rows=False, networks_missing=False)

    assert text.endswith("1 MB are free, too little")


@pytest.mark.parametrize(("options", "message"), [
    ({"egress": "nowhere"}, "egress='nowhere' must be HOST:PORT"),
    ({"upstream_proxy": "nowhere"}, "upstream_proxy='nowhere' must be"),
    ({"cookies": Path("none.txt")}, "none.txt' cannot be read: No such file"),
    ({"deny_list": Path("none.txt")}, r"cannot read the list .*none.txt: No such file"),
])  # fmt: skip
def test_a_dry_run_refuses_what_the_build_would_refuse(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    (tmp_path / "m.csv").write_text("video_id,url\na,https://x.org/1\n")
    with pytest.raises(ValueError, match=message):
        plan_text(tmp_path / "m.csv", tmp_path / "out", BuildOptions(fetch=FetchOptions(**options)))
