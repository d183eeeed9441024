"""Perspective as a lens before the scaled-orthographic camera: one number per video, 0 where there is none.

A pinhole with focal length f sees a point of the head at `c + f (R p + t)_xy / (R p + t)_z`. With the scale
`s = f / t_z` and `u = c + s t_xy` (where the head's origin falls) this is

    c + (s (R p)_xy + u - c) / (1 + s (R p)_z / f),

the scaled-orthographic camera of (s, R, u) and a division by a depth that is 1 at the head's origin. So the camera
keeps its meaning and its six parameters, and `1 / f` carries the perspective: continuously from 0, the same in every
frame of a video (Hartley and Zisserman, section 6.1, for the pinhole). `c` is the principal point, taken to be the
middle of the picture. numpy alone: pictures are drawn without torch; `fitting.lens_tensors` has the fit's form.
"""

import numpy as np
from jaxtyping import Float

NEAREST_DEPTH = 0.25
"""Depths are held above this: a point behind the pinhole has no picture."""


def through_lens(
    scaled: Float[np.ndarray, "*batch points 3"],
    translation_px: Float[np.ndarray, "*batch 2"],
    lens: Float[np.ndarray, " 3"],
) -> Float[np.ndarray, "*batch points 2"]:
    """Picture coordinates of points in camera axes times the scale.

    Args:
        scaled: `scale_px_per_mm * R @ head_mm`.
        translation_px: Where the head frame's origin falls.
        lens: One over the focal length (1/px, 0 for scaled orthographic) and the principal point (px).
    """
    flat = scaled[..., :2] + translation_px[..., None, :]
    if not lens[0]:
        return np.asarray(flat)
    principal = lens[1:]
    depth = np.maximum(1.0 + lens[0] * scaled[..., 2:], NEAREST_DEPTH)
    return np.asarray(principal + (flat - principal) / depth)
