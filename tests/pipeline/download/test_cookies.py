from pathlib import Path

import pytest

from pipeline.download.cookies import read_cookies

GOOD = """# Netscape HTTP Cookie File

.example.org\tTRUE\t/\tTRUE\t0\tsession\ts3cret
#HttpOnly_.example.org\tTRUE\t/\tTRUE\t\tother\ts3cret
"""


def test_a_cookies_file_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text(GOOD)

    assert read_cookies(tmp_path / "c.txt") == GOOD


@pytest.mark.parametrize("text", ['[{"name": "s3cret"}]', ".example.org\tTRUE\t/\tTRUE\tsoon\ta\ts3cret", "s3cret"])
def test_a_file_of_another_kind_is_refused_without_quoting_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.txt").write_text("# x\n" + text)

    with pytest.raises(ValueError, match="line 2 is not in Netscape format") as caught:
        read_cookies(tmp_path / "c.txt")

    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_file_that_is_not_there_or_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "c.bin").write_bytes(b"\xff\xfe")

    with pytest.raises(ValueError, match=r"none.txt.*No such file"):
        read_cookies(tmp_path / "none.txt")
    with pytest.raises(ValueError, match=r"c.bin.*no text"):
        read_cookies(tmp_path / "c.bin")
