"""What a purge removes from a store, what it leaves for others, and what deaths in between leave."""

import re
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from deaths import Death, Killed
from pretend import Line, facts_of
from synthetic import manifest_of, with_options

from facevid.cli import main
from facevid.description import DatasetError
from facevid.failures import FailureCode, Stage
from pipeline.config import FetchOptions, stable_hash
from pipeline.desk import Desk
from pipeline.faces.options import FacesOptions
from pipeline.fetch_errors import FetchError
from pipeline.fetched_video import FetchedVideo, write_fetched
from pipeline.job import fetch_keys, index_key, partial_key
from pipeline.label import fetch_row
from pipeline.manifest import ManifestRow
from pipeline.output_lock import StoreBusyError, build_lock
from pipeline.plan import Plan, write_plan
from pipeline.progress import Counters
from pipeline.purge import Group, Purged, purge
from pipeline.purge_text import purge_text
from pipeline.row_state import row_state
from pipeline.slices import slice_folder
from pipeline.source_lists import keep_lists
from pipeline.store import file_sha256
from pipeline.store_users import using_store


class Web(Line):
    """A line whose videos come from the web, where each address gives what is said."""

    def web_row(self, name: str, content: bytes, *, url: str = "", **clip: float) -> ManifestRow:
        row = ManifestRow(video_id=name, url=url or f"https://x.org/{name}.mp4", **clip)
        self.put(row, content)
        return row

    def put(self, row: ManifestRow, content: bytes) -> str:
        with self.store.scratch() as folder:
            (folder / "video").write_bytes(content)
            sha256 = file_sha256(folder / "video")
            path = self.store.add_video(folder / "video", sha256)
        video = FetchedVideo(
            sha256=sha256, path=path, url=row.url, title=None, uploader=None, licence=None, fetched_at=None,
            bytes=len(content), file_duration_s=facts_of(path, self.job.options.limits).duration_s,
        )  # fmt: skip
        key = fetch_keys(row, self.job)[0]
        self.store.commit(Stage.FETCH, key, lambda folder: write_fetched(folder, video, local=False))
        return sha256

    def plan(self, *rows: ManifestRow, deny: str = "") -> None:
        """Begin a build of these rows."""
        if deny:
            (self.folder / "deny.txt").write_text(deny)
            self.job = with_options(self.job, fetch=replace(self.job.options.fetch, deny_list=self.folder / "deny.txt"))
        self.job.state.mkdir(parents=True, exist_ok=True)
        keep_lists(self.job.options.fetch, self.job.state)
        write_plan(Plan(job=self.job, manifest=manifest_of(*rows)))
        (self.job.state / "finished.json").write_text("{}")

    def purge(self, *groups: Group, **how: Any) -> Purged:
        return purge(self.job.out, groups, report=lambda _: None, **how)

    def held(self) -> set[str]:
        """What the store holds: kind and name."""
        kinds = ("videos", "index", "fetch", "faces", "fit", "forgotten", "partial")
        return {f"{kind}/{path.name}" for kind in kinds for path in (self.store.root / kind).glob("*/*")}


def takedown(folder: Path) -> tuple[Web, ManifestRow, ManifestRow]:
    """Anna, found and fitted under several options and fetched in two sizes, and Bob."""
    folder.mkdir(exist_ok=True)
    line = Web(folder)
    anna, bob = line.web_row("anna", b"long talk"), line.web_row("bob", b"video")
    line.run(anna, bob)
    now = line.job
    for options in (
        {"fit": type(now.options.fit)(keyframes=7)}, {"faces": FacesOptions(span_s=20.0)},
        {"fetch": replace(now.options.fetch, min_height_px=720)},
    ):  # fmt: skip
        line.job = with_options(now, **options)
        line.put(anna, b"long large" if "fetch" in options else b"long talk")
        line.run(anna)
    line.job = now
    sha256 = file_sha256(row_state(anna, now, line.store).fetched.path)  # type: ignore[union-attr]
    line.store.commit("index", index_key(sha256), lambda folder: (folder / "video.mkv").write_bytes(b"copy") and None)
    partial = line.store.root / "partial" / "aa" / stable_hash([anna.url, now.options.fetch.min_height_px])
    partial.mkdir(parents=True)
    (partial / "video.bin.part").write_bytes(b"begun")
    return line, anna, bob


