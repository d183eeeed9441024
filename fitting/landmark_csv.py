"""Landmarks in text: a row per frame (wide), or a row per frame and point (tidy). See `fitting.landmark_file`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

from fitting.csv_cells import CsvCells
from fitting.mediapipe_mesh import MESH_POINTS

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
        first_frame: What such files call the first frame of a video.
        smoothed: The landmarks after smoothing over time, or None.
    """

    landmarks: Float64[np.ndarray, "frames points 2"]
    confidence: Float64[np.ndarray, "frames points"] | None
    frame: Int64[np.ndarray, " frames"]
    pts_s: Float64[np.ndarray, " frames"] | None
    fps: float | None = None
    scheme: str | None = None
    line: Sequence[int] | None = None
    picture_px: tuple[int, int] | None = None
    first_frame: int = 0
    smoothed: Float64[np.ndarray, "frames points 2"] | None = None

    def place(self, row: int) -> str:
        """Where a frame stands, for messages."""
        return f"frames[{row}]" if self.line is None else f"line {self.line[row]}"


def landmark_table(table: CsvCells) -> LandmarkTable:
    """The landmarks in a wide or tidy table.

    Raises:
        ValueError: Something is no number, missing, unknown or there twice; the message names line and column.
    """
    path, names = table.path, table.names
    if "frame" not in names:
        raise ValueError(f"{path}, line 1: no column 'frame'; expected frame,x0,y0,x1,y1,... or frame,point,x,y")
    columns = table.numbers(names)
    for name in sorted({"frame", "point"} & set(names)):
        table.check_whole(name, columns[name])
    return _tidy(path, columns, table.lines) if "point" in names else _wide(path, columns, table.lines)


def _wide(path: Path, columns: Mapping[str, Float64[np.ndarray, " rows"]], lines: Sequence[int]) -> LandmarkTable:
    depths = {f"z{point}" for point in range(max(MESH_POINTS))}
    names = [name for name in columns if name not in {"frame", "pts_s"}]
    if sum(name in depths for name in names) == len(names) / 3 and len(names) / 3 in MESH_POINTS:
        names = [name for name in names if name not in depths]
    points = len(names) // 2
    # Some tools write all x before all y.
    expected = [f"{axis}{point}" for point in range(points) for axis in "xy"]
    if not expected or set(names) != set(expected):
        wrong = next((a for a, b in zip(names, [*expected, ""], strict=False) if a != b), "nothing")
        from_1 = {f"{axis}{point + 1}" for point in range(points) for axis in "xy"}
        hint = "points count from 0" if expected and set(names) == from_1 else "or use the columns frame,point,x,y"
        raise ValueError(f"{path}, line 1: {wrong!r} where x0,y0,x1,y1,... go on; {hint}")
    values = np.column_stack([columns[name] for name in expected])
    return LandmarkTable(
        landmarks=values.reshape(len(lines), len(names) // 2, 2),
        confidence=None,
        frame=columns["frame"].astype(np.int64),
        pts_s=columns.get("pts_s"),
        line=lines,
    )


def _tidy(path: Path, columns: Mapping[str, Float64[np.ndarray, " rows"]], lines: Sequence[int]) -> LandmarkTable:
    known = ("frame", "point", "x", "y", "z", "confidence", "pts_s")
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
    count = int(points.max(initial=-1)) + 1
    if "z" in columns and count not in MESH_POINTS:
        raise ValueError(
            f"{path}, line 1: unknown column 'z' with {count} points; only MediaPipe's mesh, of 468 or 478, comes with "
            "a depth. Landmarks are places in the picture: leave it out"
        )
    frame, first, row = np.unique(columns["frame"].astype(np.int64), return_index=True, return_inverse=True)
    seen = np.full((len(frame), count), -1)
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
