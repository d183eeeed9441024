"""Turns what a file holds into a face model, unless it does not look like a face in millimetres.

Nothing in these formats says its unit or its axes, and a wrong guess gives fits that are wrong in silence. So every
model is held against what is known of faces: how far apart the eyes are, what lies above and before what, which side
of the skin is outside, and by how much faces differ.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float, Float64, Int

from fitting.alignment import similarity
from fitting.face_model import INNER_POINTS, OUTER_EYE_POINTS, FaceModel, LandmarkEmbedding, load_face_model
from fitting.importers.raw import RawModel
from fitting.importers.transfer import POINTS, positions, transfer_landmarks

SCHEME = "ibug68"
OUTER_EYE_MM = (70.0, 115.0)
"""Distance of the outer eye corners of a mean face; adults measure about 85 to 95 mm."""
IDENTITY_SPREAD_MM = (0.8, 20.0)
"""Root mean square over the inner face of how far identities lie from the mean; 2.5 to 5 mm in known models."""
EXPRESSION_SPREAD_MM = (0.3, 20.0)
SHAPE_SHARE = 0.12
"""Root mean square distance of the inner points to those of FaceVid-CC0 after alignment, as a share of the outer-eye
distance; 0.05 for ICT-FaceKit."""
_NOSE = slice(27, 36)
_NEAR_NOSE_SHARE = 0.25
_UNITS_MM = {"micrometres": 1e-3, "millimetres": 1.0, "centimetres": 10.0, "decimetres": 100.0, "metres": 1000.0}


def checked_model(raw: RawModel) -> FaceModel:
    """The face model, in millimetres and the head frame, its origin at the middle of the inner face.

    It has the landmark schemes of FaceVid-CC0: "ibug68" from the format, the detectors' carried over.

    Args:
        raw: What the file holds.

    Raises:
        ValueError: It is not consistent, not finite, or no face in the unit and frame that the format promises.
    """
    _check_arrays(raw)
    mean = raw.mean.astype(np.float64) * raw.unit_mm
    triangles = _wound_outwards(raw, mean)
    reference = load_face_model()
    landmarks = raw.landmarks
    if landmarks is None:
        _check_axes(mean[[raw.points[name] for name in sorted(raw.points)]], sorted(raw.points))
        landmarks = transfer_landmarks(reference, mean, triangles, raw.points, scheme=SCHEME)
    points = positions(mean, landmarks)
    _check_size(points, raw.unit_mm)
    _check_axes(points[list(POINTS.values())], list(POINTS))
    _check_shape(points, positions(reference.mean_mm, reference.embedding(SCHEME)))
    _check_spread("identity", raw.identity, raw.unit_mm, landmarks, IDENTITY_SPREAD_MM)
    _check_spread("expression", raw.expression, raw.unit_mm, landmarks, EXPRESSION_SPREAD_MM)
    named = {name: _nearest_vertex(landmarks, number) for name, number in POINTS.items()}
    # What a detector marks was measured on FaceVid-CC0; from there it is carried over.
    carried = {
        scheme: transfer_landmarks(reference, mean, triangles, named, scheme=scheme)
        for scheme in sorted(reference.landmarks)
        if scheme != SCHEME
    }
    # How noisy a detector's points are holds for every model; where they lie beside it was learnt on the reference.
    calibrations = {
        scheme: replace(known, offset_mm=np.zeros_like(known.offset_mm))
        for scheme, known in reference.calibrations.items()
        if scheme in carried
    }
    neutral = np.zeros(len(raw.expression)) if raw.neutral is None else raw.neutral
    return FaceModel(
        name=raw.name,
        mean_mm=(mean - points[INNER_POINTS].mean(axis=0)).astype(np.float32),
        identity_basis_mm=np.asarray(raw.identity * np.float32(raw.unit_mm), dtype=np.float32),
        expression_basis_mm=np.asarray(raw.expression * np.float32(raw.unit_mm), dtype=np.float32),
        triangles=triangles.astype(np.int32),
        landmarks={SCHEME: landmarks, **carried},
        mirror_vertex=None,
        neutral_expression=neutral.astype(np.float32),
        arkit=raw.arkit,
        licence=raw.licence,
        source=raw.source,
        calibrations=calibrations,
    )


def _nearest_vertex(landmarks: LandmarkEmbedding, number: int) -> int:
    return int(landmarks.vertex_ids[number, landmarks.weights[number].argmax()])


def _check_arrays(raw: RawModel) -> None:
    vertices = len(raw.mean)
    for name, array in (("mean", raw.mean), ("identity basis", raw.identity), ("expression basis", raw.expression)):
        if array.shape[-2:] != (vertices, 3):
            raise ValueError(f"{name} has shape {array.shape}, but the mean has {vertices} vertices")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds values that are not finite")
        if not len(array):
            raise ValueError(f"{name} is empty")
    named = (
        [int(v) for v in raw.points.values()] if raw.landmarks is None else raw.landmarks.vertex_ids.ravel().tolist()
    )
    for what, ids in (("triangles", raw.triangles.ravel()), ("landmarks", np.asarray(named, dtype=np.int64))):
        if ids.size and (ids.min() < 0 or ids.max() >= vertices):
            raise ValueError(f"{what} name vertices {ids.min()} to {ids.max()}, but there are {vertices}")
    if raw.landmarks is None and not raw.points:
        raise ValueError(
            f"where the landmarks lie on a mesh of {vertices} vertices is not known: name the vertices of at least five"
            f" of {', '.join(POINTS)}, as in --points nose_tip 8150 chin 2270 ... (from Python, points=)"
        )


def _check_size(points: Float64[np.ndarray, "68 3"], unit_mm: float) -> None:
    seen = float(np.linalg.norm(points[OUTER_EYE_POINTS[0]] - points[OUTER_EYE_POINTS[1]]))
    low, high = OUTER_EYE_MM
    if low <= seen <= high:
        return
    fits = [name for name, size in _UNITS_MM.items() if low <= seen / unit_mm * size <= high]
    looks = f"; it looks like {fits[0]}" if fits else ""
    raise ValueError(
        f"the outer eye corners are {seen:.4g} mm apart (with unit_mm={unit_mm:g}), but faces have {low:g} to {high:g}"
        f" mm: the unit of the file is another{looks}, or the landmarks are wrong"
    )


def _check_axes(at: Float64[np.ndarray, "points 3"], names: list[str]) -> None:
    """X to the subject's left, y up, z out of the face."""
    where = dict(zip(names, at, strict=True))
    for axis, words, above, below in (
        (0, "x must point to the subject's left", "left_eye_outer", "right_eye_outer"),
        (0, "x must point to the subject's left", "mouth_left", "mouth_right"),
        (1, "y must point up", "right_eye_outer", "mouth_right"),
        (1, "y must point up", "left_eye_outer", "mouth_left"),
        (2, "z must point out of the face", "nose_tip", "right_eye_outer"),
        (2, "z must point out of the face", "nose_tip", "left_eye_outer"),
    ):
        if above in where and below in where and where[above][axis] <= where[below][axis]:
            gap = where[above][axis] - where[below][axis]
            raise ValueError(
                f"{words}, but {above} minus {below} is {gap:.4g} mm along it: the mesh is mirrored or turned"
            )


