"""Where a detector may see the jaw: curves on the mesh along which a contour landmark slides as the head turns.

A detector that was trained on pictures (iBUG mark-up) puts points 0-16 on the outline of the face. On the side that
turns away, the outline is not the jaw but the cheek before it, so these points are no fixed points of the head. Each of
them gets a curve of candidates instead: the cut of the mesh by the plane through the landmark that stands across the
jaw line, from the landmark towards the front of the face. That is the idea of the parallel lines of Zhu, Yan, Yang and
Li, "Discriminative 3D Morphable Model Fitting" (FG 2015), with plane cuts, which any mesh has. The candidate that lies
furthest out in the picture is where the outline is seen (`fitting.contour_slide`).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64

from fitting.face_model import FaceModel

CONTOUR_POINTS = slice(0, 17)
"""The jaw in the iBUG 68 mark-up."""
SLIDING_SCHEMES = frozenset({"ibug68"})
"""Schemes whose contour is the outline in the picture. MediaPipe's contour is fixed on the head."""

_NOSE_TIP = 30
CANDIDATES = 24
_REACH = 0.5
_OFF_VERTICES_MM = 1e-3
_STRETCH_MM = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ContourCurves:
    """Candidates of each contour point, the landmark itself first, then towards the front of the face.

    Attributes:
        vertex_ids: The two ends of the mesh edge that each candidate lies on.
        weights: Their weights, summing to 1.
    """

    vertex_ids: Int32[np.ndarray, "17 candidates 2"]
    weights: Float32[np.ndarray, "17 candidates 2"]


def contour_curves(model: FaceModel, scheme: str, *, candidates: int = CANDIDATES) -> ContourCurves:
    """The curves of a scheme whose contour slides, cut from the mean face.

    A curve ends half-way to the tip of the nose, or where the mesh does. Where it has fewer mesh edges than
    `candidates`, edges come more than once.

    Args:
        model: Face model with an embedding for the scheme.
        scheme: Landmark scheme.
        candidates: Candidates per point.

    Raises:
        ValueError: The model lacks the scheme, or its mesh has no surface at a landmark.
    """
    embedding = model.embedding(scheme)
    mean = model.mean_mm.astype(np.float64)
    points = np.einsum("pkc,pk->pc", mean[embedding.vertex_ids], embedding.weights.astype(np.float64))
    jaw = points[CONTOUR_POINTS]
    # One-sided at the ears, where the jaw line ends.
    along = np.gradient(jaw, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    ids = np.empty((len(jaw), candidates, 2), dtype=np.int32)
    weights = np.empty((len(jaw), candidates, 2), dtype=np.float32)
    for number, (start, normal) in enumerate(zip(jaw, along, strict=True)):
        edges, shares = _cut(mean, model.triangles, start, normal)
        reach_mm = _REACH * float(np.linalg.norm(points[_NOSE_TIP] - start))
        path = _towards_front(mean, edges, shares, start, number)
        spots = _spots(mean, edges[path], shares[path])
        travelled = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(spots, axis=0), axis=1))])
        stations = np.linspace(0.0, min(reach_mm, float(travelled[-1])), candidates)
        nearest = np.abs(travelled[None] - stations[:, None]).argmin(axis=1)
        ids[number] = edges[path][nearest]
        weights[number] = np.stack([1 - shares[path][nearest], shares[path][nearest]], axis=-1)
    return ContourCurves(vertex_ids=ids, weights=weights)




def _cut(
    mean: Float64[np.ndarray, "vertices 3"],
    triangles: Int32[np.ndarray, "triangles 3"],
    start: Float64[np.ndarray, " 3"],
    normal: Float64[np.ndarray, " 3"],
) -> tuple[Int64[np.ndarray, "edges 2"], Float64[np.ndarray, " edges"]]:
    """Pairs of cut edges, one pair per cut triangle: edge 2i and 2i + 1 are joined by a piece of the curve."""
    # A hair beside the landmark, which is often a vertex: a plane through vertices cuts edges of no length.
    height = (mean - start) @ normal - _OFF_VERTICES_MM
    above = height > 0
    corner_above = above[triangles]
    cut = triangles[corner_above.any(axis=1) & ~corner_above.all(axis=1)]
    pairs = np.stack([cut, np.roll(cut, -1, axis=1)], axis=-1)
    crosses = above[pairs[..., 0]] != above[pairs[..., 1]]
    # Every cut triangle has exactly two crossed edges, in the order of the mask.
    edges = np.sort(pairs[crosses], axis=1).astype(np.int64)
    below = height[edges[:, 0]]
    return edges, below / (below - height[edges[:, 1]])


def _towards_front(
    mean: Float64[np.ndarray, "vertices 3"],
    edges: Int64[np.ndarray, "edges 2"],
    shares: Float64[np.ndarray, " edges"],
    start: Float64[np.ndarray, " 3"],
    number: int,
) -> Int64[np.ndarray, " path"]:
    """The curve from the landmark on, in the direction that rises towards the viewer; rows of `edges`."""
    if not len(edges):
        raise ValueError(f"the mesh has no surface at contour landmark {number}: is the embedding on this mesh?")
    node_of: dict[tuple[int, int], int] = {}
    rows: list[list[int]] = []
    for row, (a, b) in enumerate(edges.tolist()):
        node = node_of.setdefault((a, b), len(rows))
        if node == len(rows):
            rows.append([])
        rows[node].append(row)
    first = np.array([own[0] for own in rows])
    spots = _spots(mean, edges[first], shares[first])
    joined: list[list[int]] = [[] for _ in rows]
    keys = list(map(tuple, edges.tolist()))
    for row in range(0, len(edges), 2):
        one, other = node_of[keys[row]], node_of[keys[row + 1]]
        joined[one].append(other)
        joined[other].append(one)
    begin = int(np.linalg.norm(spots - start, axis=1).argmin())
    walks = [_walk(joined, begin, second) for second in joined[begin]] or [[begin]]
    # What lies behind is the neck and the ear. Only the first stretch tells: around the head, both ways meet.
    best = max(walks, key=lambda walk: _rise(spots[walk]))
    return first[best].astype(np.int64)


def _rise(path: Float64[np.ndarray, "spots 3"]) -> float:
    stretch = path[np.linalg.norm(path - path[0], axis=1) < _STRETCH_MM]
    return float(stretch[-1, 2] - path[0, 2])


def _walk(joined: list[list[int]], begin: int, second: int) -> list[int]:
    path, seen = [begin, second], {begin, second}
    while following := [node for node in joined[path[-1]] if node not in seen]:
        path.append(following[0])
        seen.add(following[0])
    return path


def _spots(
    mean: Float64[np.ndarray, "vertices 3"],
    edges: Int64[np.ndarray, "edges 2"],
    shares: Float64[np.ndarray, " edges"],
) -> Float64[np.ndarray, "edges 3"]:
    return np.asarray((1 - shares)[:, None] * mean[edges[:, 0]] + shares[:, None] * mean[edges[:, 1]])
