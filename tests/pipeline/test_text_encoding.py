"""Files that should be UTF-8 and are not: one sentence for the file, in every format."""

import json
from pathlib import Path

import pytest

from pipeline.egress.lists import SourceList
from pipeline.manifest import ManifestError
from pipeline.manifest_files import read_manifest
from pipeline.text_encoding import other_encoding

CSV = "video_id,url,who\na,a.mp4,Jörg\nb,b.mp4,Zoë\n"
ROWS = [{"video_id": "a", "url": "a.mp4"}, {"video_id": "b", "url": "b.mp4"}]
JSONL = "".join(json.dumps(row) + "\n" for row in ROWS)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("m.jsonl", JSONL.encode("utf-16"), "is UTF-16"),
        ("m.jsonl", ("\ufeff" + JSONL).encode("utf-16-be"), "is UTF-16"),
        ("m.jsonl", JSONL.encode("utf-16-le"), "looks like UTF-16"),
        ("m.csv", CSV.encode("utf-16-be"), "looks like UTF-16"),
        ("m.csv", CSV.encode("utf-32"), "is UTF-32"),
        ("m.txt", b"https://x.org/1\n".decode().encode("utf-32-le"), "looks like UTF-32"),
        ("m.csv", CSV.encode("cp1252"), "looks like Windows-1252, or another"),
        ("m.tsv", CSV.replace(",", "\t").encode("cp1252"), "looks like Windows-1252, or another"),
        ("m.txt", "视频/一.mp4\n视频/二.mp4\n".encode("gbk"), "looks like an encoding with several bytes .* GBK"),
    ],
)
def test_a_manifest_in_another_encoding_is_one_error_that_names_it(
    tmp_path: Path, name: str, data: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ManifestError, match=rf"{name} {said}.*; save it as UTF-8$"):
        read_manifest(tmp_path / name)


@pytest.mark.parametrize(
    "data", [CSV.encode(), CSV.encode("utf-8-sig"), b"", b"a\0b", CSV.encode() + b"\xf6\n\xf6\n", b"\xf6\n\nplain\n"]
)
def test_what_is_utf8_but_for_damaged_lines_is_not_called_another(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "m.csv").write_bytes(data)
    assert other_encoding(tmp_path / "m.csv") is None


def test_a_few_lines_of_many_that_are_no_utf8_are_told_as_lines(tmp_path: Path) -> None:
    rows = [f"v{number},{number}.mp4,plain\n".encode() for number in range(40)]
    for odd in (7, 30):
        rows[odd] = f"v{odd},{odd}.mp4,Jörg\n".encode("latin-1")
    (tmp_path / "m.csv").write_bytes(b"video_id,url,who\n" + b"".join(rows))

    manifest = read_manifest(tmp_path / "m.csv")

    assert [bad.words() for bad in manifest.bad_rows] == [f"line {n}: who: not valid UTF-8" for n in (9, 32)]
    assert len(manifest.rows) == 38


def test_who_skips_bad_rows_gets_those_of_another_encoding_too_unless_none_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes((CSV + "c,c.mp4,plain\n").encode("cp1252"))
    manifest = read_manifest(path, skip_bad_rows=True)
    assert ([row.video_id for row in manifest.rows], len(manifest.bad_rows)) == (["c"], 2)

    path.write_bytes(CSV.encode("utf-16"))
    with pytest.raises(ManifestError, match="is UTF-16; save it as UTF-8"):
        read_manifest(path, skip_bad_rows=True)


@pytest.mark.parametrize("first", ["", "x"])
def test_a_line_that_is_too_long_is_no_other_encoding(tmp_path: Path, first: str) -> None:
    # Cut anywhere, letters of two bytes may be cut in the middle.
    row = json.dumps({"video_id": "a", "url": "a.mp4", "who": first + "é" * (1 << 20)}, ensure_ascii=False)
    (tmp_path / "m.jsonl").write_text(f"{row}\n{row} \n", encoding="utf-8")
    with pytest.raises(ManifestError, match="line 1 has more than 1048576 bytes"):
        read_manifest(tmp_path / "m.jsonl")


def test_a_list_of_sources_in_another_encoding_is_named_too(tmp_path: Path) -> None:
    (tmp_path / "deny.txt").write_text("example.org\n", encoding="utf-16")
    with pytest.raises(ValueError, match=r"cannot read the list .*deny\.txt: it is UTF-16"):
        SourceList.read(tmp_path / "deny.txt")
    (tmp_path / "deny.txt").write_bytes(b"example.org\xf6\n")
    with pytest.raises(ValueError, match=r"cannot read the list .*deny\.txt: it is not UTF-8"):
        SourceList.read(tmp_path / "deny.txt")
