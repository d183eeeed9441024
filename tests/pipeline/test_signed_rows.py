"""A row whose link is signed anew is the same row: nothing is downloaded again, and who is denied stays denied."""

from pathlib import Path

import pytest
from signings import SIGNED_TWICE
from synthetic import job_in, manifest_of

from pipeline.assemble import ContentKey
from pipeline.config import FetchOptions
from pipeline.egress.lists import SourceList
from pipeline.fetched_video import FetchedVideo, address_hash
from pipeline.job import fetch_keys, partial_key
from pipeline.manifest import ManifestRow
from pipeline.manifest_files import read_manifest
from pipeline.row_state import RowState
from pipeline.slices import rows_of_slice

each_cloud = pytest.mark.parametrize("links", SIGNED_TWICE.values(), ids=SIGNED_TWICE.keys())


@each_cloud
def test_what_was_fetched_is_found_again_and_what_failed_is_tried_with_the_new_signature(
    tmp_path: Path, links: tuple[str, str]
) -> None:
    job = job_in(tmp_path)
    (success, failure), (same_success, other_failure) = (
        fetch_keys(ManifestRow(video_id="a", url=url), job) for url in links
    )
    assert success == same_success
    assert failure != other_failure  # the first may have run out
    assert len({partial_key(url, FetchOptions()) for url in links}) == 1
    assert len({address_hash(url) for url in links}) == 1
    assert fetch_keys(ManifestRow(video_id="a", url=links[0].replace("c", "d")), job)[0] != success


@each_cloud
def test_the_tables_stay_as_they_are_when_a_link_is_signed_anew(tmp_path: Path, links: tuple[str, str]) -> None:
    def content_key(url: str) -> str:
        video = FetchedVideo(
            sha256="s" * 64, path=tmp_path, url=url, title=None, uploader=None, licence=None, fetched_at=None, bytes=9
        )
        key = ContentKey(job_in(tmp_path), ())
        key.add(ManifestRow(video_id="a", url=url), RowState(fetch_key="k", fetched=video))
        return key.hexdigest()

    assert content_key(links[0]) == content_key(links[1])
    assert content_key(links[0]) != content_key(links[0].replace(".mp4", ".mov"))


@each_cloud
def test_an_address_that_is_denied_is_denied_under_the_signature_of_another_day(
    tmp_path: Path, links: tuple[str, str]
) -> None:
    (tmp_path / "deny.txt").write_text(links[0])
    denied = SourceList.read(tmp_path / "deny.txt")

    assert denied.names(links[1], "a") == denied.names(links[0].partition("?")[0], "a") is not None
    assert denied.names(links[1].replace(".mp4", ".mov"), "a") is None


@each_cloud
def test_clips_of_one_file_that_are_signed_one_by_one_are_of_one_video(tmp_path: Path, links: tuple[str, str]) -> None:
    (tmp_path / "m.csv").write_text(f"video_id,url,end_s\na,{links[0]},2\nb,{links[1]},3\nc,https://x.org/v.mp4,\n")

    manifest = read_manifest(tmp_path / "m.csv")

    (remark,) = manifest.remarks
    assert "is in the dataset twice, as a (line 2) and b" in remark
    parts = [rows_of_slice(manifest_of(*manifest.rows), number, 2, whole_hosts=False) for number in (1, 2)]
    assert sorted([row.video_id for row in part] for part in parts) == [["a", "b"], ["c"]]
