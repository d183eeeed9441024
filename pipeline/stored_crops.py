"""The crops of a span as the store has them, beside its face tracks: written as they are made, read some at a time."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float32

from pipeline.damage import intact
from pipeline.items import TrackPart
from pipeline.store import MAKE_AGAIN

_CROPS_PER_BATCH = 128
_CROPS = pa.schema([
    pa.field("track", pa.int32(), nullable=False),
    pa.field("frame", pa.int32(), nullable=False),
    pa.field("jpeg", pa.binary(), nullable=False),
    pa.field("crop_from_frame", pa.list_(pa.float32(), 6), nullable=False),
])


class CropWriter:
    """Streams crops to disk as they are made, so that a long video does not fill the memory.

    Args:
        folder: The result's folder, not yet committed.
    """

    def __init__(self, folder: Path) -> None:
        self._writer = pq.ParquetWriter(folder / "crops.parquet", _CROPS, compression="none", use_dictionary=False)
        self._waiting: list[dict[str, Any]] = []

    def add(self, track: int, frame: int, jpeg: bytes, crop_from_frame: Float32[np.ndarray, "2 3"]) -> None:
        """Add one crop; they come in the order of tracks and frames."""
        numbers = crop_from_frame.reshape(6).tolist()
        self._waiting.append({"track": track, "frame": frame, "jpeg": jpeg, "crop_from_frame": numbers})
        if len(self._waiting) == _CROPS_PER_BATCH:
            self._flush()

    def close(self) -> None:
        """Write what waits and the file's end."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_batch(pa.RecordBatch.from_pylist(self._waiting, schema=_CROPS))
            self._waiting = []


def read_crops(folder: Path, part: TrackPart) -> Iterator[pa.RecordBatch]:
    """The crops of a part of a track, some at a time: track, frame, jpeg, crop_from_frame; none where none were kept.

    Args:
        folder: The result of the part's span.
        part: Which track, and which of its frames.
    """
    path = folder / "crops.parquet"
    if not path.exists():
        return
    with intact(path, MAKE_AGAIN), pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            bounds = file.metadata.row_group(group).column(0).statistics
            if bounds.min <= part.track <= bounds.max:
                table = file.read_row_group(group)
                frame = table["frame"].to_numpy()
                wanted = (table["track"].to_numpy() == part.track) & (part.begin <= frame) & (frame < part.end)
                yield from table.filter(pa.array(wanted)).to_batches()
