"""Landmarks in text: a row per frame (wide), or a row per frame and point (tidy). See `fitting.landmark_file`."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

_MOST_POINTS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LandmarkTable:
    """Landmarks as they stand in a file, not checked yet.

    Attributes:
        landmarks: Picture coordinates; NaN where missing.
        confidence: Confidence of each landmark, or None.
        frame: Number of each frame.
        pts_s: Presentation times, or None.
        fps: Frames per second, or None.
        scheme: Landmark scheme that the file names, or None.
        line: Line of the text file on which each frame begins, or None.
        picture_px: Width and height of the picture, or None.
    """

    landmarks: Float64[np.ndarray, "frames points 2"]
    confidence: Float64[np.ndarray, "frames points"] | None
    frame: Int64[np.ndarray, " frames"]
    pts_s: Float64[np.ndarray, " frames"] | None
    fps: float | None = None
    scheme: str | None = None
    line: Sequence[int] | None = None
    picture_px: tuple[int, int] | None = None

    def place(self, row: int) -> str:
        """Where a frame stands, for messages."""
        return f"frames[{row}]" if self.line is None else f"line {self.line[row]}"


def read_csv(path: Path) -> LandmarkTable:
    """The table in a wide or tidy `.csv` file.

    Raises:
        ValueError: Something is no number, missing, unknown or there twice; the message names line and column.
        OSError: The file cannot be read.
    """
    rows: list[tuple[int, list[str]]] = []
    try:
        # utf-8-sig: spreadsheets put a mark before the first name.
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(lines, strict=True)
            names = [name.strip() for name in next(reader, [])]
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(names):
                    raise ValueError(
                        f"{path}, line {reader.line_num}: {len(cells)} cells, but the first line names {len(names)}"
                    )
                rows.append((reader.line_num, cells))
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8 text: {error}") from error
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{path}, line 1: the column {twice!r} is there twice")
    if "frame" not in names:
        raise ValueError(f"{path}, line 1: no column 'frame'; expected frame,x0,y0,x1,y1,... or frame,point,x,y")
    lines_of = [line for line, _ in rows]
    values = _numbers(path, names, rows)
    columns = {name: values[:, number] for number, name in enumerate(names)}
    for name in {"frame", "point"} & set(names):
        _check_whole(path, name, columns[name], lines_of)
    return _tidy(path, columns, lines_of) if "point" in names else _wide(path, columns, lines_of)


def _numbers(
    path: Path, names: Sequence[str], rows: Sequence[tuple[int, list[str]]]
) -> Float64[np.ndarray, "rows columns"]:
    values = np.empty((len(rows), len(names)))
    for row, (line, cells) in enumerate(rows):
        for column, cell in enumerate(cells):
            try:
                values[row, column] = float(cell) if cell.strip() else math.nan
            except ValueError:
                raise ValueError(f"{path}, line {line}, {names[column]}: {cell!r} is no number") from None
    return values


def _check_whole(path: Path, name: str, values: Float64[np.ndarray, " rows"], lines: Sequence[int]) -> None:
    for line, value in zip(lines, values, strict=True):
        if not (0 <= value < 2**53 and value == int(value)):
            raise ValueError(f"{path}, line {line}, {name}: {value} is no whole number from 0 on")


def _wide(path: Path, columns: Mapping[str, Float64[np.ndarray, " rows"]], lines: Sequence[int]) -> LandmarkTable:
    names = [name for name in columns if name not in {"frame", "pts_s"}]
    expected = [f"{axis}{point}" for point in range(len(names) // 2) for axis in "xy"]
    if not expected or names != expected:
        wrong = next((a for a, b in zip(names, [*expected, ""], strict=False) if a != b), "nothing")
        raise ValueError(f"{path}, line 1: {wrong!r} where x0,y0,x1,y1,... go on; or use the columns frame,point,x,y")
    values = np.column_stack([columns[name] for name in names])
    return LandmarkTable(
        landmarks=values.reshape(len(lines), len(names) // 2, 2),
        confidence=None,
        frame=columns["frame"].astype(np.int64),
        pts_s=columns.get("pts_s"),
        line=lines,
    )


def _tidy(path: Path, columns: Mapping[str, Float64[np.ndarray, " rows"]], lines: Sequence[int]) -> LandmarkTable:
    known = ("frame", "point", "x", "y", "confidence", "pts_s")
    for name in columns:
        if name not in known:
            raise ValueError(f"{path}, line 1: unknown column {name!r}; known beside 'point' are: {', '.join(known)}")
    for name in ("x", "y"):
        if name not in columns:
            raise ValueError(f"{path}, line 1: no column {name!r} beside 'point'")
    points = columns["point"].astype(np.int64)
    if len(points) and points.max() >= _MOST_POINTS:
        raise ValueError(
            f"{path}, line {lines[int(points.argmax())]}, point: {points.max()} is above {_MOST_POINTS - 1}"
        )
    frame, first, row = np.unique(columns["frame"].astype(np.int64), return_index=True, return_inverse=True)
    seen = np.full((len(frame), int(points.max(initial=-1)) + 1), -1)
    for number, (at, point) in enumerate(zip(row, points, strict=True)):
        if seen[at, point] >= 0:
            other = lines[seen[at, point]]
            raise ValueError(
                f"{path}, line {lines[number]}: frame {frame[at]} point {point} stands on line {other} too"
            )
        seen[at, point] = number
    landmarks = np.full((*seen.shape, 2), np.nan)
    landmarks[row, points] = np.column_stack([columns["x"], columns["y"]])
    confidence = None
    if "confidence" in columns:
        confidence = np.zeros(seen.shape)
        confidence[row, points] = columns["confidence"]
    pts_s = columns["pts_s"][first] if "pts_s" in columns else None
    if pts_s is not None and (differs := np.flatnonzero(columns["pts_s"] != pts_s[row])).size:
        number = int(differs[0])
        raise ValueError(
            f"{path}, line {lines[number]}: pts_s {columns['pts_s'][number]} of frame {frame[row[number]]} "
            f"is {pts_s[row[number]]} on line {lines[first[row[number]]]}"
        )
    return LandmarkTable(
        landmarks=landmarks, confidence=confidence, frame=frame, pts_s=pts_s, line=[lines[number] for number in first]
    )
