"""Two face models for tests: a small smooth one made up here, and ICT-FaceKit where FACEVID_ICT says where it is."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.fit.models import read_ict_model
from fitting.face_model import FaceModel, LandmarkEmbedding


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> None:
    """Small matrices: threads would spend their time waiting for each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def toy_model() -> FaceModel:
    """500 points on half an ellipsoid that bends smoothly: 12 identity and 8 expression components."""
    rng = np.random.default_rng(7)
    count = 500
    # Golden-angle points on the front of an ellipsoid as large as a face.
    height = np.linspace(-0.95, 0.95, count)
    angle = np.pi * (3 - np.sqrt(5)) * np.arange(count) % np.pi
    ring = np.sqrt(1 - height**2)
    mean = np.column_stack([70 * ring * np.cos(angle), 95 * height, 60 * ring * np.sin(angle)])
    mean[:, 2] += 25 * np.exp(-((mean[:, 0] / 12) ** 2) - ((mean[:, 1] + 5) / 18) ** 2)

    def smooth_basis(components: int, size_mm: float, width_mm: float) -> np.ndarray:
        frequency = rng.normal(size=(components, 4, 3)) / width_mm
        phase = rng.uniform(0, 2 * np.pi, size=(components, 4, 1))
        waves = np.cos(np.einsum("kmc,vc->kmv", frequency, mean) + phase)
        direction = rng.normal(size=(components, 4, 3))
        fade = 1.0 / np.sqrt(1 + np.arange(components))
        return np.einsum("kmv,kmc,k->kvc", waves, direction, size_mm * fade / 2)

    identity_basis = smooth_basis(12, 4.0, 60.0)
    # Heads differ in size, which a camera that scales cannot see: a solver that gets this wrong shrinks them.
    identity_basis[0] = 0.06 * mean
    landmarks = rng.choice(count, size=68, replace=False)
    landmarks[36] = np.argmin(np.linalg.norm(mean - [-45, 30, 45], axis=1))
    landmarks[45] = np.argmin(np.linalg.norm(mean - [45, 30, 45], axis=1))
    ids = np.repeat(landmarks[:, None], 3, axis=1).astype(np.int32)
    return FaceModel(
        name="toy",
        mean_mm=mean.astype(np.float32),
        identity_basis_mm=identity_basis.astype(np.float32),
        expression_basis_mm=smooth_basis(8, 5.0, 25.0).astype(np.float32),
        triangles=np.zeros((0, 3), np.int32),
        landmarks={
            "toy68": LandmarkEmbedding(vertex_ids=ids, weights=np.tile(np.array([1, 0, 0], np.float32), (68, 1)))
        },
        mirror_vertex=None,
        neutral_expression=np.zeros(8, np.float32),
        arkit=None,
        licence="Apache-2.0",
        source="made up by tests/fitting/conftest.py",
    )


@pytest.fixture(scope="session")
def ict_model() -> FaceModel:
    """ICT-FaceKit, from the file that FACEVID_ICT names."""
    path = os.environ.get("FACEVID_ICT")
    if not path:
        pytest.skip("FACEVID_ICT does not name ict_facekit_narrow.npz")
    return read_ict_model(Path(path))