def _check_shape(points: Float64[np.ndarray, "68 3"], reference: Float64[np.ndarray, "68 3"]) -> None:
    known, seen = reference[INNER_POINTS], points[INNER_POINTS]
    scale, rotation, shift = similarity(known, seen)
    off = np.sqrt(((scale * known @ rotation.T + shift - seen) ** 2).sum(axis=1).mean())
    share = off / np.linalg.norm(points[OUTER_EYE_POINTS[0]] - points[OUTER_EYE_POINTS[1]])
    if share > SHAPE_SHARE:
        raise ValueError(
            f"the landmarks do not form a face: off by {share:.0%} of the outer-eye distance (at most"
            f" {SHAPE_SHARE:.0%}); mirrored, in another order, or for another mesh"
        )


def _check_spread(
    what: str,
    basis: Float[np.ndarray, "components vertices 3"],
    unit_mm: float,
    landmarks: LandmarkEmbedding,
    limits_mm: tuple[float, float],
) -> None:
    inner = basis[:, landmarks.vertex_ids[INNER_POINTS, 0]].astype(np.float64) * unit_mm
    seen = float(np.sqrt((inner**2).sum(axis=(0, 2)).mean()))
    if not limits_mm[0] <= seen <= limits_mm[1]:
        cause = (
            "variances taken for standard deviations" if seen > limits_mm[1] else "standard deviations for variances"
        )
        raise ValueError(
            f"{what} basis: faces differ by {seen:.3g} mm (root mean square over the inner landmarks), but"
            f" {limits_mm[0]:g} to {limits_mm[1]:g} are plausible: {cause}, another unit, or an unscaled basis"
        )


def _wound_outwards(raw: RawModel, mean: Float64[np.ndarray, "vertices 3"]) -> Int[np.ndarray, "triangles 3"]:
    """Triangles counter-clockwise seen from outside, judged at the nose, which faces forward."""
    if raw.landmarks is None:
        nose = mean[[raw.points["nose_tip"]]] if "nose_tip" in raw.points else mean[list(raw.points.values())]
        width = float(np.ptp(mean[list(raw.points.values())], axis=0).max())
    else:
        points = positions(mean, raw.landmarks)
        nose = points[_NOSE]
        width = float(np.linalg.norm(points[OUTER_EYE_POINTS[0]] - points[OUTER_EYE_POINTS[1]]))
    triangles = raw.triangles
    centroids = mean[triangles].mean(axis=1)
    near = np.linalg.norm(centroids - nose.mean(axis=0), axis=1) < _NEAR_NOSE_SHARE * width
    a, b, c = (mean[triangles[near, k]] for k in range(3))
    forward = float(np.cross(b - a, c - a)[:, 2].sum())
    if forward > 0:
        return triangles
    if forward < 0 and raw.winding == "not stated":
        return np.ascontiguousarray(triangles[:, [0, 2, 1]])
    raise ValueError(
        "triangles at the nose face backwards: they are clockwise, or the mesh is mirrored or turned"
        if forward < 0
        else "there are no triangles at the nose: landmarks and mesh do not belong together"
    )