def test_a_takedown_leaves_nothing_of_the_person_in_the_store(tmp_path: Path) -> None:
    line, anna, bob = takedown(tmp_path)
    alone = Web(tmp_path / "alone", replace(line.job, out=tmp_path / "alone" / "out"))
    alone.folder.mkdir()
    alone.run(alone.web_row("bob", b"video"))
    line.plan(anna, bob, deny="id:anna")
    before = row_state(bob, line.job, line.store)

    done = line.purge("denied")

    assert line.held() == alone.held()
    assert (done.survey.denied_rows, done.stayed) == (1, False)
    assert row_state(bob, line.job, line.store) == before
    counts = {kind: sum(item.kind == kind for item in done.survey.items["denied"]) for kind in ("videos", "fetch")}
    assert counts == {"videos": 2, "fetch": 2}
    assert not any((line.store.root / "tmp").iterdir())
    assert line.purge("denied").survey.items["denied"] == []


def test_a_dry_run_says_what_would_go_and_removes_nothing(tmp_path: Path) -> None:
    line, anna, bob = takedown(tmp_path)
    line.plan(anna, bob, deny="id:anna")
    before = line.held()

    would = line.purge("denied", dry_run=True)

    assert line.held() == before
    assert "would be removed" in purge_text(would, line.job.out, dry_run=True)
    assert line.purge("denied").survey.items == would.survey.items


def test_a_death_at_any_step_leaves_what_the_next_purge_finishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line, anna, bob = takedown(tmp_path / "whole")
    line.plan(anna, bob, deny="id:anna")
    folder = line.job.out
    saved = shutil.copytree(folder, tmp_path / "saved")
    line.purge("denied")
    wanted, steps, done = line.held(), 0, False

    while not done:
        shutil.rmtree(folder)
        shutil.copytree(saved, folder)
        death = Death(after=steps)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", death.at(Path.rename))
            patch.setattr(Path, "unlink", death.at(Path.unlink))
            patch.setattr("pipeline.purge.shutil.rmtree", death.at(shutil.rmtree))
            with suppress(Killed):
                line.purge("denied")
                done = True
        assert row_state(bob, line.job, line.store).next_stage is None
        line.purge("denied")
        assert line.held() == wanted
        steps += 1

    assert steps > 20


def test_what_another_row_needs_stays_and_is_said(tmp_path: Path) -> None:
    line = Web(tmp_path)
    first = line.web_row("first", b"long talk", url="https://x.org/a.mp4", start_s=0.0, end_s=20.0)
    second = line.web_row("second", b"long talk", url="https://x.org/a.mp4", start_s=20.0, end_s=61.0)
    line.run(first, second)
    line.plan(first, second, deny="id:first")
    kept = row_state(second, line.job, line.store)

    done = line.purge("denied")

    assert row_state(second, line.job, line.store) == kept
    assert {item.kind for item in done.survey.items["denied"]} == {"faces", "fit"}
    assert done.stayed
    assert f"these need it: second of {line.job.out}" in purge_text(done, line.job.out, dry_run=False)


def test_of_a_local_file_that_is_gone_the_crops_are_found(tmp_path: Path) -> None:
    line = Web(tmp_path)
    anna, bob = line.row("anna", b"long talk"), line.row("bob")
    line.run(anna, bob)
    (tmp_path / "anna").unlink()
    line.plan(anna, bob, deny="id:anna")

    line.purge("denied")

    assert len(line.held()) == 3
    assert row_state(bob, line.job, line.store).next_stage is None


