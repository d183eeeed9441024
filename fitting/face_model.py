"""The 3D Morphable Model: one linear model of a face. Its file is checked in `fitting.face_model_file`.

`x(i, e) = mean + U_id i + U_exp e` (Koujan et al., FG 2020, section on the 3DMM), with coefficients in
standard deviations, so that a plain unit Gaussian is the prior of both.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32

from fitting.calibration import DetectorCalibration, calibration_arrays, calibrations_from
from fitting.face_model_file import FORMAT_VERSION, check_arrays, header_and_arrays
from fitting.npz import npz_bytes
from fitting.whole_file import write_whole

INNER_POINTS = slice(17, 68)
"""The 51 inner points (brows, nose, eyes, lips). In every scheme, points 0-67 follow the iBUG 68 mark-up."""
OUTER_EYE_POINTS = (36, 45)
"""The two outer eye corners, whose distance normalises errors."""

DEFAULT_MODEL_PATH = Path(__file__).parent / "data" / "facevid_cc0.npz"


@dataclass(frozen=True, slots=True, kw_only=True)
class LandmarkEmbedding:
    """Where a scheme's landmarks lie on the mesh.

    Attributes:
        vertex_ids: Three vertices per landmark.
        weights: Barycentric weights of the three, summing to 1.
    """

    vertex_ids: Int32[np.ndarray, "points 3"]
    weights: Float32[np.ndarray, "points 3"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArkitMap:
    """Affine map from expression coefficients to ARKit-named blendshape weights: `w = offset + matrix @ e`.

    Attributes:
        names: ARKit names, such as `jawOpen`.
        offset: Weights at e = 0 (the mean expression), in [0, 1].
        matrix: Change of each weight per standard deviation of each component.
    """

    names: tuple[str, ...]
    offset: Float32[np.ndarray, " units"]
    matrix: Float32[np.ndarray, "units n_expression"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceModel:
    """A linear 3DMM in millimetres.

    Head frame: x to the subject's left, y up, z out of the face; right-handed.

    Attributes:
        name: Short name, such as `facevid-cc0`.
        mean_mm: Mean identity with mean expression.
        identity_basis_mm: Displacement per standard deviation of each identity component.
        expression_basis_mm: Displacement per standard deviation of each expression component.
        triangles: Vertex ids, counter-clockwise seen from outside.
        landmarks: Embedding per landmark scheme.
        mirror_vertex: For each vertex, its partner across the plane x = 0, or None.
        neutral_expression: Coefficients of the neutral face (e = 0 is the mean expression, not neutral).
        arkit: Map to ARKit weights, or None.
        licence: SPDX id or a sentence.
        source: Where the data came from.
        sha256: Hash of the file it was read from, or of the bytes it would be saved as.
        calibrations: What is known of the detectors' errors, for some of the schemes in `landmarks`.
    """

    name: str
    mean_mm: Float32[np.ndarray, "vertices 3"]
    identity_basis_mm: Float32[np.ndarray, "n_identity vertices 3"]
    expression_basis_mm: Float32[np.ndarray, "n_expression vertices 3"]
    triangles: Int32[np.ndarray, "triangles 3"]
    landmarks: Mapping[str, LandmarkEmbedding]
    mirror_vertex: Int32[np.ndarray, " vertices"] | None
    neutral_expression: Float32[np.ndarray, " n_expression"]
    arkit: ArkitMap | None
    licence: str
    source: str
    sha256: str = field(default="")
    calibrations: Mapping[str, DetectorCalibration] = field(default_factory=dict)

    @property
    def n_identity(self) -> int:
        """Number of identity components."""
        return int(self.identity_basis_mm.shape[0])

    @property
    def n_expression(self) -> int:
        """Number of expression components."""
        return int(self.expression_basis_mm.shape[0])

    def embedding(self, scheme: str) -> LandmarkEmbedding:
        """The embedding of a landmark scheme.

        Raises:
            ValueError: The model has none for `scheme`.
        """
        if scheme not in self.landmarks:
            known = ", ".join(sorted(self.landmarks))
            raise ValueError(f"face model {self.name!r} has no landmarks for scheme={scheme!r}; it has: {known}")
        return self.landmarks[scheme]

    def vertices_mm(
        self,
        identity: Float32[np.ndarray, "*#batch n_identity"],
        expression: Float32[np.ndarray, "*#batch n_expression"],
    ) -> Float32[np.ndarray, "*batch vertices 3"]:
        """Vertices of faces, head frame, millimetres; one identity may have many expressions.

        Raises:
            ValueError: There are not as many coefficients as the model has components.
        """
        self.check_coefficients(identity=identity, expression=expression)
        shape = np.tensordot(identity, self.identity_basis_mm, axes=1)
        motion = np.tensordot(expression, self.expression_basis_mm, axes=1)
        return np.asarray(self.mean_mm + shape + motion, dtype=np.float32)

    def landmarks_mm(
        self,
        scheme: str,
        identity: Float32[np.ndarray, "*#batch n_identity"],
        expression: Float32[np.ndarray, "*#batch n_expression"],
    ) -> Float32[np.ndarray, "*batch points 3"]:
        """Landmarks of faces as their detector marks them, head frame, millimetres: what a fit compares with a picture.

        They are the points of the embedding, and beside them by the offset that the model's calibration of the scheme
        knows of, if it has one.

        Args:
            scheme: Landmark scheme.
            identity: Coefficients, standard deviations.
            expression: The same.

        Raises:
            ValueError: The model has no landmarks for `scheme`, or not as many components as there are coefficients.
        """
        embedding = self.embedding(scheme)
        self.check_coefficients(identity=identity, expression=expression)

        def at(field_mm: Float32[np.ndarray, "*any vertices 3"]) -> Float32[np.ndarray, "*any points 3"]:
            return np.asarray((field_mm[..., embedding.vertex_ids, :] * embedding.weights[..., None]).sum(axis=-2))

        shape = np.tensordot(identity, at(self.identity_basis_mm), axes=1)
        motion = np.tensordot(expression, at(self.expression_basis_mm), axes=1)
        known = self.calibrations.get(scheme)
        offset_mm = np.float32(0.0) if known is None else known.offset_mm
        return np.asarray(at(self.mean_mm) + offset_mm + shape + motion, dtype=np.float32)

    def check_coefficients(self, *, identity: np.ndarray | None = None, expression: np.ndarray | None = None) -> None:
        """Check that coefficients, along their last axis, are as many as the model has components.

        Raises:
            ValueError: They are not.
        """
        both = (("identity", identity, self.n_identity), ("expression", expression, self.n_expression))
        for name, array, count in both:
            if array is not None and array.shape[-1:] != (count,):
                raise ValueError(f"{name} has shape {array.shape}; face model {self.name!r} has {count} components")

    def save(self, path: Path) -> str:
        """Write the model; same model, same bytes. Returns the file's sha256."""
        data = _to_bytes(self)
        write_whole(path, data)
        return hashlib.sha256(data).hexdigest()


