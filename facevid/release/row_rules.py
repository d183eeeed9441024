"""What every row must fulfil, whoever wrote it: bounds of single columns, and what columns say of one another.

As the schema's descriptions state them; numbers that were rounded to float32 may lie a little beyond.
"""

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool

from facevid.failures import FailureCode, Stage
from facevid.shards import order_faults
from facevid.splits import SPLITS
from facevid.track_arrays import vectors

_ROUNDING = 1e-5
_ANY, _LEAST = sys.float_info.max, sys.float_info.min
_SHARE = (-_ROUNDING, 1 + _ROUNDING)
_BOUNDS: Mapping[str, Mapping[str, tuple[float, float]]] = MappingProxyType({
    "frames": {
        "track": (0.0, _ANY), "frame": (0.0, _ANY), "landmark_confidence": _SHARE, "scale_px_per_mm": (_LEAST, _ANY),
        "expression_sigma": (_LEAST, _ANY), "reprojection_error": (0.0, _ANY), "face_size_px": (_LEAST, _ANY),
        "sharpness": (0.0, _ANY), "brightness": _SHARE, "yaw_deg": (-180.0, 180.0), "pitch_deg": (-180.0, 180.0),
        "roll_deg": (-180.0, 180.0), "in_frame": _SHARE, "occlusion": _SHARE, "motion_per_s": (0.0, _ANY),
        "jitter": (0.0, _ANY),
    },
    "tracks": {
        "track": (0.0, _ANY), "frames": (1.0, _ANY), "first_frame": (0.0, _ANY), "identity_norm": (0.0, _ANY),
        "focal_px": (_LEAST, _ANY), "fit_iterations": (0.0, _ANY), "reprojection_error": (0.0, _ANY),
        "holdout_error": (0.0, math.inf), "jitter": (0.0, _ANY), "width_px": (1.0, _ANY), "height_px": (1.0, _ANY),
        "fps": (_LEAST, _ANY),
    },
    "crops": {"track": (0.0, _ANY), "frame": (0.0, _ANY)},
    "failures": {"track": (0.0, _ANY), "attempt": (1.0, _ANY)},
})  # fmt: skip
"""Between what numbers lie; all others need be finite. A second fit may fail where the first did not."""

