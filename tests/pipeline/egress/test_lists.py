from pathlib import Path

import pytest

from pipeline.egress.lists import SourceList


def listed(folder: Path, *lines: str) -> SourceList:
    path = folder / "list.txt"
    path.write_text("\n".join(lines), "utf-8")
    return SourceList.read(path)


@pytest.mark.parametrize(("entry", "url", "found"), [
    ("example.org", "https://example.org/v", True),
    ("example.org", "http://WWW.Example.org.:8080/v", True),
    ("example.org", "https://notexample.org/v", False),
    ("example.org", "https://example.org.evil.example/v", False),
    ("b\u00fccher.example", "https://xn--bcher-kva.example/v", True),
    ("192.0.2.1", "http://192.0.2.1/v", True),
    ("2001:db8::1", "http://[2001:db8::1]/v", True),
    ("https://v.example/anna", "http://v.example/anna/1.mp4", True),
    ("https://v.example/anna/", "https://v.example/anna", True),
    ("https://v.example/anna", "https://v.example/annabel", False),
    ("https://v.example/anna", "https://v.example:8443/anna", False),
    ("https://v.example/a%62c", "https://v.example/abc", True),
    ("https://v.example/anna", "https://v.example/x/../anna/1.mp4", True),
    ("https://v.example/anna", "https://v.example/%2e%2e/./anna//1.mp4", True),
    ("https://v.example/anna", "https://v.example/anna/../bob/1.mp4", False),
    ("https://v.example", "https://v.example/", True),
    ("https://v.example/watch?v=1", "https://v.example/watch?v=1&t=9", True),
    ("https://v.example/watch?v=1", "https://v.example/watch?v=12", False),
    ("s3://bucket/private", "s3://bucket/private/1.mp4", True),
    ("s3://bucket/private", "s3://other/private/1.mp4", False),
    ("id:clip-7", "clips/7.mp4", True),
    ("id:clip-77", "clips/7.mp4", False),
    ("7.mp4", "clips/7.mp4", False),
    ("subject:anna", "clips/7.mp4", True),
    ("subject:ann", "clips/7.mp4", False),
    ("id:anna", "clips/7.mp4", False),
])  # fmt: skip
def test_rows_fall_under_hosts_beginnings_of_addresses_and_ids(
    tmp_path: Path, entry: str, url: str, found: bool
) -> None:
    assert (listed(tmp_path, entry).names(url, "clip-7", "anna") is not None) is found


def test_who_has_no_subject_is_none_of_those_that_are_listed(tmp_path: Path) -> None:
    read = listed(tmp_path, "subject:anna", "id:None", "b.example", "https://c.example/1")

    assert read.names("1.mp4", "v") is None
    assert read.all_entries() == {"subject:anna", "id:None", "b.example", "https://c.example/1"}


def test_comments_and_empty_lines_are_none_of_the_entries(tmp_path: Path) -> None:
    read = listed(tmp_path, "# taken down", "", "example.org  # asked on Monday", "https://v.example/a#part")

    assert read.hosts == {"example.org"}
    assert read.prefixes == {"https://v.example/a"}


def test_all_bad_lines_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"line 2: 'not a host'.*line 3: 'http://\[::1'"):
        listed(tmp_path, "example.org", "not a host", "http://[::1")
    with pytest.raises(ValueError, match="cannot read the list"):
        SourceList.read(tmp_path / "none.txt")