@pytest.mark.parametrize(("old", "new"), [
    ("https://x.org/anna.mp4?X-Amz-Date=1&X-Amz-Signature=a", "https://x.org/anna.mp4?X-Amz-Date=4&X-Amz-Signature=c"),
    ("http://x.org/anna.mp4", "https://x.org/anna.mp4"), ("https://x.org/anna.mp4", "https://y.org/moved/anna.mp4"),
])  # fmt: skip
@pytest.mark.parametrize("gone", [False, True], ids=["row stays", "row is taken out"])
def test_a_takedown_holds_where_the_address_has_changed(tmp_path: Path, old: str, new: str, gone: bool) -> None:
    line = Web(tmp_path)
    anna, bob = line.web_row("anna", b"long talk", url=old), line.web_row("bob", b"video")
    line.run(anna, bob)
    line.plan(anna, bob)
    line.plan(replace(anna, url=new), bob)
    rows = [bob] if gone else [replace(anna, url=new), bob]
    line.plan(*rows, deny="id:anna")

    done = line.purge("denied")

    assert (done.survey.denied_rows, done.stayed) == (1, False)
    assert sorted(name.split("/")[0] for name in line.held()) == ["faces", "fetch", "fit", "videos"]  # of Bob
    assert row_state(bob, line.job, line.store).next_stage is None
    # Then nothing here says any more where they were.
    line.plan(bob)
    files = [path for path in line.job.state.iterdir() if path.is_file() and path.name != "deny_list.txt"]
    assert not any(b"anna" in path.read_bytes() for path in files)


def test_a_person_is_found_under_all_addresses_though_the_list_knows_one_row_of_hers(tmp_path: Path) -> None:
    line = Web(tmp_path)
    anna, bob = line.web_row("anna", b"long talk"), line.web_row("bob", b"video")
    line.run(anna, bob)
    line.plan(anna, bob)
    line.plan(replace(anna, url="https://y.org/moved/anna.mp4", subject_id="s"), bob)

    line.plan(bob, deny="subject:s")

    assert not line.purge("denied").stayed
    assert len(line.held()) == 4  # Bob's


@pytest.mark.parametrize("what", ["other options had it", "a part of it came"])
def test_who_left_is_noted_where_the_last_build_had_nothing_of_hers_but_an_earlier_one_had(
    tmp_path: Path, what: str
) -> None:
    line = Web(tmp_path)
    anna = ManifestRow(video_id="anna", url="https://x.org/anna.mp4")
    bob = line.web_row("bob", b"video")
    line.run(bob)
    small = line.job
    large = with_options(small, fetch=replace(small.options.fetch, min_height_px=720))
    if what == "other options had it":
        line.put(anna, b"long talk")
        line.run(anna)
    else:
        partial = line.store.result_path("partial", partial_key(anna.url, large.options.fetch))
        partial.mkdir(parents=True)
    line.job = large
    line.put(bob, b"video")
    line.run(bob)
    of_bob = {path for path in line.held() if path.startswith("videos")}
    line.plan(anna, bob, deny="id:anna")
    line.plan(bob)

    done = line.purge("denied")

    assert (done.survey.denied_rows, done.stayed) == (1, False)
    assert {path.split("/")[0] for path in line.held()} == {"videos", "fetch", "faces", "fit"}
    assert {path for path in line.held() if path.startswith("videos")} | of_bob == of_bob
    line.plan(anna, bob)
    line.plan(bob)
    assert line.purge("denied").survey.denied_rows == 0  # of whom nothing is left is not noted


def test_rows_that_only_slices_had_are_noted_though_those_of_the_whole_are_as_before(tmp_path: Path) -> None:
    line = Web(tmp_path)
    anna, bob = line.web_row("anna", b"long talk"), line.web_row("bob", b"video")
    line.run(anna, bob)
    whole = line.job
    line.plan(bob)
    line.job = replace(whole, out=slice_folder(whole.out, "1/2"), options=replace(
        whole.options, store=whole.store_folder, slice="1/2"))  # fmt: skip
    line.plan(anna)
    line.job = whole
    line.plan(bob, deny="id:anna")

    assert not line.purge("denied").stayed
    assert len(line.held()) == 4


