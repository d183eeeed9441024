"""The cells of a `.csv` file: text first, numbers where they are asked for, and every mistake with its line."""

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

_OTHER_SEPARATORS = {";": "';'", "\t": "tabs"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvCells:
    """A table of text.

    Attributes:
        path: The file, for messages.
        names: Name of each column, without blanks around it.
        cells: The rows, each as long as `names`.
        lines: Line of the file on which each row ends, from 1.
    """

    path: Path
    names: Sequence[str]
    cells: Sequence[Sequence[str]]
    lines: Sequence[int]

    def numbers(self, names: Iterable[str]) -> dict[str, Float64[np.ndarray, " rows"]]:
        """Some columns as numbers; empty cells are NaN.

        Raises:
            ValueError: A cell is no number.
        """
        place = {name: self.names.index(name) for name in names}
        values = {name: np.empty(len(self.cells)) for name in place}
        for row, cells in enumerate(self.cells):
            for name, column in place.items():
                cell = cells[column]
                try:
                    values[name][row] = float(cell) if cell.strip() else math.nan
                except ValueError:
                    line = self.lines[row]
                    raise ValueError(f"{self.path}, line {line}, {name}: {cell!r} is no number") from None
        return values

    def check_whole(self, name: str, values: Float64[np.ndarray, " rows"]) -> None:
        """Check that a column holds whole numbers from 0 on.

        Raises:
            ValueError: It does not.
        """
        for line, value in zip(self.lines, values, strict=True):
            if not (0 <= value < 2**53 and value == int(value)):
                raise ValueError(f"{self.path}, line {line}, {name}: {value} is no whole number from 0 on")


def read_cells(path: Path) -> CsvCells:
    """Read a `.csv` file; empty lines are left out.

    Raises:
        ValueError: It is no text, no `.csv`, a row has other cells than the first line names, or a name stands twice.
        OSError: The file cannot be read.
    """
    cells: list[list[str]] = []
    lines: list[int] = []
    try:
        # utf-8-sig: spreadsheets put a mark before the first name.
        with path.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.reader(text, strict=True)
            names = [name.strip() for name in next(reader, [])]
            _check_separator(path, names)
            for row in reader:
                if not row:
                    continue
                if len(row) != len(names):
                    raise ValueError(
                        f"{path}, line {reader.line_num}: {len(row)} cells, but the first line names {len(names)}"
                    )
                cells.append(row)
                lines.append(reader.line_num)
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8 text: {error}") from error
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{path}, line 1: the column {twice!r} is there twice")
    return CsvCells(path=path, names=names, cells=cells, lines=lines)


def _check_separator(path: Path, names: Sequence[str]) -> None:
    for separator, said in _OTHER_SEPARATORS.items():
        if len(names) == 1 and separator in names[0]:
            raise ValueError(f"{path}, line 1: cells are separated by {said}, but must be by ',' (and decimals by '.')")
