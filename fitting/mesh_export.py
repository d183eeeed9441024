"""A saved fit for other programs: ARKit weights as CSV, and the mesh of one frame as OBJ."""

import csv
import io
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int32

from fitting.arkit import arkit_weights
from fitting.face_model import FaceModel
from fitting.saved_fit import SavedFit
from fitting.whole_file import write_whole


def write_arkit_csv(path: str | Path, fit: SavedFit, model: FaceModel) -> None:
    """Write ARKit weights: columns `frame`, `pts_s`, and one per unit, in [0, 1].

    Raises:
        ValueError: The fit is of another model, or diverged, or the model has no map to ARKit weights.
    """
    fit.check_model(model)
    weights = arkit_weights(model, fit.track.expression)
    names = model.arkit.names if model.arkit else ()
    text = io.StringIO(newline="")
    out = csv.writer(text, lineterminator="\n")
    out.writerow(["frame", "pts_s", *names])
    for frame, pts_s, row in zip(fit.frame, fit.pts_s, weights, strict=True):
        # repr gives back the very time; a weight needs no more than a fitted one is worth.
        out.writerow([int(frame), repr(float(pts_s)), *(f"{weight:.5f}" for weight in row)])
    write_whole(Path(path), text.getvalue().encode())


def write_obj(path: str | Path, fit: SavedFit, model: FaceModel, *, frame: int) -> None:
    """Write the mesh of one frame in the head frame (x to the subject's left, y up, z out of the face), millimetres.

    Args:
        path: The `.obj` file.
        fit: The fit.
        model: The face model that was fitted.
        frame: Number of the frame, as in the landmarks file.

    Raises:
        ValueError: There is no such frame, the fit is of another model, or it diverged.
    """
    fit.check_model(model)
    rows = np.flatnonzero(fit.frame == frame)
    if not rows.size:
        raise ValueError(f"frame={frame} is not in the fit, whose {len(fit.frame)} frames lie between "
                         f"{fit.frame[0]} and {fit.frame[-1]}")  # fmt: skip
    vertices = model.vertices_mm(fit.track.identity, fit.track.expression[int(rows[0])])
    about = (
        f"frame {frame}, {float(fit.pts_s[rows[0]])!r} s",
        "millimetres; x to the subject's left, y up, z out of the face",
        f"face model {model.name}, licence: {model.licence}",
    )
    write_whole(Path(path), _obj_text(vertices, model.triangles, about).encode())


def _obj_text(
    vertices_mm: Float[np.ndarray, "vertices 3"], triangles: Int32[np.ndarray, "triangles 3"], about: tuple[str, ...]
) -> str:
    # A line break in a licence would end the comment.
    lines = [f"# {' '.join(line.split())}" for line in about]
    lines += [f"v {x:.5f} {y:.5f} {z:.5f}" for x, y, z in vertices_mm.tolist()]
    lines += [f"f {a} {b} {c}" for a, b, c in (triangles + 1).tolist()]
    return "\n".join(lines) + "\n"
