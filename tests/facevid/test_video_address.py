from pathlib import Path

import pytest

from facevid.video_address import video_address
from pipeline.egress.lists import SourceList
from pipeline.manifest_files import read_manifest
from pipeline.manifest_lists import id_of

PLAIN = "https://www.youtube.com/watch?v=dQw4w9WgXc_"
SPELLINGS = [
    "https://youtu.be/dQw4w9WgXc_?si=AbC", "http://www.youtube.com/watch?v=dQw4w9WgXc_", f"{PLAIN}&t=30s",
    f"{PLAIN}#t=3",
    "https://m.youtube.com/watch?list=PL1&v=dQw4w9WgXc_", "https://music.youtube.com/watch?v=dQw4w9WgXc_&feature=share",
    "https://YouTube.com/shorts/dQw4w9WgXc_", "https://www.youtube.com/embed/dQw4w9WgXc_?start=3",
    "https://www.youtube.com/live/dQw4w9WgXc_/", "https://www.youtube.com/v/dQw4w9WgXc_?fs=1",
    "https://www.youtube.com/e/dQw4w9WgXc_", "https://www.youtube-nocookie.com/embed/dQw4w9WgXc_",
]  # fmt: skip


@pytest.mark.parametrize("url", SPELLINGS)
def test_every_spelling_of_a_video_has_the_address_of_its_page(tmp_path: Path, url: str) -> None:
    assert video_address(url) == video_address(PLAIN) == PLAIN
    assert id_of(url) == id_of(PLAIN)
    for entry, asked in ((url, PLAIN), (PLAIN, url)):
        (tmp_path / "deny.txt").write_text(entry)
        assert SourceList.read(tmp_path / "deny.txt").names(asked, "a") == PLAIN


@pytest.mark.parametrize("url", [
    "https://www.youtube.com/@anna", "https://www.youtube.com/playlist?list=PL1", "https://www.youtube.com/watch?t=3",
    "https://youtu.be/", "https://youtu.be/short", "https://www.youtube.com/shorts/", "https://www.youtube.com/a/b/c",
    "https://youtube.com.example/watch?v=dQw4w9WgXc_", "https://vimeo.com/1?v=dQw4w9WgXc_", "https://www.youtube.com:99/",
    "https://www.youtube.com/embed/live_stream?channel=UCa", "https://www.youtube.com/embed/videoseries?list=PL1",
    "https://www.youtube.com/embed/videoseries/",
    "youtu.be/dQw4w9WgXc_", "clips/watch?v=dQw4w9WgXc_", "https://x.org/?to=https://youtu.be/dQw4w9WgXc_",
])  # fmt: skip
def test_what_is_no_page_of_a_video_stays_as_it_is(url: str) -> None:
    assert video_address(url) == url


def test_ids_of_plain_addresses_are_what_they_were() -> None:
    assert id_of("https://www.youtube.com/watch?v=jNQXAC9IVRw") == "watch-v-jNQXAC9IVRw-4b0f48e4"


def test_a_host_on_a_list_is_the_one_that_the_row_names_or_the_videos_own(tmp_path: Path) -> None:
    (tmp_path / "deny.txt").write_text("youtu.be\n")
    denied = SourceList.read(tmp_path / "deny.txt")
    assert denied.names(SPELLINGS[0], "a") == "youtu.be"
    assert denied.names(PLAIN, "a") is None
    (tmp_path / "deny.txt").write_text("youtube.com\n")
    assert SourceList.read(tmp_path / "deny.txt").names(SPELLINGS[0], "a") == "youtube.com"


def test_rows_of_one_video_in_several_spellings_are_named(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(f"video_id,url\na,{PLAIN}\nb,https://x.org/b\nc,{SPELLINGS[0]}\n")
    (remark,) = read_manifest(tmp_path / "m.csv").remarks
    assert remark.startswith(f"line 4: {SPELLINGS[0]} is in the dataset twice, as a (line 2) and c")


def test_a_line_of_a_list_that_names_a_video_again_is_left_out_and_named(tmp_path: Path) -> None:
    (tmp_path / "m.txt").write_text(f"{SPELLINGS[0]}\nhttps://x.org/b\n{PLAIN}\n")

    manifest = read_manifest(tmp_path / "m.txt")

    assert [row.line for row in manifest.rows] == [1, 2]
    assert manifest.bad_rows == ()
    assert manifest.remarks == (f"line 3: {PLAIN} is the video of line 1, and left out",)
