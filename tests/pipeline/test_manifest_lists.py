import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signings import SIGNED_TWICE

from facevid.signed_links import unsigned_url
from pipeline.manifest import ManifestError
from pipeline.manifest_files import read_manifest
from pipeline.manifest_lists import id_of


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")


def test_a_list_has_an_address_or_path_on_each_line(tmp_path: Path) -> None:
    (tmp_path / "m.txt").write_bytes(
        "\ufeff# my talks\r\nhttps://x.org/watch?v=Ab_1#t=3\r\n\r\n  clips/Zürich été.mp4 \r\n"
        "https://x.org/watch?v=Ab_1#t=3\r\n".encode()
    )

    manifest = read_manifest(tmp_path / "m.txt")

    assert [(row.line, row.url) for row in manifest.rows] == [
        (2, "https://x.org/watch?v=Ab_1#t=3"), (4, "clips/Zürich été.mp4"),
    ]  # fmt: skip
    assert [row.video_id.rpartition("-")[0] for row in manifest.rows] == ["watch-v-Ab-1-t-3", "clips-Zurich-ete"]
    assert manifest.folder == tmp_path
    assert (manifest.bad_rows, manifest.remarks) == ((), ())


def test_what_is_no_address_in_a_list_is_a_bad_row_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "m.txt").write_bytes(b"a.mp4\nftp://x.org/1\nZ\xfcrich.mp4\n")
    assert [(bad.line, bad.reason.partition(";")[0]) for bad in read_manifest(tmp_path / "m.txt").bad_rows] == [
        (2, "url 'ftp://x.org/1' has the scheme 'ftp'"), (3, "url: not valid UTF-8"),
    ]  # fmt: skip


@pytest.mark.parametrize(("text", "suffix"), [
    ("video_id,url\na,b.mp4\n", "csv"), ("url;video_id\n", "csv"),
    ('{"video_id": "a", "url": "https://x.org/1"}\n', "jsonl"),
])  # fmt: skip
def test_a_table_is_not_taken_for_a_list(tmp_path: Path, text: str, suffix: str) -> None:
    (tmp_path / "m.txt").write_text(text)
    with pytest.raises(ManifestError, match=rf"begins as a table does: rename it to \.{suffix}$"):
        read_manifest(tmp_path / "m.txt")


def test_an_address_with_the_columns_names_in_it_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "m.txt").write_text("https://x.org/watch?video_id=5&url=abc\n")
    assert [row.line for row in read_manifest(tmp_path / "m.txt").rows] == [1]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_list_in_utf16_is_refused_as_such(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "m.txt").write_bytes("\ufeffhttps://x.org/1\r\nhttps://x.org/2\r\n".encode(encoding))
    with pytest.raises(ManifestError, match="is UTF-16; save it as UTF-8"):
        read_manifest(tmp_path / "m.txt")


def test_addresses_that_get_one_id_are_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "m.txt").write_text("https://x.org/v?key=1\nhttps://x.org/w\nhttps://x.org/v?key=2\n")

    manifest = read_manifest(tmp_path / "m.txt")

    assert [row.line for row in manifest.rows] == [1, 2]
    (bad,) = manifest.bad_rows
    assert bad.line == 3
    for part in (f"the id {manifest.rows[0].video_id} of line 1", "key=", "a .csv with ids of your own"):
        assert part in bad.reason


def test_a_line_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.txt").write_text("x" * (1 << 20) + "yz")
    with pytest.raises(ManifestError, match="line 1 has more than"):
        read_manifest(tmp_path / "m.txt")


def test_a_folder_stands_for_its_videos(tmp_path: Path) -> None:
    for name in ("b.MP4", "sub/a.webm", "1:2.mov", "notes.txt", ".hidden.mp4", ".cache/x.mp4", "old/store/v.mp4"):
        touch(tmp_path / name)
    touch(tmp_path / "old" / "facevid.json")

    manifest = read_manifest(tmp_path)

    assert [row.url for row in manifest.rows] == ["./1:2.mov", "b.MP4", "sub/a.webm"]
    assert manifest.folder == tmp_path
    assert all((tmp_path / row.url).is_file() for row in manifest.rows)


def test_a_folder_without_videos_is_refused_with_what_they_are_known_by(tmp_path: Path) -> None:
    touch(tmp_path / "a.txt")
    with pytest.raises(ManifestError, match=r"is a folder without videos; .*\.mp4.*; links to other folders are not"):
        read_manifest(tmp_path)


def test_a_file_with_a_name_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    for name in (b"bad\xff.mp4", b"two\nlines.mp4", b"good.mp4"):
        (tmp_path / os.fsdecode(name)).write_bytes(b"")

    manifest = read_manifest(tmp_path)

    assert [row.url for row in manifest.rows] == ["good.mp4"]
    assert [bad.words() for bad in manifest.bad_rows] == [
        r"the name of the file 'bad\xff.mp4' is not UTF-8: rename it", r"url 'two\nlines.mp4' holds control characters",
    ]  # fmt: skip
    with pytest.raises(ManifestError, match=r"\n  the name of the file 'bad\\xff.mp4' is not"):
        manifest.require_all_good()


def test_an_id_stays_when_a_link_is_signed_anew_and_tells_files_of_one_name_apart() -> None:
    for first, second in SIGNED_TWICE.values():
        assert id_of(first) == id_of(second) == id_of(unsigned_url(first))
    assert len({id_of(url) for url in ("a/1.mp4", "a 1.mp4", "a-1.mp4", "https://x.org/a/1.mp4", "a/1.mov")}) == 5
    # Ids are names in datasets that exist: they may not change.
    assert id_of("https://x.org/talks/1.mp4") == "talks-1-053f0bbd"


@given(url=st.text(min_size=1))
def test_any_text_has_an_id_that_a_manifest_accepts(tmp_path_factory: pytest.TempPathFactory, url: str) -> None:
    path = tmp_path_factory.mktemp("any") / "m.csv"
    path.write_text(f"video_id,url\n{id_of(url)},v.mp4\n")
    assert not read_manifest(path).bad_rows
