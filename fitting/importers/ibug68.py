"""Where the 68 iBUG points lie on the meshes whose vertex numbers are published.

A point that a list calls the i-th vertex is given here counted from 0. Each list is checked against the shape of a
face when a model is imported (`fitting.importers.plausible`), so a wrong one does not pass in silence.
"""

import numpy as np
from jaxtyping import Int

from fitting.face_model import LandmarkEmbedding

ICT_FACEKIT = (
    1225, 1888, 1052, 367, 1719, 1722, 2199, 1447, 966, 3661, 4390, 3927, 3924, 2608, 3272, 4088, 3443,
    268, 493, 1914, 2044, 1401, 3615, 4240, 4114, 2734, 2509, 978, 4527, 4942, 4857, 1140, 2075, 1147, 4269, 3360,
    1507, 1542, 1537, 1528, 1518, 1511, 3742, 3751, 3756, 3721, 3725, 3732,
    5708, 5695, 2081, 0, 4275, 6200, 6213, 6346, 6461, 5518, 5957, 5841, 5702, 5711, 5533, 6216, 6207, 6470, 5517, 5966,
)  # fmt: skip
"""ICT-FaceKit's README, "Multi-PIE 68 point facial landmarks indices"; all lie in the narrow face, the first 6,706."""

BASEL_53215 = (
    21868, 22404, 22298, 22327, 43430, 45175, 46312, 47132, 47911, 48692, 49737, 51376, 53136, 32516, 32616, 32205,
    32701, 38910, 39396, 39693, 39934, 40131, 40843, 41006, 41179, 41430, 13399, 8161, 8172, 8179, 8185, 5622, 6881,
    8202, 9403, 10764, 1831, 3887, 5049, 6214, 4805, 3643, 9955, 11095, 12255, 14197, 12397, 11366,
    5779, 6024, 7014, 8215, 9294, 10267, 10922, 9556, 8836, 8236, 7636, 6794, 5905, 7264, 8223, 9063, 10404, 8828,
    8228, 7509,
)  # fmt: skip
"""The 53,215 vertices that LSFM shares with the BFM 2009 cut by 3DDFA; from menpo's "itwmm" notebook 2."""

BASEL_53490 = tuple(
    number - 1
    for number in (
        22143, 22813, 22840, 23250, 44124, 45884, 47085, 47668, 48188, 48708, 49299, 50498, 52457, 32022, 32386, 32359,
        32979, 38886, 39636, 40030, 40238, 40433, 41172, 41368, 41578, 42011, 42646, 8291, 8305, 8314, 8320, 6783, 7687,
        8331, 8977, 9879, 1832, 3760, 5050, 6087, 4546, 3516, 10731, 11758, 12919, 14859, 13191, 12157,
        5523, 6155, 7442, 8345, 9506, 10799, 11199, 10179, 9277, 8374, 7471, 6566, 5909, 7322, 8354, 9386, 10941, 9141,
        8367, 7194,
    )
)  # fmt: skip
"""The full BFM 2009; `Landmarks68_BFM.anl` of anilbas/BFMLandmarks, which counts from 1 as Matlab does."""

FLAME_5023 = (
    2210, 1963, 3056, 3424, 3423, 3421, 3419, 3416, 3414, 3635, 3643, 3646, 3650, 3652, 2004, 568, 728,
    2567, 337, 338, 3154, 3712, 3868, 2135, 27, 18, 1430, 3560, 3561, 3501, 3564, 2751, 2793, 3556, 1676, 1623,
    2428, 2453, 2494, 3631, 2278, 2359, 3832, 1343, 1218, 1154, 995, 829,
    2820, 2864, 2774, 3543, 1657, 1749, 1703, 1774, 1802, 3503, 2905, 2881, 2845, 2787, 3531, 1670, 1730, 1804, 3504,
    2907,
)  # fmt: skip
"""FLAME; `data/FLAME_landmarks.txt` of yunik1004/SAiD. Whole vertices, so up to half an edge off."""

BASEL_2017_POINTS = {
    "chin": 47846, "nose_tip": 8156, "right_eye_outer": 2602, "right_eye_inner": 5830, "left_eye_inner": 10390,
    "left_eye_outer": 13481, "mouth_right": 5522, "mouth_left": 10857,
}  # fmt: skip
"""BFM 2017 with ears and without mouth (53,149 vertices); `ibug_to_bfm2017-1_bfm_nomouth.txt` of eos."""


def at_vertices(ids: tuple[int, ...] | Int[np.ndarray, " points"]) -> LandmarkEmbedding:
    """Landmarks that sit on vertices.

    Args:
        ids: A vertex per landmark, counted from 0.
    """
    weights = np.zeros((len(ids), 3), dtype=np.float32)
    weights[:, 0] = 1
    return LandmarkEmbedding(vertex_ids=np.repeat(np.asarray(ids, dtype=np.int32)[:, None], 3, axis=1), weights=weights)
