"""Cumulative error curves, as in the ablation of Koujan et al.: the share of frames with an error below x."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
from jaxtyping import Float64

Errors = Mapping[str, tuple[Float64[np.ndarray, " frames"], Float64[np.ndarray, " frames"]]]
"""By method: errors of the whole face, as a fraction of the outer-eye distance; of the expression, mm."""

_COLOURS = {"two_stage": "#1b6ca8", "koujan2020": "#c0392b", "joint_map": "#e08e0b", "single_frame": "#7f8c8d"}


def draw_curves(path: Path, title: str, rows: Mapping[str, Errors]) -> None:
    """Two curves per method for each kind of video.

    Args:
        path: The PNG to write.
        title: Over all.
        rows: Errors by kind of video, one row of panels each.
    """
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(len(rows), 2, figsize=(11, 4.2 * len(rows)), squeeze=False, layout="constrained")
    labels = ("whole face: mean vertex distance / outer-eye distance", "expression: mean vertex distance, mm")
    for line, (kind, errors) in zip(axes, rows.items(), strict=True):
        for column, (panel, label) in enumerate(zip(line, labels, strict=True)):
            reach = max(np.quantile(both[column], 0.98) for both in errors.values())
            for method, both in errors.items():
                values = np.sort(both[column])
                share = np.arange(1, len(values) + 1) / len(values)
                name = f"{method} (median {np.median(values):.3g})"
                panel.plot(values, share, label=name, color=_COLOURS.get(method), linewidth=1.8)
            panel.set(xlim=(0, 1.4 * reach), ylim=(0, 1), xlabel=label, ylabel="share of frames", title=kind)
            panel.grid(alpha=0.3)
            panel.legend(loc="lower right", fontsize=8)
    figure.suptitle(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