Mask = Bool[np.ndarray, " rows"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrong:
    """Rows of one table that share a fault.

    Attributes:
        words: What is wrong with them, beginning with the column.
        rows: Which they are.
        column: The column whose value shows it; "" where the row's key says enough.
    """

    words: str
    rows: Mask
    column: str = ""


def wrong_rows(name: str, table: pa.Table, before: pa.Table | None = None) -> Iterator[Wrong]:
    """What is wrong with some rows by themselves, and in their order; columns that are not there are not asked.

    Args:
        name: Name of the table.
        table: Consecutive rows of a shard, of the schema's types.
        before: The row before them in the shard; None where they are the first.
    """
    for field in table.schema:
        kind = field.type.value_type if pa.types.is_fixed_size_list(field.type) else field.type
        if pa.types.is_floating(kind) or pa.types.is_integer(kind):
            yield from _out_of_bounds(name, table, field)
    for columns, words, fulfilled in _RULES[name]:
        if all(column in table.column_names for column in columns):
            yield Wrong(words=words, rows=~fulfilled(*(table[column] for column in columns)), column=columns[0])
    yield from _out_of_order(name, table, before)


def _out_of_bounds(name: str, table: pa.Table, field: pa.Field) -> Iterator[Wrong]:
    low, high = _BOUNDS[name].get(field.name, (-_ANY, _ANY))
    column = table[field.name]
    if pa.types.is_fixed_size_list(field.type):
        values = vectors(column)
        # Not a number is neither; two passes without a copy, where nearly always nothing is wrong.
        if not values.size or (float(values.min()) >= low and float(values.max()) <= high):
            return
        bad = ~((values >= np.float64(low)) & (values <= np.float64(high))).all(axis=1)
    else:
        found = pc.min_max(column).as_py()
        if found["min"] is None or (found["min"] >= low and found["max"] <= high and not _any_nan(column)):
            return
        inside = pc.and_(pc.greater_equal(column, low), pc.less_equal(column, high))
        bad = ~pc.fill_null(inside, True).to_numpy()  # noqa: FBT003  # Arrow's own
    yield Wrong(words=f"{field.name} is {_words(low, high)}", rows=np.asarray(bad), column=field.name)


def _any_nan(column: pa.ChunkedArray) -> bool:
    return pa.types.is_floating(column.type) and bool(pc.any(pc.is_nan(column)).as_py())


def _words(low: float, high: float) -> str:
    if low == -_ANY:
        return "not finite"
    if high == math.inf:
        return f"below {low:g}, or no number"
    if high == _ANY:
        return "not above 0, or not finite" if low == _LEAST else f"below {low:g}, or not finite"
    return f"not between {round(low):g} and {round(high):g}"


def _out_of_order(name: str, table: pa.Table, before: pa.Table | None) -> Iterator[Wrong]:
    joined = table if before is None else pa.concat_tables([before, table])
    shown = len(joined) - len(table)
    descends, repeats = order_faults(name, joined)
    missing = np.zeros(1 - shown, np.bool_)
    yield Wrong(words="rows are not in the order of their key", rows=np.concatenate([missing, descends]))
    yield Wrong(words="rows have a key that was there before", rows=np.concatenate([missing, repeats]))
    if name == "frames" and "pts_s" in table.column_names:
        same = _equal_before(joined["video_id"]) & _equal_before(joined["track"])
        stands = same & ~(np.diff(joined["pts_s"].to_numpy()) > 0)
        stands = np.concatenate([missing, stands])
        yield Wrong(words="pts_s does not rise within its track", rows=stands, column="pts_s")


def _equal_before(column: pa.ChunkedArray) -> Mask:
    return np.asarray(pc.equal(column.slice(0, len(column) - 1), column.slice(1)).to_numpy())


def _is_unit(quaternions: pa.ChunkedArray) -> Mask:
    values = vectors(quaternions)
    return np.asarray(~(np.abs(np.einsum("ij,ij->i", values, values) - 1) > 1e-3))  # what is no number was told above


def _is_box(boxes: pa.ChunkedArray) -> Mask:
    values = vectors(boxes)
    return ~((values[:, 0] > values[:, 2]) | (values[:, 1] > values[:, 3]))


def _is_similarity(matrices: pa.ChunkedArray) -> Mask:
    a, b, _, c, d, _ = vectors(matrices).T
    size = np.hypot(a, c)
    return np.asarray(~((size == 0) | (np.abs(a - d) > 1e-3 * size) | (np.abs(b + c) > 1e-3 * size)))


def _has_norm(norm: pa.ChunkedArray, identity: pa.ChunkedArray) -> Mask:
    length = np.linalg.norm(vectors(identity), axis=1)
    return np.asarray(~(np.abs(norm.to_numpy() - length) > 1e-3 * np.maximum(length, 1)))


def _says_why(reason: pa.ChunkedArray, kept: pa.ChunkedArray) -> Mask:
    return np.asarray(pc.equal(pc.is_null(reason), kept).to_numpy())


def _ends_after(ends: pa.ChunkedArray, begins: pa.ChunkedArray) -> Mask:
    return ~np.asarray(pc.fill_null(pc.less(ends, begins), False).to_numpy())  # noqa: FBT003


def _one_of(words: Iterable[str]) -> Callable[[pa.ChunkedArray], Mask]:
    known = pa.array(list(words), pa.string())
    return lambda column: np.asarray(pc.is_in(column, known).to_numpy())


def _is_sha256(column: pa.ChunkedArray) -> Mask:
    return np.asarray(pc.match_substring_regex(column, "^[0-9a-f]{64}$").to_numpy())


_Rule = tuple[tuple[str, ...], str, Callable[..., Mask]]
_RULES: Mapping[str, tuple[_Rule, ...]] = MappingProxyType({
    "frames": (
        (("rotation_wxyz",), "rotation_wxyz is no unit quaternion", _is_unit),
        (("rotation_wxyz",), "rotation_wxyz has a w below 0", lambda column: ~(vectors(column)[:, 0] < 0)),
        (("box_px",), "box_px has an edge beyond the opposite one", _is_box),
        (("filtered_reason", "kept"), "filtered_reason is there though kept, or lacking though not", _says_why),
    ),
    "tracks": (
        (("split",), f"split is none of {', '.join(SPLITS)}", _one_of(SPLITS)),
        (("fit_status",), "fit_status is neither converged nor iteration_limit",
         _one_of(("converged", "iteration_limit"))),
        (("filtered_reason", "kept"), "filtered_reason is there though kept, or lacking though not", _says_why),
        (("identity_norm", "identity"), "identity_norm is not the length of identity", _has_norm),
        (("last_frame", "first_frame"), "last_frame is before first_frame", _ends_after),
        (("end_s", "start_s"), "end_s is before start_s", _ends_after),
        (("clip_end_s", "clip_start_s"), "clip_end_s is before clip_start_s", _ends_after),
        (("source_sha256",), "source_sha256 is no sha256", _is_sha256),
    ),
    "crops": ((("crop_from_frame",), "crop_from_frame is no similarity", _is_similarity),),
    "failures": (
        (("stage",), "stage is none of the stages", _one_of(Stage)),
        (("code",), "code is none of the codes", _one_of(FailureCode)),
    ),
})  # fmt: skip
"""Of some columns what is wrong with rows that do not fulfil it."""