def test_a_download_that_failed_under_an_earlier_signature_is_found(tmp_path: Path) -> None:
    line = Web(tmp_path)
    bob = line.web_row("bob", b"video")
    line.run(bob)
    url = "https://x.org/anna.mp4?X-Amz-Date=1&X-Amz-Signature="
    anna = ManifestRow(video_id="anna", url=f"{url}a")

    class Refused:
        def fetch(self, url: str) -> FetchedVideo:
            raise FetchError(FailureCode.NETWORK, f"{url}: refused")

    fetch_row(anna, Desk(job=line.job, store=line.store, counters=Counters(line.job.state)), Refused())
    (failure,) = line.store.root.glob("fetch/*/*/failure.json")

    line.plan(replace(anna, url=f"{url}c"), bob, deny="id:anna")
    line.purge("denied")

    assert not failure.exists()
    assert len(line.held()) == 4


def test_an_earlier_row_is_known_by_the_subject_that_it_had_last(tmp_path: Path) -> None:
    line = Web(tmp_path)
    anna, bob = line.web_row("anna", b"long talk"), line.web_row("bob", b"video")
    line.run(anna, bob)
    for rows in ([anna, bob], [bob], [replace(anna, subject_id="s"), bob]):
        line.plan(*rows)

    line.plan(bob, deny="subject:s")

    assert not line.purge("denied").stayed
    assert len(line.held()) == 4


def test_a_local_file_that_was_moved_and_is_denied_at_once_leaves_nothing(tmp_path: Path) -> None:
    line = Web(tmp_path)
    anna, bob = line.row("anna", b"long talk"), line.row("bob")
    line.run(anna, bob)
    line.plan(anna, bob)
    (tmp_path / anna.url).rename(tmp_path / "moved")
    line.plan(replace(anna, url="moved"), bob, deny="id:anna")

    assert not line.purge("denied").stayed
    assert len(line.held()) == 3


def test_what_is_at_a_denied_rows_earlier_address_stays_where_another_row_needs_it(tmp_path: Path) -> None:
    line = Web(tmp_path)
    anna = line.web_row("anna", b"video")
    line.run(anna)
    line.plan(anna)
    other = replace(anna, video_id="other")
    line.plan(replace(anna, url="https://x.org/2.mp4"), other, deny="id:anna")

    for _ in range(2):
        assert line.purge("denied").survey.needers == (f"other of {line.job.out}",)
    assert row_state(other, line.job, line.store).next_stage is None


def test_rows_are_noted_though_the_lists_of_the_build_before_are_gone(tmp_path: Path) -> None:
    line = Web(tmp_path)
    anna, bob = line.web_row("anna", b"long talk"), line.web_row("bob", b"video")
    line.run(anna, bob)
    without = line.job
    (tmp_path / "allow.txt").write_text("x.org")
    line.job = with_options(without, fetch=replace(without.options.fetch, allow_list=tmp_path / "allow.txt"))
    line.plan(anna, bob)
    (tmp_path / "allow.txt").unlink()
    line.job = without

    line.plan(bob, deny="id:anna")

    assert line.purge("denied").survey.denied_rows == 1


def test_rows_of_slices_are_found_under_the_addresses_that_they_had_there(tmp_path: Path) -> None:
    line = Web(tmp_path)
    anna = line.web_row("anna", b"video")
    line.run(anna)
    whole = line.job
    line.job = replace(whole, out=slice_folder(whole.out, "1/2"), options=replace(
        whole.options, store=whole.store_folder, slice="1/2"))  # fmt: skip
    line.plan(anna)
    line.job = whole
    line.plan(replace(anna, url="https://x.org/2.mp4"), deny="id:anna")

    assert not line.purge("denied").stayed
    assert line.held() == set()


def test_videos_go_where_their_rows_are_done_and_may_not_be_tried_again(tmp_path: Path) -> None:
    line = Web(tmp_path)
    names = {"done": b"video", "dark": b"black", "huge": b"huge", "new": b"long"}
    rows = {name: line.web_row(name, content) for name, content in names.items()}
    line.run(*(row for name, row in rows.items() if name != "new"))
    assert FailureCode.OUT_OF_MEMORY.retryable
    line.plan(*rows.values())

    done = line.purge("done_videos")

    left = {path.read_bytes() for path in (line.store.root / "videos").glob("*/*")}
    assert left == {b"huge", b"long"}
    assert {item.kind for item in done.survey.items["done_videos"]} == {"videos"}
    assert row_state(rows["done"], line.job, line.store).next_stage is None
    assert "are fetched again" in purge_text(done, line.job.out, dry_run=False)


