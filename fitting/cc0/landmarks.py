"""Landmarks known as vertices of the MakeHuman base mesh."""

import numpy as np
from jaxtyping import Int64

from fitting.face_model import LandmarkEmbedding

IBUG68_BASE_IDS: tuple[int, ...] = (
    870, 5236, 5246, 910, 735, 5298, 5295, 5293, 732, 11899, 11901, 11903, 7455, 7612, 11854, 11845, 7575,
    254, 225, 204, 205, 209, 6984, 6980, 6979, 6999, 7023,
    132, 131, 164, 294, 325, 313, 317, 7076, 7087,
    21, 1055, 1073, 1077, 6772, 6777, 7769, 7765, 7747, 6805, 13373, 13368,
    3734, 5352, 460, 466, 7219, 11954, 10402, 7235, 7241, 492, 486, 480,
    430, 472, 474, 7228, 7190, 7279, 493, 534,
)  # fmt: skip
"""The 68 points of the iBUG mark-up as vertices of hm08's `base.obj` (0-based). Measured on renders."""


def at_base_vertices(base_ids: tuple[int, ...], kept: Int64[np.ndarray, " vertices"]) -> LandmarkEmbedding:
    """Landmarks that sit on vertices.

    Args:
        base_ids: Vertices of the base mesh.
        kept: The base vertices that the face keeps, rising.

    Raises:
        ValueError: The cut has removed one of them.
    """
    places = np.searchsorted(kept, base_ids)
    lost = [base for base, place in zip(base_ids, places, strict=True) if place == len(kept) or kept[place] != base]
    if lost:
        raise ValueError(f"base_ids={lost} are not part of the face")
    weights = np.zeros((len(base_ids), 3), dtype=np.float32)
    weights[:, 0] = 1
    return LandmarkEmbedding(vertex_ids=np.repeat(places[:, None], 3, axis=1).astype(np.int32), weights=weights)
