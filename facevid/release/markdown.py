"""Markdown made of words that strangers chose: titles, licences, names. They may say anything, and must do nothing."""

import unicodedata
from collections.abc import Iterable, Sequence

_LONGEST = 120
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;"}
_SIGNS = frozenset("\\`*_[]{}#!~$@")


def plain(text: str, *, longest: int = _LONGEST) -> str:
    """A text as part of a line of Markdown: no markup, no HTML, no new line, no sign that turns the writing round.

    Args:
        text: Any text.
        longest: What is longer is cut, and ends with dots.
    """
    # Categories C and Z: controls, surrogates, marks of direction; separators of lines and of all widths.
    spaced = "".join(" " if unicodedata.category(sign)[0] in "CZ" else sign for sign in text[: 4 * longest])
    line = " ".join(spaced.split())
    if len(line) > longest or len(text) > 4 * longest:
        line = line[: longest - 3] + "..."
    return "".join(_ENTITIES.get(sign, f"\\{sign}" if sign in _SIGNS else sign) for sign in line)


def table(head: Sequence[str], rows: Iterable[Sequence[str | int]], *, numbers: int = 0) -> list[str]:
    """The lines of a table.

    Args:
        head: Names of the columns.
        rows: Cells that are Markdown already; whole numbers get commas.
        numbers: How many of the last columns are numbers, which stand on the right.
    """
    words = len(head) - numbers
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * words + "---:|" * numbers]
    for row in rows:
        cells = (f"{cell:,}" if isinstance(cell, int) else cell for cell in row)
        lines.append(f"| {' | '.join(cells)} |")
    return lines
