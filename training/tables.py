"""The table of a prediction: one tidy row per frame, as CSV or Parquet, written as frames come."""

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa
import pyarrow.parquet as pq

from facevid import storage
from fitting.angles import yaw_pitch_roll_deg
from training.head_pose import HeadPose

SUFFIXES = (".csv", ".parquet")
BOX_EDGES = ("x0", "y0", "x1", "y1")
_CAMERA = (
    ("scale_px_per_mm", "camera: scale, pixels per millimetre; px = scale * (R @ head_mm)[:2] + translation"),
    *((f"rotation_{part}", f"camera: {part} of R as a unit quaternion, head frame to camera frame, w >= 0")
      for part in "wxyz"),
    *((f"translation_{axis}_px", f"camera: {axis} of where the head frame's origin falls, pixels") for axis in "xy"),
    ("yaw_deg", "head angle: turn to the subject's left, degrees; 0 for a frontal face"),
    ("pitch_deg", "head angle: looking up positive, degrees"),
    ("roll_deg", "head angle: clockwise in the picture positive, degrees"),
)
_ROWS_PER_GROUP = 4096


@runtime_checkable
class RowWriter(Protocol):
    """Takes rows."""

    def write(self, row: dict[str, Any]) -> None:
        """One row; a value of None is an empty cell in CSV and a null in Parquet."""


def prediction_schema(n_expression: int, classes: Sequence[str]) -> pa.Schema:
    """Columns of the table, each with its description as metadata.

    Args:
        n_expression: Number of coefficients.
        classes: Names of the classes; empty where there is no classifier.
    """
    fields = _places()
    fields.append(
        _field("face", pa.float32(), "face presence score, 0 to 1; empty where no face was found, as all that follows")
    )
    fields += [_field(f"box_{edge}_px", pa.float32(), "edge of the face box, pixels") for edge in BOX_EDGES]
    fields += [_field(name, pa.float32(), f"{about}; of the mean identity's head") for name, about in _CAMERA]
    fields += [
        _field(f"e{index}", pa.float32(), "expression coefficient, standard deviations")
        for index in range(n_expression)
    ]
    fields += [_field(f"p_{name}", pa.float32(), f"probability of the expression {name}") for name in classes]
    if classes:
        fields.append(_field("expression", pa.string(), "the most probable expression shown; not what is felt"))
    return pa.schema(fields)


def arkit_schema(units: Sequence[str]) -> pa.Schema:
    """Columns of the table of ARKit weights.

    Args:
        units: Names of the weights.
    """
    weights = [_field(unit, pa.float32(), "ARKit weight, 0 to 1; empty where no face was found") for unit in units]
    return pa.schema([*_places(), *weights])


def camera_columns(pose: HeadPose | None) -> dict[str, float]:
    """The cells of how the head is held; none where nobody knows."""
    if pose is None:
        return {}
    rotation = pose.rotation_wxyz
    values = (
        pose.scale_px_per_mm, *rotation.tolist(), *pose.translation_px.tolist(), *yaw_pitch_roll_deg(rotation).tolist()
    )
    return {name: value for (name, _), value in zip(_CAMERA, values, strict=True)}


def _places() -> list[pa.Field]:
    return [
        _field("source", pa.string(), "file name of the image or video"),
        _field("frame", pa.int32(), "index of the frame in presentation order, from 0"),
        _field("pts_s", pa.float64(), "presentation time, seconds"),
    ]


def _field(name: str, kind: pa.DataType, description: str) -> pa.Field:
    return pa.field(name, kind, metadata={"description": description})


def check_table_path(path: Path, name: str = "out") -> None:
    """Whether the table's format can be told from its name.

    Args:
        path: The table.
        name: The argument that named it.

    Raises:
        ValueError: The suffix is neither .csv nor .parquet.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{name}={str(path)!r} must end in {' or '.join(SUFFIXES)}")


@contextmanager
def table_writer(path: Path, schema: pa.Schema) -> Iterator[RowWriter]:
    """A table to write to; the file appears under its name when the block ends well.

    Raises:
        ValueError: The suffix is neither .csv nor .parquet.
    """
    check_table_path(path)
    with storage.atomic_file(path) as file:
        if path.suffix.lower() == ".csv":
            text = io.TextIOWrapper(file, encoding="utf-8", newline="")
            yield _CsvWriter(text, schema.names)
            text.flush()
            text.detach()
        else:
            with pq.ParquetWriter(file, schema, compression="zstd") as parquet:
                rows = _ParquetRows(parquet, schema)
                yield rows
                rows.flush()


class _CsvWriter:
    def __init__(self, text: io.TextIOWrapper, columns: Sequence[str]) -> None:
        self._rows = csv.DictWriter(text, columns, restval="")
        self._rows.writeheader()

    def write(self, row: dict[str, Any]) -> None:
        self._rows.writerow({
            name: f"{value:.7g}" if isinstance(value, float) else value
            for name, value in row.items()
        })


class _ParquetRows:
    def __init__(self, parquet: pq.ParquetWriter, schema: pa.Schema) -> None:
        self._parquet, self._schema = parquet, schema
        self._waiting: list[dict[str, Any]] = []

    def write(self, row: dict[str, Any]) -> None:
        self._waiting.append(row)
        if len(self._waiting) == _ROWS_PER_GROUP:
            self.flush()

    def flush(self) -> None:
        if self._waiting:
            self._parquet.write_table(pa.Table.from_pylist(self._waiting, self._schema))
            self._waiting.clear()
