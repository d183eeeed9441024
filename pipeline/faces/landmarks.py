"""From one picture to the landmarks of a face: the detector protocol, and MediaPipe's face mesh behind it.

Kartynnik et al., "Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs", CVPR workshops 2019 (the
mesh), and Ablavatski et al., "Real-time Pupil Tracking from Monocular Video for Digital Puppetry", CVPR workshops
2020 (the eyes). The mesh network alone hardly moves the lids when an eye closes; the eye network does, so its lids
always replace the mesh's (see `pipeline.faces.eyes`). Its brows do not: where a raised brow leaves the eye's picture,
or glasses are worn, it takes the rim or the lid for the brow.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Float32

from pipeline.faces.detect import FULL_RANGE_FILE, SHORT_RANGE_FILE, FaceFinder
from pipeline.faces.eyes import EYE_FILE, EyeReader, EyesSeen
from pipeline.faces.networks import Network
from pipeline.faces.options import FacesOptions
from pipeline.faces.picture import Picture
from pipeline.faces.regions import FaceBox, FaceRegion, around_points, look_into, mapped, region_of_box
from pipeline.faces.schemes import MESH_POINTS, points_of
from pipeline.faces.search import SearchWindow

MESH_FILE = "face_landmark.tflite"

_MEDIAPIPE_FILES = (SHORT_RANGE_FILE, FULL_RANGE_FILE, MESH_FILE, EYE_FILE)
_FACE_GROWTH = 1.5
_FACE_IS_THERE = 0.5
_POINTS_OUTPUT, _PRESENCE_OUTPUT = "conv2d_20", "conv2d_30"
_POINT_VALUES = [3 * point + axis for axis in (0, 1) for point in range(MESH_POINTS)]
"""Of the output, which has x, y and z of each point: x of all points, and y."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceLandmarks:
    """One face in one picture.

    Attributes:
        scheme: Landmark scheme.
        points_px: Landmarks in the scheme's order, x right, y down; they may lie outside the picture.
        confidence: Face presence score, 0 to 1.
        box_px: Box x0, y0, x1, y1 around all that the network knows of the face.
        region: Where to look for the same face in the next frame.
        mesh: All points that the network knows, where the lids are still to be found (see `lids`); large.
    """

    scheme: str
    points_px: Float32[np.ndarray, "points 2"]
    confidence: float
    box_px: Float32[np.ndarray, " 4"]
    region: FaceRegion
    mesh: Float32[np.ndarray, "468 2"] | None = None


@runtime_checkable
class LandmarkDetector(Protocol):
    """What tracking asks of a landmark detector. One instance serves one process and one thread."""

    @property
    def name(self) -> str:
        """Short name, as in `FacesOptions.detector`."""

    @property
    def scheme(self) -> str:
        """Landmark scheme of its points."""

    @property
    def weights_sha256(self) -> str:
        """sha256 over its weight files; part of every row that it made."""

    def find_faces(self, picture: Picture, window: SearchWindow | None = None) -> list[FaceBox]:
        """All faces of a picture, the largest first; with a window, those in it, where smaller ones are found."""

    def region_of(self, box: FaceBox) -> FaceRegion:
        """Where to look for the landmarks of a face that was found."""

    def landmarks(self, picture: Picture, region: FaceRegion) -> FaceLandmarks | None:
        """The landmarks of the face in a region, with their confidence; None where the result cannot be a face."""


