"""The face models of the benchmark, from the formats that it is asked to read."""

import zipfile
from pathlib import Path

import numpy as np

from fitting.face_model import DEFAULT_MODEL_PATH, FaceModel, LandmarkEmbedding, load_face_model

ICT_NAME = "ict"
ICT_COMPONENTS = 28


def read_model(path: Path | None) -> FaceModel:
    """FaceVid-CC0, a face model file, or the archive of ICT-FaceKit's narrow face (`ict_facekit_narrow.npz`)."""
    if path is None:
        return load_face_model(DEFAULT_MODEL_PATH)
    if zipfile.is_zipfile(path) and "mean_cm.npy" in zipfile.ZipFile(path).namelist():
        return read_ict_model(path)
    return load_face_model(path)


def read_ict_model(path: Path) -> FaceModel:
    """The narrow ICT-FaceKit model with 28 principal components of plausible blends of its shapes."""
    with np.load(path, allow_pickle=False) as archive:
        mean = archive["mean_cm"].astype(np.float64) * 10
        identity = archive["identity_cm"].astype(np.float64) * 10
        shapes = archive["expression_cm"].astype(np.float64) * 10
        names = [str(name) for name in archive["expression_names"]]
        triangles = archive["triangles"].astype(np.int32)
        landmarks = archive["ibug68_vertex_ids"].astype(np.int32)
    mean = mean - mean.mean(axis=0)
    kept = shapes[[i for i, name in enumerate(names) if "Pupil" not in name and "eyeLook" not in name]]
    rng = np.random.default_rng(0)
    weights = rng.random((4000, len(kept))) * (rng.random((4000, len(kept))) < 0.12)
    centred = weights - weights.mean(0)
    # PCA of the blended shapes, by way of the small matrix in weight space.
    flat = kept.reshape(len(kept), -1)
    covariance = centred.T @ centred / len(centred)
    root = np.linalg.cholesky(covariance + 1e-12 * np.eye(len(kept)))
    _, singular, vt = np.linalg.svd(root.T @ flat, full_matrices=False)
    components = (singular[:ICT_COMPONENTS, None] * vt[:ICT_COMPONENTS]).reshape(ICT_COMPONENTS, -1, 3)
    return FaceModel(
        name=ICT_NAME,
        mean_mm=(mean + np.tensordot(weights.mean(0), kept, 1)).astype(np.float32),
        identity_basis_mm=identity.astype(np.float32),
        expression_basis_mm=components.astype(np.float32),
        triangles=triangles,
        landmarks={
            "ibug68": LandmarkEmbedding(
                vertex_ids=np.repeat(landmarks[:, None], 3, axis=1),
                weights=np.tile(np.array([1, 0, 0], np.float32), (68, 1)),
            )
        },
        mirror_vertex=None,
        neutral_expression=np.zeros(ICT_COMPONENTS, np.float32),
        arkit=None,
        licence="MIT",
        source="ICT-FaceKit",
    )
