"""Cuts the face out of the MakeHuman body, and places it in the head frame."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int32, Int64
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from fitting.cc0.source import BODY_VERTICES, LEFT_EYE_VERTICES, RIGHT_EYE_VERTICES, BaseMesh

NECK_WEIGHT_LIMIT = 0.5
LOWEST_MM = 610.0
REARMOST_MM = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceCut:
    """Which part of the base mesh is the face.

    Attributes:
        base_ids: Vertex of the base mesh for each vertex of the face: skin first (rising), then both eyeballs.
        triangles: Face vertices, counter-clockwise seen from outside.
        mirror_vertex: Partner of each face vertex across x = 0.
        is_eyeball: Whether a face vertex belongs to an eyeball.
    """

    base_ids: Int64[np.ndarray, " vertices"]
    triangles: Int32[np.ndarray, "triangles 3"]
    mirror_vertex: Int32[np.ndarray, " vertices"]
    is_eyeball: Bool[np.ndarray, " vertices"]


def cut_face(base: BaseMesh) -> FaceCut:
    """The face mask: front of the head without neck, its largest connected piece, plus the two eyeballs.

    Raises:
        ValueError: The cut does not come out left-right symmetric, so this is not the mesh the recipe was made for.
    """
    position = base.vertices_mm
    is_skin = np.zeros(len(position), dtype=bool)
    is_skin[BODY_VERTICES.start : BODY_VERTICES.stop] = True
    is_face = (
        is_skin & (base.neck_weight < NECK_WEIGHT_LIMIT) & (position[:, 1] > LOWEST_MM) & (position[:, 2] > REARMOST_MM)
    )
    skin_ids = _largest_piece(base.quads[is_face[base.quads].all(axis=1)], len(position))
    is_kept = np.zeros(len(position), dtype=bool)
    is_kept[skin_ids] = True
    is_eye = np.zeros(len(position), dtype=bool)
    for eye in (LEFT_EYE_VERTICES, RIGHT_EYE_VERTICES):
        is_eye[eye.start : eye.stop] = True
    base_ids = np.flatnonzero(is_kept | is_eye)
    to_face = np.full(len(position), -1)
    to_face[base_ids] = np.arange(len(base_ids))
    quads = to_face[base.quads]
    # A quad belongs to one part: skin with skin, eye with eye.
    quads = quads[(quads >= 0).all(axis=1) & (is_eye[base.quads].all(axis=1) | is_kept[base.quads].all(axis=1))]
    mirror = to_face[base.mirror[base_ids]]
    if (mirror < 0).any():
        lone = int((mirror < 0).sum())
        raise ValueError(f"the cut of the base mesh is not symmetric: {lone} vertices lack a partner")
    return FaceCut(
        base_ids=base_ids,
        triangles=_triangulate(quads),
        mirror_vertex=mirror.astype(np.int32),
        is_eyeball=is_eye[base_ids],
    )


def _largest_piece(quads: Int64[np.ndarray, "quads 4"], vertices: int) -> Int64[np.ndarray, " kept"]:
    one, other = quads.ravel(), np.roll(quads, 1, axis=1).ravel()
    graph = coo_array((np.ones(len(one)), (one, other)), shape=(vertices, vertices))
    _, piece = connected_components(graph, directed=False)
    used = np.unique(quads)
    largest = np.bincount(piece[used]).argmax()
    return np.asarray(used[piece[used] == largest])


def _triangulate(quads: Int64[np.ndarray, "quads 4"]) -> Int32[np.ndarray, "triangles 3"]:
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    distinct = (
        (triangles[:, 0] != triangles[:, 1])
        & (triangles[:, 1] != triangles[:, 2])
        & (triangles[:, 2] != triangles[:, 0])
    )
    return np.asarray(triangles[distinct], dtype=np.int32)
