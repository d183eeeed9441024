"""How the numbers of a dataset's tables are spread: what one must know to choose a threshold for `keep`."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from facevid.dataset import Dataset

MOST_ROWS = 1_000_000
"""So many rows are looked at, from the first shard on: a shard holds tracks of all kinds of videos."""
_NO_MEASURES = frozenset({"pts_s", "start_s", "end_s", "clip_start_s", "clip_end_s"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """One column's numbers.

    Attributes:
        low: A twentieth of the rows is below.
        middle: Half of them.
        high: All but a twentieth.
    """

    low: float
    middle: float
    high: float

    def words(self) -> str:
        """For a person."""
        return f"here {self.low:.3g} to {self.high:.3g} in 90 % of the rows, half up to {self.middle:.3g}"


def spreads(dataset: Dataset, name: str, *, most_rows: int = MOST_ROWS) -> dict[str, Spread]:
    """The spread of each column of measured numbers, for those that have any; nulls and NaN do not count.

    Args:
        dataset: An open dataset.
        name: frames or tracks; the other tables measure nothing.
        most_rows: See `MOST_ROWS`.

    Raises:
        ValueError: There is no table of this name.
        DatasetError: A shard is missing or damaged.
    """
    schema = dataset.schema(name)
    columns = [
        field.name for field in schema if pa.types.is_floating(field.type) and field.name not in _NO_MEASURES
    ]
    parts: dict[str, list[np.ndarray]] = {column: [] for column in columns}
    rows = 0
    for shard in dataset.shards(name) if columns else ():
        if rows >= most_rows:
            break
        with dataset.open_shard(shard) as file:
            there = [column for column in columns if column in file.columns]  # others came later
            for batch in file.batches(there):
                for column in there:
                    values = batch[column][: most_rows - rows].drop_null().to_numpy()
                    parts[column].append(values[np.isfinite(values)])
                rows += batch.num_rows
                if rows >= most_rows:
                    break
    joined = {column: np.concatenate(part) for column, part in parts.items() if part}
    return {
        column: Spread(low=float(low), middle=float(middle), high=float(high))
        for column, values in joined.items() if len(values)
        for low, middle, high in [np.quantile(values, (0.05, 0.5, 0.95))]
    }  # fmt: skip
