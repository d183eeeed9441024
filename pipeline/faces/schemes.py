"""Landmark schemes on the MediaPipe face mesh. In every scheme, points 0-67 follow the iBUG 68 mark-up.

iBUG order, as in Sagonas et al., "300 Faces in-the-Wild Challenge", IMAVIS 2016: jaw 0-16 from the subject's right
(image left) to the left, brows 17-21 and 22-26, nose bridge 27-30 downwards, nostrils 31-35, eyes 36-41 and 42-47
(outer corner of the right eye first, inner corner of the left eye first, both clockwise in the picture), outer lips
48-59 and inner lips 60-67, clockwise from the right corner. The mesh has no such mark-up: the ids are those mesh
points that lie nearest to it on a face seen from the front. Of the mesh's two rows along each brow it is the lower
one: the upper one lies on the forehead.
"""

import numpy as np
from jaxtyping import Int64

MESH_POINTS = 468
OUTER_EYES = (33, 263)
"""Mesh ids of the outer corners of the subject's right and left eye."""
INNER_EYES = (133, 362)
"""Mesh ids of the inner corners of the subject's right and left eye."""

# fmt: off
IBUG68 = (
    127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356,  # jaw
    46, 53, 52, 65, 55, 285, 295, 282, 283, 276,                                        # brows
    168, 197, 5, 4, 240, 97, 2, 326, 460,                                               # nose
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,                          # eyes
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,                                # outer lips
    78, 81, 13, 311, 308, 402, 14, 178,                                                 # inner lips
)

IBUG68_MIRROR = (
    16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0,
    26, 25, 24, 23, 22, 21, 20, 19, 18, 17,
    27, 28, 29, 30, 35, 34, 33, 32, 31,
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55,
    64, 63, 62, 61, 60, 67, 66, 65,
)
"""For each of the 68 points, the one that takes its place when the picture is flipped left to right."""

# The dense set beyond the 68, in pairs (subject's right, subject's left), and on the midline.
_LIDS = ((7, 249), (163, 390), (145, 374), (154, 381), (155, 382),
         (246, 466), (161, 388), (159, 386), (157, 384), (173, 398))
_BROWS = ((70, 300), (63, 293), (105, 334), (66, 296), (107, 336))
_LIPS = ((185, 409), (40, 270), (146, 375), (91, 321),
         (191, 415), (80, 310), (82, 312), (95, 324), (88, 318), (87, 317))
_NOSE = ((122, 351), (196, 419), (3, 248), (51, 281), (198, 420), (131, 360), (129, 358), (64, 294), (98, 327),
         (75, 305))
_CHEEKS = ((36, 266), (50, 280), (117, 346), (147, 376), (187, 411), (205, 425), (203, 423), (206, 426), (216, 436),
           (214, 434))
_CHIN = ((43, 273), (106, 335), (182, 406), (83, 313), (201, 421), (32, 262))
_CONTOUR = ((172, 397), (149, 378), (148, 377), (162, 389), (21, 251), (54, 284), (103, 332), (67, 297), (109, 338))
_MIDLINE = (6, 195, 1, 19, 94, 164, 18, 200, 175, 8, 151, 10)

LIDS_RIGHT = (33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173)
"""Mesh ids of the first 16 points that the eye network gives for the subject's right eye: lower lid from the outer to
the inner corner, then the upper lid between them."""
LIDS_LEFT = (263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398)
"""The same of the left eye; the network sees it mirrored."""
# fmt: on

_PAIRS = _LIDS + _BROWS + _LIPS + _NOSE + _CHEEKS + _CHIN + _CONTOUR
_DENSE = (*IBUG68, *(point for pair in _PAIRS for point in pair), *_MIDLINE)


def points_of(scheme: str) -> Int64[np.ndarray, " points"]:
    """The mesh ids of a scheme's points, in its order.

    Raises:
        ValueError: There is no such scheme.
    """
    return np.array(_ids_of(scheme), dtype=np.int64)


def mirror_of(scheme: str) -> Int64[np.ndarray, " points"]:
    """For each point of a scheme, the point that takes its place when the picture is flipped left to right.

    Raises:
        ValueError: There is no such scheme.
    """
    ids = _ids_of(scheme)
    partner = list(IBUG68_MIRROR)
    if len(ids) > len(IBUG68):
        first = len(IBUG68)
        partner += [first + (k ^ 1) for k in range(2 * len(_PAIRS))]
        partner += range(len(partner), len(ids))
    return np.array(partner, dtype=np.int64)


def _ids_of(scheme: str) -> tuple[int, ...]:
    match scheme:
        case "mediapipe68":
            return IBUG68
        case "mediapipe_dense":
            return _DENSE
    raise ValueError(f"unknown landmark scheme={scheme!r}; known: mediapipe68, mediapipe_dense")
