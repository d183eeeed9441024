"""Carries landmarks from one face model to another mesh, by way of a few named points."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Float64, Int
from scipy.spatial import KDTree

from fitting.alignment import similarity
from fitting.face_model import FaceModel, LandmarkEmbedding

POINTS: Mapping[str, int] = {
    "right_eye_outer": 36,
    "right_eye_inner": 39,
    "left_eye_inner": 42,
    "left_eye_outer": 45,
    "nose_tip": 30,
    "mouth_right": 48,
    "mouth_left": 54,
    "chin": 8,
}
"""Named points and their numbers in the iBUG mark-up; left and right are the subject's."""
ALIGNED_BY = "ibug68"
FEWEST_POINTS = 5
WORST_FIT = 0.2
"""Largest distance of a named point after alignment, as a share of the points' extent: faces differ by a tenth."""
NAMED_POINT_MM = 1.0
"""How exactly the named points are believed to lie."""
_ROUNDS = 4
_NEAREST = 160
_FACING = 0.0


def transfer_landmarks(
    source: FaceModel,
    target_vertices_mm: Float[np.ndarray, "vertices 3"],
    target_triangles: Int[np.ndarray, "triangles 3"],
    points: Mapping[str, int],
    *,
    scheme: str = "ibug68",
) -> LandmarkEmbedding:
    """The source's landmarks on another mesh.

    The source is laid over the target by the similarity that fits the named points best (Umeyama 1991), with the
    identity among the source's own that fits them best; then each landmark moves to the nearest point of the target's
    surface that faces the same way. What the two mean faces differ by beyond that remains, and so does what two people
    mean by the same landmark: between FaceVid-CC0 and ICT-FaceKit 1.5 mm at the eyes, 3 at nose and lips, 6 along the
    jaw, and 10 at the brows, which one of them marks above the other.

    Args:
        source: A model with landmarks of `scheme`.
        target_vertices_mm: The target's mean face. Any unit and frame will do, if right-handed.
        target_triangles: Counter-clockwise seen from outside.
        points: At least five of `POINTS`, as vertices of the target.
        scheme: The landmarks to carry over. The meshes are aligned by the source's ibug68 points where it has them,
            else by the first 68 of `scheme`.

    Returns:
        Triangle and barycentric weights per landmark.

    Raises:
        ValueError: A name is unknown, a vertex does not exist, points are too few, or they do not fit a face.
    """
    check_points(points, len(target_vertices_mm))
    anchor = source.embedding(ALIGNED_BY if ALIGNED_BY in source.landmarks else scheme)
    numbers = [POINTS[name] for name in points]
    target = np.asarray(target_vertices_mm, dtype=np.float64)
    named = target[list(points.values())]
    _check_fit(positions(source.mean_mm, anchor)[numbers], named, list(points))
    vertices = _identity_like(source, anchor, numbers, named)
    scale, rotation, shift = similarity(positions(vertices, anchor)[numbers], named)
    laid = scale * positions(vertices, source.embedding(scheme)) @ rotation.T + shift
    normals = _normals_at(source, scheme) @ rotation.T
    return closest_on_surface(laid, normals, target, np.asarray(target_triangles, dtype=np.int64))


def _identity_like(
    source: FaceModel, anchor: LandmarkEmbedding, numbers: list[int], named: Float64[np.ndarray, "named 3"]
) -> Float64[np.ndarray, "vertices 3"]:
    """The source's identity whose named points come nearest to the target's (ridge regression)."""
    start = positions(source.mean_mm, anchor)[numbers]
    basis = np.stack([positions(component, anchor)[numbers] for component in source.identity_basis_mm])
    columns = basis.reshape(len(basis), -1).T / NAMED_POINT_MM
    normal = columns.T @ columns + np.eye(len(basis))
    identity = np.zeros(len(basis))
    for _ in range(_ROUNDS):
        scale, rotation, shift = similarity(start + np.tensordot(identity, basis, axes=1), named)
        wanted = (named - shift) @ rotation / scale
        identity = np.linalg.solve(normal, columns.T @ (wanted - start).ravel() / NAMED_POINT_MM)
    return np.asarray(source.mean_mm + np.tensordot(identity, source.identity_basis_mm, axes=1), dtype=np.float64)


def positions(
    vertices: Float[np.ndarray, "vertices 3"], embedding: LandmarkEmbedding
) -> Float64[np.ndarray, "points 3"]:
    """Where an embedding's landmarks lie."""
    corners = vertices[embedding.vertex_ids].astype(np.float64)
    return np.asarray((corners * embedding.weights[:, :, None]).sum(axis=1))


