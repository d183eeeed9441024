"""Scales the blink so that weight 1 just closes the eye.

MakeHuman's blink carries the upper lid millimetres beyond the lower one. On the mean face we measure, column by
column of a frontal picture, how far the lids stand apart and how far the blink moves the upper one, and scale the
blink by the ratio of the two, smoothly along the eye.
"""

import numpy as np
from jaxtyping import Bool, Float64, Int32
from scipy.ndimage import gaussian_filter1d

from fitting.render import look_from, project_head, rasterise

_PX_PER_MM = 8.0
_MIDDLE_SHARE = 0.8
_SMOOTHING_MM = 2.5
OVERLAP_MM = 0.35
"""The upper lid goes this far beyond touching, so that no gap opens between vertices."""


def closing_factor(
    face_mm: Float64[np.ndarray, "vertices 3"],
    triangles: Int32[np.ndarray, "triangles 3"],
    blink_mm: Float64[np.ndarray, "vertices 3"],
    is_eyeball: Bool[np.ndarray, " vertices"],
) -> Float64[np.ndarray, " vertices"]:
    """Factor of the blink per vertex.

    Args:
        face_mm: The face with open eyes.
        triangles: Its triangles.
        blink_mm: Displacement under the blink of one eye.
        is_eyeball: Which vertices are eyeballs.

    Raises:
        ValueError: No open eye can be seen from the front where the blink acts.
    """
    moved = np.linalg.norm(blink_mm, axis=1) > 1.0
    middle = face_mm[moved].mean(axis=0)
    at = project_head(face_mm - middle, _PX_PER_MM, look_from(0.0), (240.0, 240.0))
    raster = rasterise(at, triangles, height=480, width=480)
    shows_eye = raster.is_hit & is_eyeball[triangles[raster.triangle, 0]]
    drop_px = -_PX_PER_MM * raster.interpolate(blink_mm[:, 1:2], triangles)[:, :, 0]
    columns = np.flatnonzero(shows_eye.any(axis=0))
    if not len(columns):
        raise ValueError("no open eye can be seen where the blink acts")
    # Towards the corners both the gap and the motion vanish, and their ratio says nothing.
    trim = round(len(columns) * (1 - _MIDDLE_SHARE) / 2)
    columns = columns[trim : len(columns) - trim]
    top = shows_eye[:, columns].argmax(axis=0)
    bottom = shows_eye.shape[0] - 1 - shows_eye[::-1, columns].argmax(axis=0)
    travel = drop_px[top - 2, columns]
    factor = (bottom - top + 1 + OVERLAP_MM * _PX_PER_MM) / np.maximum(travel, _PX_PER_MM)
    factor = gaussian_filter1d(factor, _SMOOTHING_MM * _PX_PER_MM, mode="nearest")
    return np.asarray(np.interp(at[:, 0], columns, factor))