def test_results_of_other_options_and_of_rows_that_left_the_manifest_are_needed_by_none(tmp_path: Path) -> None:
    line, anna, bob = takedown(tmp_path)
    line.plan(bob)

    assert not line.purge("denied", "done_videos").stayed
    assert row_state(anna, line.job, line.store).next_stage is None
    line.purge("unreferenced")

    assert row_state(bob, line.job, line.store).next_stage is None
    assert {name.split("/")[0] for name in line.held()} == {"fetch", "faces", "fit"}
    assert len(line.held()) == 3


def test_results_that_do_not_say_whose_they_are_are_told(tmp_path: Path) -> None:
    line, anna, bob = takedown(tmp_path)
    for path in line.store.root.glob("*/*/*/source"):
        path.unlink()
    line.plan(anna, bob, deny="id:anna")

    done = line.purge("denied")

    assert done.survey.nameless > 0
    assert done.stayed
    assert "do not say whose they are" in purge_text(done, line.job.out, dry_run=False)
    assert not line.purge("denied", "unreferenced").stayed
    assert line.purge().survey.nameless == 0


def two_outputs(folder: Path) -> tuple[Web, Web, ManifestRow]:
    """Two builds of the same row over one store; the first denies it."""
    lines = []
    for name in ("one", "two"):
        (folder / name).mkdir()
        line = Web(folder / name)
        line.job = with_options(line.job, store=folder / "store")
        lines.append(Web(folder / name, line.job))
    one, two = lines
    anna = one.web_row("anna", b"video")
    one.run(anna)
    one.plan(anna, deny="id:anna")
    two.plan(anna)
    return one, two, anna


def test_what_another_output_needs_stays(tmp_path: Path) -> None:
    one, two, anna = two_outputs(tmp_path)
    with using_store(one.job), using_store(two.job):
        pass

    done = one.purge("denied")

    assert done.stayed
    assert done.survey.needers == (f"anna of {two.job.out}",)
    assert row_state(anna, two.job, two.store).next_stage is None
    two.plan(anna, deny="id:anna")
    assert not one.purge("denied").stayed
    assert one.held() == set()


def test_outputs_that_a_store_does_not_know_can_be_named_and_those_that_are_gone_must_be(tmp_path: Path) -> None:
    one, two, anna = two_outputs(tmp_path)
    assert one.purge("denied", also=[two.job.out]).stayed
    with using_store(two.job):
        pass
    moved = two.job.out.rename(tmp_path / "moved")

    with pytest.raises(DatasetError, match=r"two/out used the store .* --also; .* --gone"):
        one.purge("denied")

    assert one.purge("denied", also=[moved], gone=[two.job.out]).stayed
    assert row_state(anna, two.job, two.store).next_stage is None
    # What was said to be gone is asked for no more.
    assert not one.purge("denied").stayed
    assert one.held() == set()


def test_a_moved_output_takes_its_store_along(tmp_path: Path) -> None:
    line, anna, bob = takedown(tmp_path)
    line.plan(anna, bob, deny="id:anna")
    moved = line.job.out.rename(tmp_path / "moved")

    done = purge(moved, ["denied"], report=lambda _: None)

    assert done.survey.store == moved / "store"
    assert done.survey.items["denied"]


def test_builds_and_purges_keep_each_other_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, _ = two_outputs(tmp_path)
    with using_store(two.job):
        with using_store(one.job):  # builds may share a store
            pass
        with pytest.raises(StoreBusyError, match="a build is at work in the store"):
            one.purge()
    # A driver outlives its build for a moment, with the lock of the output.
    with build_lock(two.job.state), pytest.raises(StoreBusyError, match="another build"):
        one.purge()

    def build(*_: object) -> None:
        with using_store(two.job):
            pass

    monkeypatch.setattr("pipeline.purge._survey", build)
    with pytest.raises(StoreBusyError, match="`facevid purge` is at work"):
        one.purge()


