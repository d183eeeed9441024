import os
from email.message import Message
from pathlib import Path

import pytest

from pipeline.download.partial import PartialFile, forget_partial, partial_file, sweep_partials


def headers(**fields: str) -> Message:
    made = Message()
    for name, value in fields.items():
        made[name.replace("_", "-")] = value
    return made


def half(folder: Path, **fields: str) -> PartialFile:
    partial = PartialFile(folder)
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


def test_all_else_is_removed_before_a_try(tmp_path: Path) -> None:
    partial = half(tmp_path, ETag='"abc"')
    for name in ("video.bin", "video.bin.ytdl", "video.bin.part-Frag1.part"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder").mkdir()

    partial.prepare()

    assert {path.name for path in tmp_path.iterdir()} == {"video.bin.part", "version"}


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
