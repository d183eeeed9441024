"""Means with standard errors over videos, in columns."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields

import numpy as np

from fitting.metrics import FitAccuracy

COLUMNS = {
    "identity_similarity_mm": "identity sim. mm",
    "identity_rigid_mm": "rigid mm",
    "size_ratio": "size",
    "expression_mm": "expression mm",
    "nme_percent": "NME %",
    "jitter_mm": "jitter mm",
    "rotation_deg": "rotation deg",
    "sigma_z": "sigma z",
}


class Means:
    """Mean and standard error of each metric over videos."""

    def __init__(self, rows: Sequence[FitAccuracy]) -> None:
        plain = [asdict(row) for row in rows]
        self._values = {field.name: np.array([row[field.name] for row in plain]) for field in fields(FitAccuracy)}

    def __getitem__(self, metric: str) -> float:
        return float(self._values[metric].mean())

    def values(self, metric: str) -> np.ndarray:
        """The metric of each video."""
        return self._values[metric]

    def text(self, metric: str) -> str:
        """Mean and standard error, which needs two videos."""
        values = self._values[metric]
        error = f" ±{values.std(ddof=1) / np.sqrt(len(values)):.3f}" if len(values) > 1 else ""
        return f"{values.mean():.3f}{error}"


def print_rows(rows: Mapping[str, Means], hidden: Mapping[str, Sequence[str]] | None = None) -> None:
    """A table with a row per name.

    Args:
        rows: By name.
        hidden: Metrics that mean nothing in a row, by its name.
    """
    width = max(len(name) for name in rows) + 2
    print(f"{'':{width}}" + "".join(f"{title:>18}" for title in COLUMNS.values()))
    for name, means in rows.items():
        cells = ("-" if metric in (hidden or {}).get(name, ()) else means.text(metric) for metric in COLUMNS)
        print(f"{name:{width}}" + "".join(f"{cell:>18}" for cell in cells))
