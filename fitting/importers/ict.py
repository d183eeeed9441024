"""ICT-FaceKit's light face model: a folder of one OBJ per mode (MIT).

`generic_neutral_mesh.obj`, `identity000.obj` and on, and one OBJ per expression named as ARKit's with `_L` and `_R`;
centimetres, y up, z forward, counted from 1. Each holds the whole mesh, neutral plus one mode at 1. An identity mode
at 1 is taken for one standard deviation: the project's sampler draws unit Gaussians, but no document says so.

Only the face area is read (vertices 0 to 9,408 of 26,719, see the project's README): no eyeballs, no teeth.
"""

import re
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

from fitting.cc0.expression import COMPONENTS, build_expression
from fitting.face_model import ArkitMap
from fitting.importers.ibug68 import ICT_FACEKIT, at_vertices
from fitting.importers.raw import RawModel

NEUTRAL = "generic_neutral_mesh"
FULL_VERTICES = 26719
FACE_VERTICES = 9409
_CM = 10.0
# Shapes without ARKit's name (pupils, cheekRaiser), and those that move the eyeball.
_LEFT_OUT = re.compile(r"PupilDilate|cheekRaiser|eyeLook")
_MERGED = ("browInnerUp", "cheekPuff")


def read_ict_facekit(folder: Path) -> RawModel:
    """Read the folder `FaceXModel`.

    The expressions are the principal components of plausible activations of its shapes, as in FaceVid-CC0.

    Args:
        folder: The folder of OBJ files.

    Raises:
        ValueError: A file is missing, no OBJ, or of another mesh.
    """
    neutral, triangles = _read_obj(folder / f"{NEUTRAL}.obj")
    kept = FACE_VERTICES if len(neutral) == FULL_VERTICES else len(neutral)
    triangles = triangles[(triangles < kept).all(axis=1)]
    files = {path.stem: path for path in sorted(folder.glob("*.obj"))}
    identities = sorted(name for name in files if re.fullmatch(r"identity\d+", name))
    if identities != [f"identity{k:03d}" for k in range(len(identities))] or not identities:
        raise ValueError(
            f"{folder}: identity000.obj to identity{max(len(identities) - 1, 0):03d}.obj are not all there"
        )

    def moved(name: str) -> Float64[np.ndarray, "vertices 3"]:
        vertices, _ = _read_obj(files[name])
        if vertices.shape != neutral.shape:
            raise ValueError(f"{files[name]} has {len(vertices)} vertices, but {NEUTRAL}.obj has {len(neutral)}")
        return np.asarray((vertices - neutral)[:kept])

    shapes: dict[str, Float64[np.ndarray, "vertices 3"]] = {}
    for name in sorted(set(files) - set(identities) - {NEUTRAL}):
        if not _LEFT_OUT.match(name):
            unit = _arkit_name(name)
            shapes[unit] = shapes[unit] + moved(name) if unit in shapes else moved(name)
    neutral = neutral[:kept]
    try:
        space = build_expression(tuple(shapes), np.stack(list(shapes.values())), _importance(neutral, triangles))
    except (KeyError, ValueError) as error:
        raise ValueError(f"{folder}: expression shapes are missing ({error}); there are {len(shapes)}") from error
    return RawModel(
        name="ict-facekit",
        mean=neutral + space.mean_mm,
        identity=np.stack([moved(name) for name in identities]).astype(np.float32),
        expression=space.basis_mm,
        triangles=triangles,
        unit_mm=_CM,
        winding="counter-clockwise",
        landmarks=at_vertices(ICT_FACEKIT),
        neutral=space.neutral,
        arkit=ArkitMap(
            names=space.unit_names,
            offset=space.mean_weights.astype(np.float32),
            matrix=space.weights_of.astype(np.float32),
        ),
        licence="MIT",
        source=f"ICT-FaceKit, face area, {COMPONENTS} components of its expression shapes",
    )


def _arkit_name(name: str) -> str:
    """ARKit's name; it has no sides where ICT-FaceKit has two."""
    base = re.sub(r"_[LR]$", "", name)
    if base in _MERGED:
        return base
    return base + {"_L": "Left", "_R": "Right"}.get(name[len(base) :], "")


def _importance(
    vertices: Float64[np.ndarray, "vertices 3"], triangles: Int64[np.ndarray, "triangles 3"]
) -> Float64[np.ndarray, " vertices"]:
    """Area that each vertex stands for."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    return np.bincount(triangles.ravel(), np.repeat(area / 3, 3), minlength=len(vertices))


def _read_obj(path: Path) -> tuple[Float64[np.ndarray, "vertices 3"], Int64[np.ndarray, "triangles 3"]]:
    vertices: list[list[float]] = []
    triangles: list[tuple[int, int, int]] = []
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            words = line.split()
            if words[:1] == ["v"]:
                vertices.append([float(word) for word in words[1:4]])
            elif words[:1] == ["f"]:
                corners = [int(word.split("/")[0]) for word in words[1:]]
                # A polygon becomes a fan; the model's are quads and triangles.
                triangles += [(corners[0], corners[k], corners[k + 1]) for k in range(1, len(corners) - 1)]
        points = np.array(vertices, dtype=np.float64).reshape(-1, 3)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as an OBJ file: {error}") from error
    faces = np.array(triangles, dtype=np.int64).reshape(-1, 3)
    if faces.size and (faces.min() < 1 or faces.max() > len(points)):
        raise ValueError(f"{path}: triangles name vertices {faces.min()} to {faces.max()}, but there are {len(points)}")
    return points, faces - 1
