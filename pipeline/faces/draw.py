"""Landmarks drawn on a frame, for people to look at."""

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

Colour = tuple[int, int, int]

_PARTS: tuple[tuple[range, bool, Colour], ...] = (
    (range(17), False, (120, 200, 255)),  # jaw
    (range(17, 22), False, (255, 190, 60)),  # brows
    (range(22, 27), False, (255, 190, 60)),
    (range(27, 31), False, (150, 255, 150)),  # nose
    (range(31, 36), False, (150, 255, 150)),
    (range(36, 42), True, (80, 255, 255)),  # eyes
    (range(42, 48), True, (80, 255, 255)),
    (range(48, 60), True, (255, 110, 150)),  # lips
    (range(60, 68), True, (255, 160, 190)),
)
_EXTRA: Colour = (235, 235, 235)
_SUBPIXEL_BITS = 4


def draw_landmarks(
    rgb: UInt8[np.ndarray, "height width 3"], landmarks_px: Float32[np.ndarray, "points 2"], *, dots: bool = True
) -> UInt8[np.ndarray, "height width 3"]:
    """A copy of the frame with its landmarks: lines along the 68 iBUG points, dots on all points.

    Lines and dots grow with the face, so that small faces stay visible under them.

    Args:
        rgb: The displayed picture.
        landmarks_px: Landmarks of any scheme, 68 or more.
        dots: Also mark every point.

    Raises:
        ValueError: There are fewer than 68 landmarks.
    """
    if len(landmarks_px) < 68:
        raise ValueError(f"landmarks_px has {len(landmarks_px)} points, fewer than 68")
    out = rgb.copy()
    width = float(np.ptp(landmarks_px[:68, 0]))
    thickness = max(1, round(width / 220))
    fixed = np.round(landmarks_px * 2**_SUBPIXEL_BITS).astype(np.int32)
    for part, closed, colour in _PARTS:
        cv2.polylines(out, [fixed[list(part)]], closed, colour, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)
    if dots:
        radius = max(round(width / 160 * 2**_SUBPIXEL_BITS), 2 ** (_SUBPIXEL_BITS - 1))
        colours = {k: colour for part, _, colour in _PARTS for k in part}
        for k, (x, y) in enumerate(fixed.tolist()):
            cv2.circle(out, (x, y), radius, colours.get(k, _EXTRA), cv2.FILLED, cv2.LINE_AA, _SUBPIXEL_BITS)
    return out
