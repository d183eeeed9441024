"""What a person has looked at and does not want: how it is written down, and what falls under it."""

from dataclasses import replace
from pathlib import Path

import pytest
from synthetic import MODEL, job_in, manifest_of

from pipeline import prepare
from pipeline.config import BuildOptions
from pipeline.job import Job, result_config
from pipeline.manifest import ManifestRow
from pipeline.prepare import make_job
from pipeline.rejects import is_rejected, read_rejects, unknown_rejects, unknown_tracks

ROWS = tuple(ManifestRow(video_id=name, url=name, line=n) for n, name in enumerate(("a", "b", "c:1")))


def test_a_list_has_an_entry_per_line_and_comments(tmp_path: Path) -> None:
    path = tmp_path / "rejects.txt"
    path.write_text("\ufeffb:2  # a hand before the face\n\n# all of it\na\nb:2\nodd#id\n", encoding="utf-8")
    assert read_rejects(path) == ("a", "b:2", "odd#id")
    path.write_bytes("é".encode("utf-16"))
    with pytest.raises(ValueError, match=r"cannot read the reject list .*rejects\.txt: it is UTF-16"):
        read_rejects(path)
    with pytest.raises(ValueError, match=r"cannot read the reject list .*none\.txt: No such file"):
        read_rejects(tmp_path / "none.txt")


def test_an_entry_is_a_video_or_one_of_its_tracks_whatever_ids_look_like() -> None:
    rejects = {"a", "b:2", "c:1"}
    assert [is_rejected(rejects, "a", track) for track in (0, 7)] == [True, True]
    assert [is_rejected(rejects, "b", track) for track in (1, 2, 22)] == [False, True, False]
    assert is_rejected(rejects, "c:1", 0)
    assert is_rejected(rejects, "c", 1)
    assert unknown_rejects(("a", "b:2", "c:1", "c:1:0", "d", "b:x", "d:1"), ROWS) == ("d", "b:x", "d:1")


def test_an_entry_whose_video_has_no_such_track_is_found_where_the_video_has_any() -> None:
    tracks = [("a", 0), ("a", 1), ("c:1", 0)]
    assert unknown_tracks(("a", "a:1", "a:2", "b:4", "c:1", "c:1:0", "c:1:9", "d:0"), ROWS, tracks) == ("a:2", "c:1:9")
    assert unknown_tracks(("c:1",), ROWS, [("c", 0)]) == ()  # the id of a video, not a track of c


def test_the_entries_are_part_of_what_is_built_and_not_where_they_stand(tmp_path: Path) -> None:
    first, second = tmp_path / "first.txt", tmp_path / "second.txt"
    first.write_text("b\na\n", encoding="utf-8")
    second.write_text("a\nb\n", encoding="utf-8")
    jobs = [
        make_job(manifest_of(*ROWS), tmp_path / "out", BuildOptions(reject_list=path), None)[0]
        for path in (first, second, None)
    ]
    assert [job.rejects for job in jobs] == [("a", "b"), ("a", "b"), ()]
    assert result_config(jobs[0]) == result_config(jobs[1]) != result_config(jobs[2])
    assert result_config(jobs[2]) == result_config(replace(jobs[0], rejects=()))
    assert Job.from_plain(jobs[0].to_plain()) == jobs[0]


def test_entries_that_name_no_video_are_told_when_a_build_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def enough(*_: object) -> None:
        raise InterruptedError

    monkeypatch.setattr(prepare, "build_lock", enough)
    job = replace(job_in(tmp_path), rejects=("a", "typo:3"))
    with pytest.raises(InterruptedError):
        prepare.run_job(job, MODEL, manifest_of(*ROWS), report=told.append)
    assert told == ["entries of the reject list that name no video of the manifest: 1, such as 'typo:3'"]
