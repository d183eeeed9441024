import fcntl
import os
import shutil
from email.message import Message
from pathlib import Path

import pytest

from pipeline.download.partial import PartialFile, forget_partial, partial_file, sweep_partials


def headers(**fields: str) -> Message:
    made = Message()
    for name, value in fields.items():
        made[name.replace("_", "-")] = value
    return made


def half(folder: Path, identity: str = "22", **fields: str) -> PartialFile:
    partial = PartialFile(folder)
    partial.begin(identity)
    partial.note(headers(**fields))
    (folder / "video.bin.part").write_bytes(b"12345")
    return partial


@pytest.mark.parametrize(("fields", "version"), [
    ({"ETag": '"abc"', "Last_Modified": "Tue, 01 Oct 2024 10:00:00 GMT"}, '"abc"'),
    ({"ETag": 'W/"abc"', "Last_Modified": "Tue, 01 Oct 2024 10:00:00 GMT"}, "Tue, 01 Oct 2024 10:00:00 GMT"),
    ({"ETag": 'W/"abc"'}, None),
    ({"ETag": '"abc\r\n X: y"'}, None),
    ({}, None),
])  # fmt: skip
def test_a_file_is_gone_on_with_under_the_version_that_its_server_named(
    tmp_path: Path, fields: dict[str, str], version: str | None
) -> None:
    partial = half(tmp_path, **fields)

    partial.prepare()

    assert partial.version_for("bytes=5-") == version
    assert (tmp_path / "video.bin.part").exists() is (version is not None)


@pytest.mark.parametrize("ranges", [None, "bytes=4-", "bytes=6-", "bytes=-5", "bytes=5-6,8-9"])
def test_other_ranges_are_not_conditional(tmp_path: Path, ranges: str | None) -> None:
    assert half(tmp_path, ETag='"abc"').version_for(ranges) is None


def test_another_format_is_never_added_to_what_has_come_of_one(tmp_path: Path) -> None:
    half(tmp_path, "360p", Last_Modified="Tue, 01 Oct 2024 10:00:00 GMT")

    for identity, kept in (("360p", 5), ("720p", 0)):
        again = PartialFile(tmp_path)
        again.prepare()
        again.begin(identity)
        assert again.bytes() == kept

    assert again.version_for("bytes=0-") is None


@pytest.mark.parametrize(("fields", "rest"), [
    ({"Content_Range": "bytes 5-9/10", "ETag": '"abc"'}, True),
    ({"Content_Range": "bytes 5-9/10"}, True),
    ({"Content_Range": "bytes 5-9/*", "ETag": '"abc"'}, True),
    ({"Content_Range": "bytes 5-9/10", "Last_Modified": "Tue, 01 Oct 2024 10:00:00 GMT"}, True),
    ({"Content_Range": "bytes 5-9/10", "ETag": '"new"'}, False),
    ({"Content_Range": "bytes 5-11/12", "ETag": '"abc"'}, False),
    ({"Content_Range": "bytes 4-9/10", "ETag": '"abc"'}, False),
    ({"Content_Range": "five"}, False),
    ({}, False),
])  # fmt: skip
def test_what_a_server_sends_must_be_the_rest_of_what_was_begun(
    tmp_path: Path, fields: dict[str, str], rest: bool
) -> None:
    partial = half(tmp_path, ETag='"abc"', Content_Length="10")

    assert partial.goes_on(headers(**fields)) is rest


@pytest.mark.parametrize("record", ["", '"abc"', "{}", '{"identity": "22"}', "[1]", "Tue, 01 Oct 2024 10:00:00 GMT"])
def test_a_damaged_record_costs_what_has_come(tmp_path: Path, record: str) -> None:
    partial = half(tmp_path, ETag='"abc"')
    (tmp_path / "begun.json").write_text(record)

    partial.prepare()

    assert list(tmp_path.iterdir()) == []


def test_all_else_is_removed_before_a_try(tmp_path: Path) -> None:
    partial = half(tmp_path, ETag='"abc"')
    for name in ("video.bin", "video.bin.ytdl", "video.bin.part-Frag1.part"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder").mkdir()

    partial.prepare()

    assert {path.name for path in tmp_path.iterdir()} == {"video.bin.part", "begun.json"}


def test_a_server_that_begins_another_version_replaces_the_one_before(tmp_path: Path) -> None:
    partial = half(tmp_path, ETag='"abc"')

    partial.note(headers())

    assert partial.version_for("bytes=5-") is None


def test_a_download_has_one_folder_that_two_do_not_share(tmp_path: Path) -> None:
    spare = tmp_path / "spare"
    with partial_file(tmp_path, "ab12", spare) as first:
        (first.folder / "x").touch()
        with partial_file(tmp_path, "ab12", spare) as second:
            assert second.folder == spare
    with partial_file(tmp_path, "ab12", spare) as third:
        assert third.folder == first.folder == tmp_path / "partial" / "ab" / "ab12"
        assert (third.folder / "x").exists()
        forget_partial(third)
    assert not first.folder.exists()


def test_a_lock_that_was_removed_before_it_was_taken_keeps_two_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between opening a lock and locking it, its holder is done and removes the folder."""
    flock = fcntl.flock
    folder = tmp_path / "partial" / "ab" / "ab12"

    def late(descriptor: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        shutil.rmtree(folder)
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)

    with partial_file(tmp_path, "ab12", tmp_path / "spare") as first:
        (first.folder / "x").touch()
        with partial_file(tmp_path, "ab12", tmp_path / "spare") as second:
            assert (first.folder, second.folder) == (folder, tmp_path / "spare")


def test_a_download_that_is_at_work_is_never_swept(tmp_path: Path) -> None:
    """One that waits for its server for long has touched nothing meanwhile, and clocks may be set."""
    with partial_file(tmp_path, "ab12", tmp_path / "spare") as partial:
        (partial.folder / "video.bin.part").touch()
        sweep_partials(tmp_path, now_s=1e11)
        assert partial.bytes() == 0
        assert (partial.folder / "video.bin.part").exists()

    sweep_partials(tmp_path, now_s=1e11)

    assert not (tmp_path / "partial" / "ab" / "ab12").exists()


def test_downloads_that_nobody_touches_are_swept(tmp_path: Path) -> None:
    for key in ("ab12", "cd34"):
        with partial_file(tmp_path, key, tmp_path) as partial:
            (partial.folder / "video.bin.part").touch()
    old = tmp_path / "partial" / "ab" / "ab12"
    for path in (*old.iterdir(), old):
        os.utime(path, (0, 0))

    sweep_partials(tmp_path)

    assert not old.exists()
    assert (tmp_path / "partial" / "cd" / "cd34" / "video.bin.part").exists()
