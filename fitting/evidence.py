"""How much less a landmark counts because the picture says little about it.

A network that marks a whole face mesh sees lids, lips, brows and the nose; it guesses cheeks, chin, forehead and the
contour from them, smoothly and plausibly, and a fit that takes such guesses for independent measurements follows the
network's idea of a face instead of the face: lids and smiles move less. Nothing in the residuals shows it (the guesses
agree with each other), so it is stated here: the noise that a landmark is given grows with its distance from
the nearest of the 51 inner landmarks, and no further than `FARTHEST`.

Eyes are looked at by a network of their own. It finds the middle of the lids in the picture; the points at the corners
slide sideways with gaze, by three times as much as the lids err up and down.
"""

import numpy as np
from jaxtyping import Float64

from fitting.face_model import INNER_POINTS, OUTER_EYE_POINTS

FARTHEST = 3.0
_REACH_SHARE = 5.0 / 89.0
"""Within this distance, as a share of the outer-eye distance, a landmark is as good as its neighbour."""
_EYES = ((36, 39, slice(36, 42)), (45, 42, slice(42, 48)))
"""Outer corner, inner corner and all six points of each eye in the iBUG 68 mark-up."""
_AT_THE_EYE_SHARE = 6.0 / 89.0
_MIDDLE_OF_THE_EYE = (0.2, 0.8)
_MIDDLE_RATIO, _CORNER_RATIO = 0.6, 1.5


def evidence_ratio(points_mm: Float64[np.ndarray, "points 3"]) -> Float64[np.ndarray, " points"]:
    """The noise of each landmark beside one that the picture shows well.

    Args:
        points_mm: The landmarks of a mean face, head frame; the first 68 follow the iBUG 68 mark-up.
    """
    outer_eye_mm = float(np.linalg.norm(np.subtract(*points_mm[list(OUTER_EYE_POINTS)])))
    distance = _distance(points_mm, points_mm[INNER_POINTS])
    ratio = np.minimum(np.sqrt(1 + (distance / (_REACH_SHARE * outer_eye_mm)) ** 2), FARTHEST)
    for outer, inner, eye in _EYES:
        at_the_eye = _distance(points_mm, points_mm[eye]) < _AT_THE_EYE_SHARE * outer_eye_mm
        along = (points_mm[:, 0] - points_mm[outer, 0]) / (points_mm[inner, 0] - points_mm[outer, 0])
        low, high = _MIDDLE_OF_THE_EYE
        ratio[at_the_eye] *= np.where((along >= low) & (along <= high), _MIDDLE_RATIO, _CORNER_RATIO)[at_the_eye]
    return np.asarray(ratio)


def _distance(
    points: Float64[np.ndarray, "points 3"], targets: Float64[np.ndarray, "targets 3"]
) -> Float64[np.ndarray, " points"]:
    return np.asarray(np.linalg.norm(points[:, None] - targets, axis=-1).min(axis=1))