def load_face_model(path: str | Path = DEFAULT_MODEL_PATH) -> FaceModel:
    """Read a face model file (`.npz` without pickled objects).

    Raises:
        ValueError: The file is no face model, of a newer format, or inconsistent in itself.
    """
    data = Path(path).read_bytes()
    header, arrays = header_and_arrays(data, where=str(path))
    return _from_arrays(header, arrays, sha256=hashlib.sha256(data).hexdigest(), where=str(path))


def _from_arrays(header: dict[str, Any], arrays: dict[str, Any], *, sha256: str, where: str) -> FaceModel:
    try:
        schemes = {
            scheme: (arrays[f"landmarks/{scheme}/vertex_ids"], arrays[f"landmarks/{scheme}/weights"])
            for scheme in header["landmark_schemes"]
        }
        check_arrays(header, arrays, where)
        return FaceModel(
            name=header["name"],
            mean_mm=arrays["mean_mm"],
            identity_basis_mm=arrays["identity_basis_mm"].astype(np.float32),
            expression_basis_mm=arrays["expression_basis_mm"].astype(np.float32),
            triangles=arrays["triangles"],
            landmarks={s: LandmarkEmbedding(vertex_ids=ids, weights=weights) for s, (ids, weights) in schemes.items()},
            mirror_vertex=arrays.get("mirror_vertex"),
            neutral_expression=arrays["neutral_expression"],
            arkit=ArkitMap(
                names=tuple(header["arkit_names"]), offset=arrays["arkit_offset"], matrix=arrays["arkit_matrix"]
            ) if header["arkit_names"] else None,
            licence=header["licence"],
            source=header["source"],
            sha256=sha256,
            calibrations=calibrations_from(
                arrays, header.get("calibrated_schemes", []), {s: len(ids) for s, (ids, _) in schemes.items()}, where
            ),
        )
    except KeyError as error:
        raise ValueError(f"{where} lacks {error}") from error


def _to_bytes(model: FaceModel) -> bytes:
    header = {
        "format_version": FORMAT_VERSION,
        "name": model.name,
        "landmark_schemes": sorted(model.landmarks),
        "arkit_names": list(model.arkit.names) if model.arkit else [],
        "licence": model.licence,
        "source": model.source,
    }
    arrays: dict[str, Any] = {
        "mean_mm": model.mean_mm,
        # Half precision keeps the shipped file small; 1 sd moves a vertex by millimetres, so the rounding
        # (2^-11 of the value) stays below 10 micrometres.
        "identity_basis_mm": model.identity_basis_mm.astype(np.float16),
        "expression_basis_mm": model.expression_basis_mm.astype(np.float16),
        "triangles": model.triangles,
        "neutral_expression": model.neutral_expression,
    }
    if model.mirror_vertex is not None:
        arrays["mirror_vertex"] = model.mirror_vertex
    if model.arkit is not None:
        arrays["arkit_offset"] = model.arkit.offset
        arrays["arkit_matrix"] = model.arkit.matrix
    for scheme, embedding in model.landmarks.items():
        arrays[f"landmarks/{scheme}/vertex_ids"] = embedding.vertex_ids
        arrays[f"landmarks/{scheme}/weights"] = embedding.weights
    if model.calibrations:
        header["calibrated_schemes"] = sorted(model.calibrations)
        arrays |= calibration_arrays(model.calibrations)
    return npz_bytes(header, arrays)
