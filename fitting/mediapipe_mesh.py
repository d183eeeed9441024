"""MediaPipe's own face mesh, as its programs give it: which of its points our schemes are made of.

Its face landmarker gives 468 points, or 478 with the irises: x and y as shares of the picture's width and height, and a
depth, which the fit has no use for.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float64, Int64

MESH_POINTS = (468, 478)
"""Points of a frame, without and with the irises."""
USUAL_SCHEME = "mediapipe68"
"""What is taken of the mesh where nobody says: what a build fits."""

# fmt: off
_DENSE = (
    127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356, 46, 53, 52, 65, 55, 285, 295,
    282, 283, 276, 168, 197, 5, 4, 240, 97, 2, 326, 460, 33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 81, 13, 311, 308, 402, 14, 178, 7, 249, 163, 390, 145,
    374, 154, 381, 155, 382, 246, 466, 161, 388, 159, 386, 157, 384, 173, 398, 70, 300, 63, 293, 105, 334, 66, 296,
    107, 336, 185, 409, 40, 270, 146, 375, 91, 321, 191, 415, 80, 310, 82, 312, 95, 324, 88, 318, 87, 317, 122, 351,
    196, 419, 3, 248, 51, 281, 198, 420, 131, 360, 129, 358, 64, 294, 98, 327, 75, 305, 36, 266, 50, 280, 117, 346,
    147, 376, 187, 411, 205, 425, 203, 423, 206, 426, 216, 436, 214, 434, 43, 273, 106, 335, 182, 406, 83, 313, 201,
    421, 32, 262, 172, 397, 149, 378, 148, 377, 162, 389, 21, 251, 54, 284, 103, 332, 67, 297, 109, 338, 6, 195, 1,
    19, 94, 164, 18, 200, 175, 8, 151, 10,
)
# fmt: on
_IDS: Mapping[str, tuple[int, ...]] = {"mediapipe68": _DENSE[:68], "mediapipe_dense": _DENSE}
"""The same as in `pipeline.faces.schemes`, which says what each of them is; a test compares them."""


def mesh_ids(scheme: str) -> Int64[np.ndarray, " points"] | None:
    """Mesh ids of a scheme's points, in its order; None where the scheme is not of the mesh."""
    ids = _IDS.get(scheme)
    return None if ids is None else np.array(ids, dtype=np.int64)


def in_pixels(
    shares: Float64[np.ndarray, "frames points 2"], picture_px: tuple[int, int]
) -> Float64[np.ndarray, "frames points 2"]:
    """Shares of the picture's width and height as pixels, (0, 0) the centre of the top-left one."""
    return np.asarray(shares * np.array(picture_px, dtype=np.float64) - 0.5)
