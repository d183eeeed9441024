"""GNM Head 3.0 of google/GNM (Apache-2.0): `gnm_head.npz`.

Keys read: `version`, `variant`, `template_vertex_positions` (V, 3), `vertex_identity_basis` (I, V, 3),
`expression_basis` (E, V, 3), `identity_names`, `expression_names`, `triangles` counted from 0. The file names no unit
and no axes; its users multiply by 1,000 to get millimetres, and y up, z forward is what its pictures show. Both are
checked. Components are drawn from -3 to 3 by its README, so 1 is taken for a standard deviation.

Landmarks are not in the file but beside it in the project, `head_sparse_68.txt` (68 lines "vertex weight" three
times). By users' accounts its jaw is not in iBUG's order; it is put in order here. The neck and the eyeballs rest.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float64

from fitting.face_model import LandmarkEmbedding
from fitting.importers.raw import RawModel, from_zero
from fitting.importers.transfer import positions
from fitting.npz import arrays_of

LANDMARKS_FILE = "head_sparse_68.txt"
_METRES = 1000.0
_KEYS = (
    "version", "variant", "template_vertex_positions", "vertex_identity_basis", "expression_basis", "identity_names",
    "expression_names", "triangles",
)  # fmt: skip
_NOT_THE_FACE = ("tongue", "iris")


def read_gnm_head(path: Path) -> RawModel:
    """Read the model, and the landmarks of `head_sparse_68.txt` where that lies in the same folder.

    Identity components of eyeballs and teeth and expression components of tongue and iris are left out: landmarks
    cannot see them. Expressions come in falling order of how much they move, because the file has them by region.

    Args:
        path: The `.npz` file.

    Raises:
        ValueError: It is no GNM Head 3.0.
    """
    try:
        arrays = arrays_of(path.read_bytes(), names=_KEYS)
    except ValueError as error:
        raise ValueError(f"{path} is no GNM model file: {error}") from error
    if missing := [key for key in _KEYS if key not in arrays]:
        raise ValueError(f"{path} is no GNM model file: it lacks {missing[0]}")
    if (str(arrays["version"]), str(arrays["variant"])) != ("3.0", "head"):
        raise ValueError(f"{path} is GNM {arrays['variant']} {arrays['version']}; this program reads head 3.0")
    mean = arrays["template_vertex_positions"]
    identity = arrays["vertex_identity_basis"]
    expression = arrays["expression_basis"]
    identity_names = [str(name) for name in arrays["identity_names"]]
    expression_names = [str(name) for name in arrays["expression_names"]]
    for basis, names, what in (
        (identity, identity_names, "vertex_identity_basis"),
        (expression, expression_names, "expression_basis"),
    ):
        if basis.shape != (len(names), *mean.shape):
            raise ValueError(
                f"{path}: {what} has shape {basis.shape}, but there are {len(names)} names and {mean.shape}"
            )
    head = [k for k, name in enumerate(identity_names) if name.startswith("head")]
    face = [k for k, name in enumerate(expression_names) if not any(part in name for part in _NOT_THE_FACE)]
    if not head or not face:
        raise ValueError(f"{path}: no component is named head..., or none moves the face")
    strength = (expression[face].astype(np.float64) ** 2).sum(axis=(1, 2))
    face = [face[k] for k in np.argsort(-strength, kind="stable")]
    beside = path.parent / LANDMARKS_FILE
    return RawModel(
        name="gnm-head",
        mean=mean.astype(np.float64),
        identity=identity[head].astype(np.float32),
        expression=expression[face].astype(np.float32),
        triangles=from_zero(arrays["triangles"].astype(np.int64), len(mean), first=0),
        unit_mm=_METRES,
        winding="counter-clockwise",
        landmarks=_landmarks(beside, mean.astype(np.float64)) if beside.is_file() else None,
        licence="Apache-2.0",
        source="GNM Head 3.0, google/GNM",
    )


def _landmarks(path: Path, mean: Float64[np.ndarray, "vertices 3"]) -> LandmarkEmbedding:
    try:
        rows = np.loadtxt(path, dtype=np.float64, ndmin=2)
    except ValueError as error:
        raise ValueError(f"{path} is no landmark file: {error}") from error
    ids, weights = rows[:, 0::2], rows[:, 1::2]
    if rows.shape != (68, 6) or (ids < 0).any() or (ids >= len(mean)).any() or (ids != np.rint(ids)).any():
        raise ValueError(f"{path} has shape {rows.shape}; wanted 68 lines of three vertices of {len(mean)} and weights")
    if not np.allclose(weights.sum(axis=1), 1, atol=1e-3):
        raise ValueError(f"{path}: weights of a landmark do not sum to 1")
    embedding = LandmarkEmbedding(vertex_ids=ids.astype(np.int32), weights=weights.astype(np.float32))
    points = positions(mean, embedding)
    # iBUG's jaw runs from the subject's right ear over the chin to the left: by the angle about the mouth, seen from
    # in front.
    jaw = points[:17, :2] - points[48:68, :2].mean(axis=0)
    angle = np.arctan2(jaw[:, 1], jaw[:, 0])
    angle = np.where(angle > np.pi / 2, angle - 2 * np.pi, angle)
    order = np.concatenate([np.argsort(angle, kind="stable"), np.arange(17, 68)])
    return LandmarkEmbedding(vertex_ids=embedding.vertex_ids[order], weights=embedding.weights[order])
