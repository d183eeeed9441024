"""Colours for a face model's surface, so that a render looks enough like a face for eyes and landmark networks.

A model has shape only. Brows, lips and the inside of the mouth are coloured per vertex, guided by the ibug68
landmarks; irises are drawn per pixel on the eyeballs, which are the mesh's small separate pieces.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32, Int64
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from fitting.face_model import FaceModel
from fitting.render import SKIN, Raster, look_from, project_head, rasterise

BROW = (96.0, 68.0, 52.0)
LIPS = (190.0, 104.0, 100.0)
MOUTH = (70.0, 24.0, 24.0)
LASH = (110.0, 76.0, 62.0)
SCLERA = (240.0, 236.0, 232.0)
IRIS = (92.0, 70.0, 48.0)
PUPIL = (18.0, 14.0, 12.0)
_IRIS_MM = 5.9
_PUPIL_MM = 2.4
_LOOKS = ((0.0, 0.0), (-35.0, 0.0), (35.0, 0.0), (0.0, 30.0), (0.0, -30.0), (-70.0, 0.0), (70.0, 0.0))
_LOOK_PX_PER_MM = 2.5
_HIDDEN_MM = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FacePaint:
    """The colours of one model.

    Attributes:
        vertex_colour: Red, green and blue per vertex, 0 to 255.
        eyeball_of_triangle: 0 for skin, 1, 2, ... for triangles of each eyeball.
        rest_mm: The neutral face, on which irises are placed.
        eye_centres_mm: Centre of each eyeball.
        triangles: The model's triangles.
    """

    vertex_colour: Float32[np.ndarray, "vertices 3"]
    eyeball_of_triangle: Int64[np.ndarray, " triangles"]
    rest_mm: Float32[np.ndarray, "vertices 3"]
    eye_centres_mm: Float32[np.ndarray, "eyes 3"]
    triangles: Int32[np.ndarray, "triangles 3"]

    def colours(self, raster: Raster) -> Float32[np.ndarray, "height width 3"]:
        """Colour at every pixel of a raster of this model."""
        colour = raster.interpolate(self.vertex_colour, self.triangles)
        rows, columns = np.nonzero(raster.is_hit)
        seen = raster.triangle[rows, columns]
        eye = self.eyeball_of_triangle[seen]
        rows, columns, seen, eye = (values[eye > 0] for values in (rows, columns, seen, eye))
        at = np.einsum("pk,pkc->pc", raster.weights[rows, columns], self.rest_mm[self.triangles[seen]])
        off_axis = np.linalg.norm((at - self.eye_centres_mm[eye - 1])[:, :2], axis=1)
        of_iris = _step(_IRIS_MM - off_axis)[:, None]
        of_pupil = _step(_PUPIL_MM - off_axis)[:, None]
        white = np.asarray(SCLERA) * (1 - of_iris) + np.asarray(IRIS) * of_iris
        colour[rows, columns] = white * (1 - of_pupil) + np.asarray(PUPIL) * of_pupil
        return colour


def paint_of(
    model: FaceModel,
    *,
    skin: tuple[float, float, float] = SKIN,
    outside: Bool[np.ndarray, " vertices"] | None = None,
) -> FacePaint:
    """Colours for a model that knows the ibug68 landmarks.

    Args:
        model: The model.
        skin: Colour of the skin.
        outside: What `seen_from_outside` says of the neutral face, where the caller has it already.

    Raises:
        ValueError: The model has no ibug68 landmarks.
    """
    embedding = model.embedding("ibug68")
    rest = model.vertices_mm(np.zeros(model.n_identity, dtype=np.float32), model.neutral_expression)
    points = np.einsum("pk,pkc->pc", embedding.weights, rest[embedding.vertex_ids])
    piece = eyeballs(len(rest), model.triangles)
    colour = np.tile(np.asarray(skin, dtype=np.float32), (len(rest), 1))
    brow = np.maximum(_near(rest, points[17:22], 2.6), _near(rest, points[22:27], 2.6))
    lash = np.maximum(_near(rest, points[36:40], 0.9), _near(rest, points[42:46], 0.9))
    lips = _inside(rest[:, :2], points[48:60, :2]) & (rest[:, 2] > points[[48, 54], 2].min() - 8)
    if outside is None:
        outside = seen_from_outside(rest, model.triangles)
    mouth = ~outside & (np.linalg.norm((rest - points[48:68].mean(axis=0))[:, :2], axis=1) < 45)
    for mask, tint in ((lips.astype(np.float32), LIPS), (mouth.astype(np.float32), MOUTH), (brow, BROW), (lash, LASH)):
        colour += mask[:, None] * (np.asarray(tint, dtype=np.float32) - colour)
    centres = [(rest[piece == k].max(axis=0) + rest[piece == k].min(axis=0)) / 2 for k in range(1, piece.max() + 1)]
    return FacePaint(
        vertex_colour=colour,
        eyeball_of_triangle=piece[model.triangles[:, 0]],
        rest_mm=rest,
        eye_centres_mm=np.array(centres, dtype=np.float32).reshape(-1, 3),
        triangles=model.triangles,
    )


def eyeballs(vertices: int, triangles: Int32[np.ndarray, "triangles 3"]) -> Int64[np.ndarray, " vertices"]:
    """0 for each vertex of the mesh's largest piece, and 1, 2, ... for those of its other pieces (the eyeballs)."""
    ends = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]]])
    graph = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(vertices, vertices))
    _, piece = connected_components(graph, directed=False)
    sizes = np.bincount(piece)
    largest = int(sizes.argmax())
    names = np.zeros(len(sizes), dtype=np.int64)
    others = [k for k in range(len(sizes)) if k != largest and sizes[k] > 1]
    names[others] = np.arange(1, len(others) + 1)
    return np.asarray(names[piece])


