"""A saved fit as an animated mesh: binary glTF 2.0 with morph targets, their weights and the head's pose over time.

glTF counts in metres, y up, and faces look along +z: the head frame, divided by a thousand. The camera frame (x right,
y down, z forward) becomes glTF's by turning it about x by half a turn. A scaled-orthographic camera knows no depth:
the head moves in the plane z = 0, where its size is that of the face model whatever its size in the picture.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pygltflib as gltf
from jaxtyping import Float, Float32, Int32
from scipy.spatial.transform import Rotation

from fitting.arkit import arkit_weights, unit_motion_mm
from fitting.face_model import FaceModel
from fitting.saved_fit import SavedFit
from fitting.whole_file import write_whole

MorphTargets = Literal["components", "arkit"]
_METRES_PER_MM = 1e-3
_SKIN = (0.80, 0.62, 0.54, 1.0)


def write_gltf(path: str | Path, fit: SavedFit, model: FaceModel, *, targets: MorphTargets = "components") -> None:
    """Write a `.glb` file: the face with its identity, morph targets, and an animation.

    Args:
        path: The `.glb` file.
        fit: The fit.
        model: The face model that was fitted.
        targets: `components` are the model's expression components, weights in standard deviations (the fitted face
            exactly); `arkit` are the ARKit units over the neutral face, weights in [0, 1] (the nearest such face).

    Raises:
        ValueError: The fit is of another model, or diverged, or its model has no map to ARKit weights.
    """
    fit.check_model(model)
    names, base_mm, motion_mm, weights = _morphs(fit, model, targets)
    build = _Build(fit.face_model_licence)
    primitive = build.primitive(base_mm, motion_mm, model.triangles)
    build.document.meshes = [
        gltf.Mesh(
            name=model.name,
            primitives=[primitive],
            weights=[float(weight) for weight in weights[0]],
            extras={"targetNames": list(names)},  # where viewers and editors look for the names
        )
    ]
    turns, places_m = _poses(fit)
    build.document.nodes = [
        gltf.Node(name="head", mesh=0, rotation=turns[0].tolist(), translation=places_m[0].tolist())
    ]
    build.animation(fit, {"weights": weights.reshape(-1), "rotation": turns, "translation": places_m})
    write_whole(Path(path), build.data())


def _morphs(
    fit: SavedFit, model: FaceModel, targets: MorphTargets
) -> tuple[
    tuple[str, ...],
    Float32[np.ndarray, "vertices 3"],
    Float32[np.ndarray, "targets vertices 3"],
    Float32[np.ndarray, "frames targets"],
]:
    """Names, the face with all weights 0, what each target moves at weight 1, and the weights of each frame."""
    expression = fit.track.expression
    if targets == "arkit":
        motion = unit_motion_mm(model)
        weights = arkit_weights(model, expression)
        base = model.vertices_mm(fit.track.identity, model.neutral_expression)
        return (model.arkit.names if model.arkit else ()), base, motion, weights
    names = tuple(f"expression{number:02d}" for number in range(model.n_expression))
    base = model.vertices_mm(fit.track.identity, np.zeros(model.n_expression, dtype=np.float32))
    return names, base, model.expression_basis_mm, expression


def _poses(fit: SavedFit) -> tuple[Float32[np.ndarray, "frames 4"], Float32[np.ndarray, "frames 3"]]:
    """Quaternions (x, y, z, w) and places in metres; places are relative to the middle of the head's path."""
    track = fit.track
    upright = Rotation.from_euler("x", 180, degrees=True)
    turns = (upright * Rotation.from_quat(track.rotation_wxyz[:, [1, 2, 3, 0]])).as_quat()
    for row in range(1, len(turns)):
        # Of the two quaternions of a rotation, the one on the last frame's side: viewers interpolate between them.
        if turns[row] @ turns[row - 1] < 0:
            turns[row] *= -1
    middle_px = np.median(track.translation_px, axis=0)
    in_plane_mm = (track.translation_px - middle_px) / track.scale_px_per_mm[:, None] * np.array([1.0, -1.0])
    places = np.column_stack([in_plane_mm * _METRES_PER_MM, np.zeros(len(in_plane_mm))])
    return turns.astype(np.float32), places.astype(np.float32)


def _normals(
    vertices: Float[np.ndarray, "vertices 3"], triangles: Int32[np.ndarray, "triangles 3"]
) -> Float32[np.ndarray, "vertices 3"]:
    """Outward unit normals, weighted by area; along z where a vertex is in no triangle."""
    a, b, c = (vertices[triangles[:, corner]].astype(np.float64) for corner in range(3))
    facing = np.cross(b - a, c - a)
    total = np.zeros((len(vertices), 3))
    for corner in range(3):
        np.add.at(total, triangles[:, corner], facing)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    total = np.where(length > 0, total / np.where(length > 0, length, 1.0), np.array([0.0, 0.0, 1.0]))
    return total.astype(np.float32)


