from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@pytest.mark.parametrize("text", ["video_id,url\na,b.mp4\n", "url;video_id\n", '{"video_id": "a", "url": "b"}\n'])
def test_a_table_is_not_taken_for_a_list(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.txt").write_text(text)
    with pytest.raises(ManifestError, match="begins as a table does"):
        read_manifest(tmp_path / "m.txt")


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
    with pytest.raises(ManifestError, match=r"is a folder without videos; .*\.mp4"):
        read_manifest(tmp_path)


def test_an_id_stays_when_a_link_is_signed_anew_and_tells_files_of_one_name_apart() -> None:
    signed = [f"https://s3.example.org/talks/1.mp4?X-Amz-Signature={key}" for key in ("aaaa", "bbbb")]
    assert id_of(signed[0]) == id_of(signed[1])
    assert "aaaa" not in id_of(signed[0])
    assert len({id_of(url) for url in ("a/1.mp4", "a 1.mp4", "a-1.mp4", "https://x.org/a/1.mp4", "a/1.mov")}) == 5
    # Ids are names in datasets that exist: they may not change.
    assert id_of("https://x.org/talks/1.mp4") == "talks-1-053f0bbd"


@given(url=st.text(min_size=1))
def test_any_text_has_an_id_that_a_manifest_accepts(tmp_path_factory: pytest.TempPathFactory, url: str) -> None:
    path = tmp_path_factory.mktemp("any") / "m.csv"
    path.write_text(f"video_id,url\n{id_of(url)},v.mp4\n")
    assert not read_manifest(path).bad_rows
