"""Finds where a landmark detector's points lie on the face, by showing it pictures of the face.

Many identities, poses and expressions are rendered and given to the detector. A landmark belongs where its detections
fall: at the surface point whose projections explain them best over all pictures. Because mouths open and eyes close
in some of them, a point of the lower lip can only be explained by the lower lip.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, UInt8
from tqdm import tqdm

from fitting.arkit import expression_of
from fitting.face_model import FaceModel, LandmarkEmbedding
from fitting.paint import FacePaint, eyeballs, paint_of, seen_from_outside
from fitting.render import blend, brightness, look_from, project_head, rasterise

Detect = Callable[[UInt8[np.ndarray, "height width 3"]], Mapping[str, Float32[np.ndarray, "points 2"]] | None]
"""From an RGB picture to the landmarks of its face per scheme, pixels; None where no face was found."""

SEED = 68
PICTURES = 143
MOST_MISSED = 0.2
_SIDE_PX = 384
_PX_PER_MM = 1.3
_SUPERSAMPLING = 2
_IDENTITY_SPREAD = 0.7
_SCALE_MM = 3.0
_ROUNDS = 6
_START_VERTICES = 4

SKINS = ((224.0, 182.0, 160.0), (198.0, 148.0, 118.0), (150.0, 104.0, 78.0), (236.0, 204.0, 188.0))
POSES_DEG = ((0, 0), (-15, 0), (15, 0), (-30, 0), (30, 0), (0, 12), (0, -12), (-20, 8), (20, -8), (-8, -8), (8, 8))
FACES: tuple[dict[str, float], ...] = (
    {},
    {},
    {"jawOpen": 0.25},
    {"jawOpen": 0.6},
    {"eyeBlink": 1.0},
    {"eyeBlink": 0.6},
    {"mouthSmile": 0.7, "cheekSquint": 0.4},
    {"mouthSmile": 0.6, "jawOpen": 0.3},
    {"mouthPucker": 0.7},
    {"mouthFunnel": 0.7, "jawOpen": 0.2},
    {"browInnerUp": 0.8, "browOuterUp": 0.8, "eyeWide": 0.6},
    {"browDown": 0.8, "eyeSquint": 0.5},
    {"mouthFrown": 0.7},
)
"""ARKit weights; a name without side means both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Picture:
    vertices_px: Float32[np.ndarray, "vertices 3"]
    landmarks: Mapping[str, Float32[np.ndarray, "points 2"]]


def embed_schemes(model: FaceModel, detect: Detect) -> dict[str, LandmarkEmbedding]:
    """Embeddings of all schemes that a detector knows.

    Args:
        model: The model, with ibug68 landmarks and ARKit weights.
        detect: The detector.

    Raises:
        ValueError: The model lacks what is needed, or the detector finds no face in more than a fifth of the pictures.
    """
    rest = model.vertices_mm(np.zeros(model.n_identity, dtype=np.float32), model.neutral_expression)
    outside = seen_from_outside(rest, model.triangles)
    pictures = list(_shown(model, detect, [paint_of(model, skin=skin, outside=outside) for skin in SKINS]))
    missed = 1 - len(pictures) / PICTURES
    if missed > MOST_MISSED:
        raise ValueError(f"detect finds no face in {missed:.0%} of the pictures; at most {MOST_MISSED:.0%} may fail")
    skin = (eyeballs(len(rest), model.triangles) == 0) & outside
    schemes = sorted(set.intersection(*(set(picture.landmarks) for picture in pictures)))
    return {scheme: _embed(scheme, model.triangles, pictures, skin) for scheme in schemes}


def _shown(model: FaceModel, detect: Detect, paints: list[FacePaint]) -> Iterator[_Picture]:
    rng = np.random.default_rng(SEED)
    for k in tqdm(range(PICTURES), desc="landmark pictures", unit="picture"):
        identity = rng.normal(0, _IDENTITY_SPREAD, size=model.n_identity).astype(np.float32)
        vertices = model.vertices_mm(identity, expression_of(model, FACES[k % len(FACES)]))
        yaw_deg, pitch_deg = POSES_DEG[k % len(POSES_DEG)] + rng.uniform(-4, 4, size=2)
        at = project_head(vertices, _PX_PER_MM, look_from(float(yaw_deg), float(pitch_deg)), (0.0, 0.0))
        at[:, :2] += _SIDE_PX / 2 - (at[:, :2].min(axis=0) + at[:, :2].max(axis=0)) / 2
        light = (float(rng.uniform(-0.7, 0.7)), float(rng.uniform(-0.8, 0)), 1.0)
        landmarks = detect(_picture(at, model.triangles, paints[k % len(paints)], light, int(rng.integers(40, 200))))
        if landmarks is not None:
            yield _Picture(vertices_px=at, landmarks=landmarks)


