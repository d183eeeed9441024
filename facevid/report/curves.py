"""Curves for the report, as SVG that lives inside the page: expression and error over time, a training's loss.

Axes and text are mid-grey on nothing, so that they read on white and on black.
"""

import io
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import cycle
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from facevid.track_arrays import TrackArrays
from fitting.arkit import arkit_weights
from fitting.face_model import FaceModel

SHOWN_UNITS: Mapping[str, tuple[str, ...]] = {
    "jaw open": ("jawOpen",),
    "smile": ("mouthSmileLeft", "mouthSmileRight"),
    "eyes closed": ("eyeBlinkLeft", "eyeBlinkRight"),
    "inner brows up": ("browInnerUp",),
    "brows down": ("browDownLeft", "browDownRight"),
}
"""Curves and the ARKit weights whose mean each shows."""
_GREY = "#808890"
_COLOURS = ("#d1495b", "#2e86ab", "#e0a030", "#5a9367", "#8e6bbf")


def expression_svg(tracks: Sequence[TrackArrays], model: FaceModel) -> str:
    """ARKit weights of the tracks over time; without an ARKit map, the first expression coefficients."""
    with _style():
        figure = Figure(figsize=(9.0, 2.0), layout="constrained")
        axes = figure.subplots()
        for order, track in enumerate(tracks):
            for number, (name, values) in enumerate(_curves(track, model).items()):
                axes.plot(track.pts_s, values, lw=1.1, color=_COLOURS[number], label=name if not order else None)
        axes.set_xlabel("time, s")
        if model.arkit is None:
            axes.set_ylabel("coefficient, sd")
        else:
            axes.set_ylabel("ARKit weight")
            axes.set_ylim(-0.05, 1.05)
        axes.legend(ncols=5, loc="upper left", bbox_to_anchor=(0, 1.22), frameon=False)
        return _svg(figure, salt="expression")


def error_svg(tracks: Sequence[TrackArrays]) -> str:
    """Re-projection error of the tracks over time, in per cent of the outer-eye distance."""
    with _style():
        figure = Figure(figsize=(9.0, 1.2), layout="constrained")
        axes = figure.subplots()
        for track in tracks:
            axes.plot(track.pts_s, 100 * track.reprojection_error, lw=1.0, color=_COLOURS[1])
        axes.set_xlabel("time, s")
        axes.set_ylabel("error, %")
        axes.set_ylim(0, 1.06 * axes.get_ylim()[1])  # markers at the top are drawn whole
        return _svg(figure, salt="error")


def loss_svg(lines: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, x: str, y: str) -> str:
    """Named curves of a training.

    Args:
        lines: Per name, the x and y values.
        x: Label of the x axis.
        y: Label of the y axis.
    """
    with _style():
        figure = Figure(figsize=(5.5, 2.2), layout="constrained")
        axes = figure.subplots()
        for colour, (name, (xs, ys)) in zip(cycle(_COLOURS), lines.items(), strict=False):
            axes.plot(xs, ys, lw=1.2, color=colour, label=name, marker="o" if len(xs) < 12 else None, ms=3)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.set_ylim(0, 1.06 * axes.get_ylim()[1])  # markers at the top are drawn whole
        axes.legend(frameon=False)
        return _svg(figure, salt="loss")


def _style() -> AbstractContextManager[None]:
    return mpl.rc_context({
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.size": 8,
        "text.color": _GREY,
        "axes.edgecolor": _GREY,
        "axes.labelcolor": _GREY,
        "xtick.color": _GREY,
        "ytick.color": _GREY,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "path.simplify_threshold": 0.3,
    })


def _curves(track: TrackArrays, model: FaceModel) -> dict[str, Float[np.ndarray, " frames"]]:
    if model.arkit is None:
        return {f"e{index}": track.expression[:, index] for index in range(min(len(_COLOURS), model.n_expression))}
    weights = arkit_weights(model, track.expression)
    column = {name: index for index, name in enumerate(model.arkit.names)}
    return {
        label: weights[:, [column[name] for name in names]].mean(axis=1)
        for label, names in SHOWN_UNITS.items()
        if all(name in column for name in names)
    }


def _svg(figure: Figure, *, salt: str) -> str:
    out = io.StringIO()
    metadata: dict[str, Any] = {"Date": None, "Creator": None}
    # The salt makes the ids inside the drawing a function of its content: same data, same page.
    with mpl.rc_context({"svg.hashsalt": salt}):
        figure.savefig(out, format="svg", transparent=True, metadata=metadata)
    # Every label names twelve fonts, of which the reader's browser has its own choice in any case.
    text = re.sub(r"font-family: [^;\"]*", "font-family: sans-serif", out.getvalue())
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    return text[text.index("<svg") :]