def test_a_list_that_has_changed_since_the_build_is_refused(tmp_path: Path) -> None:
    line, anna, bob = takedown(tmp_path)
    line.plan(anna, bob, deny="id:bob")
    (tmp_path / "deny.txt").write_text("id:anna")

    with pytest.raises(DatasetError, match=r"deny.txt has changed since the build .* run the build again"):
        line.purge("denied")


def test_entries_of_the_list_that_name_no_row_are_told(tmp_path: Path) -> None:
    line, anna, bob = takedown(tmp_path)
    line.plan(anna, bob, deny="id:Anna\nid:bob")

    text = purge_text(line.purge("denied"), line.job.out, dry_run=False)

    assert "1 entry of the deny list names no row of the manifest: id:Anna; see how it is spelled" in text
    line.plan(bob)  # Anna left: her entry names who was there
    line.plan(bob, deny="id:anna")
    assert line.purge("denied").survey.unused_entries == ""


def test_tables_and_a_report_that_may_still_show_them_are_named(tmp_path: Path) -> None:
    line, anna, bob = takedown(tmp_path)
    line.plan(anna, bob, deny="id:anna")
    text = purge_text(line.purge("denied", dry_run=True), line.job.out, dry_run=True)
    assert not re.search("still hold|report.html", text)
    (line.job.state / "finished.json").unlink()
    (line.job.out / "report.html").write_text("")

    text = purge_text(line.purge("denied"), line.job.out, dry_run=False)

    assert "may still hold them: run the build again" in text
    assert "report.html may show them" in text


def test_the_command_says_what_may_go_and_removes_what_is_chosen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line, anna, bob = takedown(tmp_path)
    line.plan(anna, bob, deny="id:anna")
    before = line.held()

    assert main(["purge", str(line.job.out)]) == 0
    assert "may go with --denied" in capsys.readouterr().out
    assert line.held() == before
    assert main(["purge", str(line.job.out), "--denied", "--dry-run"]) == 0
    assert line.held() == before
    assert main(["purge", str(line.job.out), "--denied", "--done-videos"]) == 0
    assert len(line.held()) == 3
    assert main(["purge", str(tmp_path / "nowhere")]) == 2
    assert "no build was begun" in capsys.readouterr().err


def test_what_was_fetched_before_more_was_permitted_is_needed_and_can_be_denied(tmp_path: Path) -> None:
    line = Web(tmp_path)
    anna, bob = line.web_row("anna", b"talk"), line.web_row("bob", b"video")
    line.run(anna, bob)
    line.job = with_options(line.job, fetch=replace(line.job.options.fetch, ignore_opt_out=True))
    line.plan(anna, bob)
    before = line.held()

    line.purge("denied", "unreferenced")

    assert line.held() == before
    line.plan(anna, bob, deny="id:anna")
    assert not line.purge("denied").stayed
    assert {path.read_bytes() for path in (line.store.root / "videos").glob("*/*")} == {b"video"}
    assert len(line.held()) == 4


def test_what_a_dead_process_was_writing_goes_with_whatever_is_chosen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = Web(tmp_path)
    line.plan(line.web_row("bob", b"video"))
    left = line.store.root / "tmp" / "container-of-before-17-ab12"
    left.mkdir(parents=True)
    (left / "video").write_bytes(bytes(60_000_000))

    assert main(["purge", str(line.job.out)]) == 0
    assert re.search(r"left by processes that died +1 +60 MB +goes with any of these", capsys.readouterr().out)
    assert left.exists()
    assert main(["purge", str(line.job.out), "--done-videos"]) == 0
    assert re.search(r"left by processes that died +1 +60 MB +removed", capsys.readouterr().out)
    assert not left.exists()


def test_without_a_store_there_is_nothing_to_remove(tmp_path: Path) -> None:
    line = Web(tmp_path)
    line.job = with_options(line.job, fetch=FetchOptions())
    line.plan()

    assert line.purge("denied").survey.items["denied"] == []