def seen_from_outside(
    vertices_mm: Float[np.ndarray, "vertices 3"], triangles: Int32[np.ndarray, "triangles 3"]
) -> Bool[np.ndarray, " vertices"]:
    """Which vertices some camera in front of or beside the face sees.

    What is hidden then is the inside of mouth and nostrils, and the backs of the lids.
    """
    seen = np.zeros(len(vertices_mm), dtype=bool)
    for yaw_deg, pitch_deg in _LOOKS:
        at = project_head(vertices_mm, _LOOK_PX_PER_MM, look_from(yaw_deg, pitch_deg), (0.0, 0.0))
        at[:, :2] -= at[:, :2].min(axis=0)
        width, height = (int(side) + 2 for side in at[:, :2].max(axis=0))
        # A cut mesh is open behind: without its back faces one would see through it into the mouth.
        front = rasterise(at, triangles, height=height, width=width, back_faces=True)
        column, row = np.rint(at[:, :2]).astype(np.int64).T
        seen |= at[:, 2] > front.depth_px[row, column] - _HIDDEN_MM * _LOOK_PX_PER_MM
    return seen


def _step(value: Float[np.ndarray, " values"]) -> Float[np.ndarray, " values"]:
    return np.clip(value / 0.6 + 0.5, 0, 1)


def _near(
    vertices_mm: Float32[np.ndarray, "vertices 3"], line_mm: Float32[np.ndarray, "points 3"], reach_mm: float
) -> Float32[np.ndarray, " vertices"]:
    """1 on a polyline, falling to 0 at twice the reach."""
    along = np.linspace(0, 1, 9)[:, None, None]
    dense = (line_mm[:-1] + along * (line_mm[1:] - line_mm[:-1])).reshape(-1, 3)
    distance = np.linalg.norm(vertices_mm[:, None] - dense, axis=2).min(axis=1)
    return np.asarray(np.clip(2 - distance / reach_mm, 0, 1), dtype=np.float32)


def _inside(
    points: Float32[np.ndarray, "points 2"], polygon: Float32[np.ndarray, "corners 2"]
) -> Bool[np.ndarray, " points"]:
    """Even-odd rule."""
    x, y = points[:, None, 0], points[:, None, 1]
    (ax, ay), (bx, by) = polygon.T, np.roll(polygon, -1, axis=0).T
    rise = np.where(by == ay, 1.0, by - ay)
    crossed = ((ay > y) != (by > y)) & (x < ax + (y - ay) / rise * (bx - ax))
    return np.asarray(crossed.sum(axis=1) % 2 == 1)