def _picture(
    at: Float32[np.ndarray, "vertices 3"],
    triangles: Int32[np.ndarray, "triangles 3"],
    paint: FacePaint,
    light: tuple[float, float, float],
    grey: int,
) -> UInt8[np.ndarray, "side side 3"]:
    side = _SIDE_PX * _SUPERSAMPLING
    # Pixel centres: the finer picture's first one lies a quarter of a coarse pixel up and left of the coarse one's.
    fine = at * _SUPERSAMPLING + np.array([0.5, 0.5, 0], dtype=np.float32) * (_SUPERSAMPLING - 1)
    raster = rasterise(fine, triangles, height=side, width=side)
    lit = raster.interpolate(brightness(fine, triangles, light)[:, None], triangles)
    image = blend(np.full((side, side, 3), grey, dtype=np.uint8), raster, lit * paint.colours(raster))
    blocks = image.reshape(_SIDE_PX, _SUPERSAMPLING, _SIDE_PX, _SUPERSAMPLING, 3)
    return np.asarray(np.rint(blocks.mean(axis=(1, 3))), dtype=np.uint8)


def _embed(
    scheme: str,
    triangles: Int32[np.ndarray, "triangles 3"],
    pictures: list[_Picture],
    skin: Bool[np.ndarray, " vertices"],
) -> LandmarkEmbedding:
    seen = np.stack([p.vertices_px[:, :2] for p in pictures]).astype(np.float64) / _PX_PER_MM
    found = np.stack([p.landmarks[scheme] for p in pictures]).astype(np.float64) / _PX_PER_MM
    allowed = triangles[skin[triangles].all(axis=1)]
    candidates = np.unique(allowed)
    vertex_ids, weights = [], []
    for point in tqdm(range(found.shape[1]), desc=f"landmarks {scheme}", unit="point", leave=False):
        target = found[:, point]
        distance = np.linalg.norm(seen[:, candidates] - target[:, None], axis=2)
        cost = _robust(distance).sum(axis=0)
        nearest = candidates[np.argsort(cost, kind="stable")[:_START_VERTICES]]
        around = allowed[np.isin(allowed, nearest).any(axis=1)]
        fitted, cost = _fit_in_triangles(seen[:, around], target)
        at = int(cost.argmin())
        vertex_ids.append(around[at])
        weights.append(fitted[at])
    return LandmarkEmbedding(
        vertex_ids=np.array(vertex_ids, dtype=np.int32), weights=np.array(weights, dtype=np.float32)
    )


def _fit_in_triangles(
    corners: Float64[np.ndarray, "pictures triangles 3 2"], target: Float64[np.ndarray, "pictures 2"]
) -> tuple[Float64[np.ndarray, "triangles 3"], Float64[np.ndarray, " triangles"]]:
    """In each triangle the point whose projections come nearest to the target, and its robust cost.

    Iteratively reweighted least squares over the two free barycentric weights; where the optimum lies outside the
    triangle, the best point of its border is taken.
    """
    origin, axes = corners[:, :, 0], corners[:, :, 1:] - corners[:, :, :1]
    fitted = np.full((corners.shape[1], 2), 1 / 3)
    offset = target[:, None] - origin
    for _ in range(_ROUNDS):
        left = np.linalg.norm(offset - np.einsum("tk,ptkc->ptc", fitted, axes), axis=2)
        trust = 1 / (1 + (left / _SCALE_MM) ** 2) ** 2
        normal = np.einsum("pt,ptkc,ptlc->tkl", trust, axes, axes) + 1e-9 * np.eye(2)
        right = np.einsum("pt,ptkc,ptc->tk", trust, axes, offset)
        fitted = _within_triangle(normal, right)
    left = np.linalg.norm(offset - np.einsum("tk,ptkc->ptc", fitted, axes), axis=2)
    return np.concatenate([1 - fitted.sum(axis=1, keepdims=True), fitted], axis=1), _robust(left).sum(axis=0)


def _within_triangle(
    normal: Float64[np.ndarray, "triangles 2 2"], right: Float64[np.ndarray, "triangles 2"]
) -> Float64[np.ndarray, "triangles 2"]:
    """Minimiser of x N x / 2 - r x over x >= 0, sum(x) <= 1."""
    free = np.linalg.solve(normal, right[..., None])[..., 0]
    options = [free]
    # The three edges, each a line start + s * way with s in [0, 1].
    for start, way in (((0, 0), (1, 0)), ((0, 0), (0, 1)), ((1, 0), (-1, 1))):
        origin, along = np.array(start, dtype=float), np.array(way, dtype=float)
        slope = (right - normal @ origin) @ along
        step = np.clip(slope / ((normal @ along) @ along), 0, 1)
        options.append(origin + step[:, None] * along)
    points = np.stack(options)
    value = np.einsum("otk,tkl,otl->ot", points, normal, points) / 2 - (points * right).sum(axis=2)
    value[0, (free < 0).any(axis=1) | (free.sum(axis=1) > 1)] = np.inf
    best: Float64[np.ndarray, "triangles 2"] = points[value.argmin(axis=0), np.arange(len(right))]
    return best


def _robust(distance: Float64[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
    """Geman-McClure: quadratic for small distances, at most 1."""
    squared = (distance / _SCALE_MM) ** 2
    return squared / (1 + squared)
