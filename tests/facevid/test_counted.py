"""Numbers with what they count."""

import pytest

from facevid.counted import counted


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (counted(1, "video"), "1 video"),
        (counted(0, "video"), "0 videos"),
        (counted(12345, "frame"), "12,345 frames"),
        (counted(1, "entry", "entries"), "1 entry"),
        (counted(2, "entry", "entries"), "2 entries"),
    ],
)
def test_one_is_singular_and_all_else_plural(said: str, text: str) -> None:
    assert said == text
