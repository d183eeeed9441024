"""What every topic is given: where the videos are, where it may write, and how it says that it is alive."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

_SAY_EVERY_S = 5.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The surroundings of one run.

    Attributes:
        videos: Folder with the test videos and `faces.csv`.
        work: Folder for composites and everything else that is made on the way; it may hold those of an earlier run.
        quick: Take less of everything: for development, not for numbers.
        sheets: Folder for contact sheets, or None.
    """

    videos: Path
    work: Path
    quick: bool = False
    sheets: Path | None = None


Topic = Callable[[Setting], dict[str, float]]
"""Measures one thing, prints its table, and gives values by the keys of `goals.GOALS`."""


def counted(items: Sequence[T], what: str) -> Iterator[T]:
    """The items, with a line of progress (how many, time left) every few seconds."""
    begun = said = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if done and now - said >= _SAY_EVERY_S:
            left = (now - begun) / done * (len(items) - done)
            print(f"  {what}: {done} of {len(items)}, {left:.0f} s left", file=sys.stderr, flush=True)
            said = now
        yield item


def say(what: str) -> None:
    """A line of progress, for topics whose parts take long and cannot be counted."""
    print(f"  {time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table; the first column is text, the others are numbers."""
    lines = [list(header), *(list(row) for row in rows)]
    wide = [max(len(line[k]) for line in lines) for k in range(len(header))]
    for line in lines:
        cells = [line[0].ljust(wide[0]), *(cell.rjust(w) for cell, w in zip(line[1:], wide[1:], strict=True))]
        print("  ".join(cells))
