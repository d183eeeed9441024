"""Landmarks in a table of OpenFace: what its `FeatureExtraction` writes of a video with one face.

Columns `frame` (from 1), `timestamp` (seconds), `confidence` (0 to 1), `success` (0 or 1), then `x_0` to `x_67` and
`y_0` to `y_67`, pixels, in the order of the iBUG mark-up; later versions have `face_id` (0 for one face), and blanks
after commas are gone. Gaze, pose, 3D points and action units are left out. See the project's wiki, "Output Format".
"""

from collections.abc import Collection

import numpy as np

from fitting.csv_cells import CsvCells
from fitting.landmark_csv import LandmarkTable

_POINTS = 68
_COLUMNS = ("frame", "timestamp", "confidence", "success")
_X, _Y = ([f"{axis}_{point}" for point in range(_POINTS)] for axis in "xy")


def is_openface(names: Collection[str]) -> bool:
    """Whether a table with these columns is one of OpenFace."""
    return {*_COLUMNS, "x_0", "y_0"} <= set(names)


def openface_table(table: CsvCells) -> LandmarkTable:
    """The landmarks in a table of OpenFace.

    Points of frames without success are missing; the others have the confidence of
    their frame.

    Raises:
        ValueError: Columns are missing, a cell that is read is no number, or several faces are in the table.
    """
    if absent := [name for name in (*_X, *_Y) if name not in table.names]:
        raise ValueError(f"{table.path}, line 1: no column {absent[0]!r}, though it looks like a table of OpenFace")
    face_id = ["face_id"] if "face_id" in table.names else []
    columns = table.numbers((*_COLUMNS, *_X, *_Y, *face_id))
    for name in face_id:
        if len(faces := np.unique(columns[name])) > 1:
            ids = ", ".join(f"{face:g}" for face in faces[:5])
            raise ValueError(f"{table.path} has {len(faces)} faces, with face_id {ids}...: keep the rows of one")
    table.check_whole("frame", columns["frame"])
    if len(bad := np.flatnonzero(columns["frame"] < 1)):
        raise ValueError(f"{table.path}, line {table.lines[bad[0]]}, frame: 0, but OpenFace counts frames from 1")
    points = np.stack([[columns[name] for name in axis] for axis in (_X, _Y)], axis=-1).swapaxes(0, 1)
    failed = columns["success"] != 1
    points[failed] = np.nan
    return LandmarkTable(
        landmarks=points,
        confidence=np.repeat(columns["confidence"][:, None], _POINTS, axis=1),
        frame=columns["frame"].astype(np.int64),
        first_frame=1,
        pts_s=columns["timestamp"],
        scheme="ibug68",
        line=table.lines,
    )