class _Build:
    """Collects arrays into one buffer, and the document that describes them."""

    def __init__(self, licence: str) -> None:
        self._bytes = bytearray()
        self.document = gltf.GLTF2(
            asset=gltf.Asset(version="2.0", generator="FaceVid", copyright=f"face model: {licence}"),
            scene=0,
            scenes=[gltf.Scene(nodes=[0])],
            materials=[
                gltf.Material(
                    name="skin",
                    doubleSided=True,
                    pbrMetallicRoughness=gltf.PbrMetallicRoughness(
                        baseColorFactor=list(_SKIN), metallicFactor=0.0, roughnessFactor=0.8
                    ),
                )
            ],
        )

    def primitive(
        self,
        base_mm: Float32[np.ndarray, "vertices 3"],
        motion_mm: Float32[np.ndarray, "targets vertices 3"],
        triangles: Int32[np.ndarray, "triangles 3"],
    ) -> gltf.Primitive:
        """Positions, normals, triangles, and for each target how positions and normals change."""
        normals = _normals(base_mm, triangles)
        attributes = gltf.Attributes(
            POSITION=self._add(base_mm * _METRES_PER_MM, "VEC3", target=gltf.ARRAY_BUFFER, bounds=True),
            NORMAL=self._add(normals, "VEC3", target=gltf.ARRAY_BUFFER),
        )
        indices = self._add(triangles.astype(np.uint32).reshape(-1), "SCALAR", target=gltf.ELEMENT_ARRAY_BUFFER)
        morphs = [
            {
                "POSITION": self._add(moved * _METRES_PER_MM, "VEC3", target=gltf.ARRAY_BUFFER, bounds=True),
                "NORMAL": self._add(_normals(base_mm + moved, triangles) - normals, "VEC3", target=gltf.ARRAY_BUFFER),
            }
            for moved in motion_mm
        ]
        return gltf.Primitive(attributes=attributes, indices=indices, material=0, targets=morphs)

    def animation(self, fit: SavedFit, tracks: dict[str, np.ndarray]) -> None:
        """One channel per animated property of node 0; times begin at 0."""
        times_s = (fit.pts_s - fit.pts_s[0]).astype(np.float32)
        if (np.diff(times_s) <= 0).any():
            raise ValueError("pts_s: two frames are so near in time that glTF, which counts in float32, sees one")
        times = self._add(times_s, "SCALAR", bounds=True)
        kinds = {"weights": "SCALAR", "rotation": "VEC4", "translation": "VEC3"}
        samplers, channels = [], []
        for number, (name, values) in enumerate(tracks.items()):
            output = self._add(values, kinds[name])
            samplers.append(gltf.AnimationSampler(input=times, output=output, interpolation="LINEAR"))
            channels.append(
                gltf.AnimationChannel(sampler=number, target=gltf.AnimationChannelTarget(node=0, path=name))
            )
        self.document.animations = [gltf.Animation(name="track", samplers=samplers, channels=channels)]

    def data(self) -> bytes:
        """The whole `.glb` file."""
        self.document.buffers = [gltf.Buffer(byteLength=len(self._bytes))]
        self.document.set_binary_blob(bytes(self._bytes))
        return b"".join(self.document.save_to_bytes())

    def _add(self, values: np.ndarray, kind: str, *, target: int | None = None, bounds: bool = False) -> int:
        """Append an array of float32 or uint32 (so that every view starts at a multiple of 4); returns its accessor."""
        values = np.ascontiguousarray(values, dtype=np.uint32 if values.dtype == np.uint32 else np.float32)
        start = len(self._bytes)
        self._bytes += values.astype(values.dtype.newbyteorder("<")).tobytes()
        self.document.bufferViews.append(
            gltf.BufferView(buffer=0, byteOffset=start, byteLength=values.nbytes, target=target)
        )
        extremes: dict[str, Any] = {}
        if bounds:
            rows = values.reshape(len(values), -1)
            extremes = {"min": rows.min(0).tolist(), "max": rows.max(0).tolist()}
        self.document.accessors.append(
            gltf.Accessor(
                bufferView=len(self.document.bufferViews) - 1,
                componentType=gltf.UNSIGNED_INT if values.dtype == np.uint32 else gltf.FLOAT,
                count=len(values),
                type=kind,
                **extremes,
            )
        )
        return len(self.document.accessors) - 1