def closest_on_surface(
    points: Float64[np.ndarray, "points 3"],
    normals: Float64[np.ndarray, "points 3"],
    vertices: Float64[np.ndarray, "vertices 3"],
    triangles: Int[np.ndarray, "triangles 3"],
) -> LandmarkEmbedding:
    """The nearest point of a surface for each point, among the triangles that face the same way.

    Facing the same way keeps a landmark of a lid off the back of the lid, and one of a lip out of the mouth.

    Args:
        points: Any frame, the same for all.
        normals: Outward direction at each point.
        vertices: The surface.
        triangles: Counter-clockwise seen from outside.
    """
    centroids = vertices[triangles].mean(axis=1)
    _, candidates = KDTree(centroids).query(points, k=min(_NEAREST, len(triangles)))
    candidates = candidates.reshape(len(points), -1)
    a, b, c = (vertices[triangles[candidates, k]] for k in range(3))
    weights = _nearest_in_triangle(points[:, None], a, b, c)
    at = weights[..., :1] * a + weights[..., 1:2] * b + weights[..., 2:] * c
    distance = np.linalg.norm(at - points[:, None], axis=2)
    facing = np.einsum("pkc,pc->pk", np.cross(b - a, c - a), normals) > _FACING
    # Where nothing faces the same way, the nearest triangle is better than none.
    distance = np.where(facing | ~facing.any(axis=1, keepdims=True), distance, np.inf)
    best = distance.argmin(axis=1)
    rows = np.arange(len(points))
    return LandmarkEmbedding(
        vertex_ids=triangles[candidates[rows, best]].astype(np.int32), weights=weights[rows, best].astype(np.float32)
    )


def _nearest_in_triangle(
    point: Float64[np.ndarray, "points 1 3"],
    a: Float64[np.ndarray, "points triangles 3"],
    b: Float64[np.ndarray, "points triangles 3"],
    c: Float64[np.ndarray, "points triangles 3"],
) -> Float64[np.ndarray, "points triangles 3"]:
    """Barycentric weights of the nearest point: the foot of the perpendicular, or the best point of an edge."""
    ab, ac, ap = b - a, c - a, point - a
    d00, d01, d11 = (ab * ab).sum(-1), (ab * ac).sum(-1), (ac * ac).sum(-1)
    d20, d21 = (ap * ab).sum(-1), (ap * ac).sum(-1)
    area = d00 * d11 - d01 * d01
    flat = area <= 1e-12 * np.maximum(d00 * d11, 1e-300)
    v = np.where(flat, -1.0, (d11 * d20 - d01 * d21) / np.where(flat, 1.0, area))
    w = np.where(flat, -1.0, (d00 * d21 - d01 * d20) / np.where(flat, 1.0, area))
    u = 1 - v - w
    inside = (u >= 0) & (v >= 0) & (w >= 0)
    options = [np.stack([u, v, w], axis=-1)]
    for start, end, first, second in ((a, b, 0, 1), (b, c, 1, 2), (c, a, 2, 0)):
        along = end - start
        length = np.maximum((along * along).sum(-1), 1e-300)
        step = np.clip(((point - start) * along).sum(-1) / length, 0, 1)
        edge = np.zeros((*step.shape, 3))
        edge[..., first], edge[..., second] = 1 - step, step
        options.append(edge)
    weights = np.stack(options)
    at = weights[..., :1] * a + weights[..., 1:2] * b + weights[..., 2:] * c
    distance = ((at - point) ** 2).sum(-1)
    distance[0] = np.where(inside, distance[0], np.inf)
    best: Float64[np.ndarray, "points triangles 3"] = np.take_along_axis(
        weights, distance.argmin(axis=0)[None, ..., None], axis=0
    )[0]
    return best


def _normals_at(source: FaceModel, scheme: str) -> Float64[np.ndarray, "points 3"]:
    vertices, triangles = source.mean_mm.astype(np.float64), source.triangles
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    across = np.cross(b - a, c - a)
    normals = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(normals, triangles[:, k], across)
    return positions(normals, source.embedding(scheme))


def _check_fit(
    source: Float64[np.ndarray, "points 3"], named: Float64[np.ndarray, "points 3"], names: list[str]
) -> None:
    scale, rotation, shift = similarity(source, named)
    off = np.linalg.norm(scale * source @ rotation.T + shift - named, axis=1)
    # A mirror image has the other sign of x; which of the two fits better cannot be mistaken, for noses stick out.
    flipped = source * [-1.0, 1.0, 1.0]
    scale, rotation, shift = similarity(flipped, named)
    off_flipped = np.linalg.norm(scale * flipped @ rotation.T + shift - named, axis=1)
    if (off_flipped**2).sum() < (off**2).sum():
        raise ValueError("points fit a mirrored face better than a face: left and right are swapped, or the mesh is")
    width = float(np.ptp(named, axis=0).max())
    if off.max() > WORST_FIT * width:
        raise ValueError(
            f"points do not fit a face: {names[int(off.argmax())]} is off by {off.max() / width:.0%} of their extent"
        )


def check_points(points: Mapping[str, int], vertices: int) -> None:
    """Check that points are known by name, enough, and on a mesh of so many vertices.

    Raises:
        ValueError: They are not.
    """
    if unknown := sorted(set(points) - set(POINTS)):
        raise ValueError(f"points names {unknown[0]!r}; known names are {', '.join(POINTS)}")
    if len(points) < FEWEST_POINTS:
        known = ", ".join(POINTS)
        raise ValueError(f"points has {len(points)} names, but at least {FEWEST_POINTS} of {known} are needed")
    if missing := [f"{name}={vertex}" for name, vertex in points.items() if not 0 <= vertex < vertices]:
        raise ValueError(f"points: {missing[0]} is no vertex of a mesh of {vertices} vertices")