class MediapipeDetector:
    """Face detection, face mesh and eye networks of MediaPipe, on one core.

    Args:
        networks: Folder with the four `.tflite` files.
        scheme: Which points to give.
        reuse_eyes: Whether the lids of an eye that did not change are kept from an earlier frame.

    Attributes:
        eyes: Finds the lids, and counts how often its network was asked.

    Raises:
        ValueError: A network is missing or cannot be run, or the scheme is unknown.
    """

    name = "mediapipe"

    def __init__(self, networks: Path, *, scheme: str = "mediapipe68", reuse_eyes: bool = True) -> None:
        self.scheme = scheme
        self._ids = points_of(scheme)
        self._find = FaceFinder(networks)
        wanted = {_POINTS_OUTPUT: _POINT_VALUES, _PRESENCE_OUTPUT: None}
        self._mesh = Network(networks / MESH_FILE, low=0.0, wanted=wanted)
        self._presence = Network(networks / MESH_FILE, low=0.0, wanted={_PRESENCE_OUTPUT: None})
        self.eyes = EyeReader(networks, reuse=reuse_eyes)
        self.weights_sha256 = _sha256_over(networks, _MEDIAPIPE_FILES)

    def find_faces(self, picture: Picture, window: SearchWindow | None = None) -> list[FaceBox]:
        """All faces of a picture, the largest first; with a window, those in it, where smaller ones are found."""
        return self._find(picture, window)

    def region_of(self, box: FaceBox) -> FaceRegion:
        """The square, half as large again as the box, with the eyes made level."""
        return region_of_box(box, growth=_FACE_GROWTH)

    def landmarks(self, picture: Picture, region: FaceRegion) -> FaceLandmarks | None:
        """The landmarks of the face in a region, before its lids; None where the points do not span a face's area."""
        mesh, confidence = self._mesh_in(picture, region)
        box, next_region = around_points(mesh, growth=_FACE_GROWTH)
        if not (math.isfinite(next_region.side_px) and next_region.side_px >= 1):
            return None
        return FaceLandmarks(
            scheme=self.scheme,
            points_px=mesh[self._ids],
            confidence=confidence,
            box_px=box,
            region=next_region,
            mesh=mesh,
        )

    def with_lids(
        self, looks: Sequence[tuple[Picture, FaceLandmarks]], before: EyesSeen | None
    ) -> tuple[list[FaceLandmarks], EyesSeen]:
        """What `landmarks` gave for one face, with its lids; see `lids.LidDetector`.

        Raises:
            ValueError: A face has them already, or there are no looks.
        """
        meshes = [(picture, face.mesh) for picture, face in looks if face.mesh is not None]
        if len(meshes) < len(looks):
            raise ValueError("a face has no mesh: its lids were found already, or another detector found it")
        refined, eyes = self.eyes(meshes, before)
        faces = [
            FaceLandmarks(
                scheme=face.scheme,
                points_px=mesh[self._ids],
                confidence=face.confidence,
                box_px=face.box_px,
                region=face.region,
            )
            for (_, face), mesh in zip(looks, refined, strict=True)
        ]
        return faces, eyes

    def occlusion(self, picture: Picture, region: FaceRegion) -> float:
        """1 minus the presence score of the worse half of a face, upper or lower, with the other one blanked."""
        square, _ = look_into(picture, region, self._mesh.size_px)
        blank = cv2.mean(square)[:3]
        middle = self._mesh.size_px // 2
        least = math.inf
        for other in (slice(0, middle), slice(middle, None)):
            alone = square.copy()
            alone[other] = blank
            (presence,) = self._presence(alone)
            least = min(least, presence.item())
        return 1.0 - _probability(least)

    def mesh_points(self, picture: Picture) -> Float32[np.ndarray, "468 2"] | None:
        """The whole mesh of the largest face, with refined lids.

        All schemes are rows of it: `mesh_points(picture)[points_of(scheme)]`. The face is looked at twice, the second
        time in the region that the first look gives, as in a video.
        """
        boxes = self.find_faces(picture)
        if not boxes:
            return None
        mesh, _ = self._mesh_in(picture, self.region_of(boxes[0]))
        mesh, confidence = self._mesh_in(picture, around_points(mesh, growth=_FACE_GROWTH)[1])
        if confidence < _FACE_IS_THERE:
            return None
        (refined,), _ = self.eyes([(picture, mesh)], None)
        return refined

    def _mesh_in(
        self, picture: Picture, region: FaceRegion
    ) -> tuple[Float32[np.ndarray, "468 2"], float]:
        to_frame = region.frame_from_square(self._mesh.size_px)
        points, presence = self._mesh.look(picture.square(to_frame, self._mesh.size_px, averaged=False))
        # The network counts from the square's edge; pixel centres lie half a pixel further in.
        flat = points.reshape(2, MESH_POINTS).T - np.float32(0.5)
        return mapped(flat, to_frame), _probability(presence.item())


def _probability(logit: float) -> float:
    return 1 / (1 + math.exp(-max(-80.0, min(80.0, logit))))


def open_detector(options: FacesOptions, networks: Path) -> LandmarkDetector:
    """The detector that the options name, with its networks loaded.

    Args:
        options: Uses `detector` and `scheme`.
        networks: Folder with the network files.

    Raises:
        ValueError: A network is missing, or the detector does not give the scheme.
        FileNotFoundError: The weights of face_alignment are missing; says where they belong.
    """
    match options.detector:
        case "mediapipe":
            return MediapipeDetector(networks, scheme=options.scheme)
        case "face_alignment":
            from pipeline.faces.fan import FanDetector, weights_path  # loads torch

            device, precision = options.detector_device, options.detector_precision
            return FanDetector(networks, weights_path(), device=device, precision=precision)


def detector_sha256(options: FacesOptions, networks: Path) -> str:
    """The `weights_sha256` of the detector that the options name, without loading its networks.

    Args:
        options: Uses `detector`.
        networks: Folder with the network files.

    Raises:
        FileNotFoundError: A network is missing.
    """
    match options.detector:
        case "mediapipe":
            return _sha256_over(networks, _MEDIAPIPE_FILES)
        case "face_alignment":
            from pipeline.faces.fan import require_weights, weights_path

            require_weights(weights := weights_path())
            return hashlib.sha256(weights.read_bytes()).hexdigest()


def _sha256_over(folder: Path, names: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for name in names:
        digest.update(hashlib.sha256((folder / name).read_bytes()).digest())
    return digest.hexdigest()
