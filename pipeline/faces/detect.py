"""Finding faces in a whole picture: the BlazeFace networks of MediaPipe (Apache-2.0).

Bazarevsky et al., "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs", CVPR workshops 2019: a
single-shot detector with one square anchor size per cell; each anchor regresses a box and six key points, and
overlapping answers are averaged, weighted by their scores, instead of keeping only the best.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from pipeline.faces.networks import Network, sigmoid
from pipeline.faces.overlaps import overlap, overlaps
from pipeline.faces.picture import Picture
from pipeline.faces.regions import FaceBox
from pipeline.faces.search import SearchWindow

SHORT_RANGE_FILE = "face_detection_short_range.tflite"
FULL_RANGE_FILE = "face_detection_full_range_sparse.tflite"

_MIN_SCORE = 0.5
_SAME_FACE_IOU = 0.3
"""Boxes of one picture that overlap more than this are of one face; two networks differ in what they take for it."""
# (cells per side, anchors per cell), from MediaPipe's graphs: strides 8, 16, 16, 16 of 128 pixels with two anchors
# each (equal strides are merged), and stride 4 of 192 pixels with one.
_SHORT_RANGE_GRIDS = ((16, 2), (8, 6))
_FULL_RANGE_GRIDS = ((48, 1),)
_SMALL_FACE = 0.2


class BlazeFace:
    """One detection network over the whole picture, fitted into its square input.

    Args:
        path: The `.tflite` file.
        grids: Cells per side and anchors per cell, layer by layer.

    Raises:
        ValueError: The file is missing, or its outputs do not match `grids`.
    """

    def __init__(self, path: Path, grids: tuple[tuple[int, int], ...]) -> None:
        self._network = Network(path, low=-1.0)
        self._anchors = _anchors(grids)

    def __call__(self, picture: Picture) -> list[FaceBox]:
        """Faces with a score of at least 0.5, best first."""
        square, scale, left, top = _letterboxed(picture, self._network.size_px)
        return self._faces(self._network(square), scale, float(left), float(top))

    def inside(self, picture: Picture, window: SearchWindow) -> list[FaceBox]:
        """Faces in a part of a picture, in pixels of the picture, best first."""
        size = self._network.size_px
        scale = size / window.side_px
        # From pixel centres to pixel centres; both count from the first pixel's.
        first = np.array([window.left, window.top]) + 0.5 / scale
        from_square = np.array([[1 / scale, 0, first[0]], [0, 1 / scale, first[1]]], dtype=np.float32)
        answers = self._network.look(picture.square(from_square, size, averaged=True))
        return self._faces(answers, scale, -(window.left + 0.5) * scale, -(window.top + 0.5) * scale)

    def _faces(
        self, answers: list[Float32[np.ndarray, "..."]], scale: float, left: float, top: float
    ) -> list[FaceBox]:
        boxes, logits = answers
        scores = sigmoid(logits).reshape(-1)
        if len(scores) != len(self._anchors):
            raise ValueError(f"the network gives {len(scores)} answers for {len(self._anchors)} anchors")
        seen = scores >= _MIN_SCORE
        if not seen.any():
            return []
        size = self._network.size_px
        values = boxes.reshape(-1, 8, 2)[seen] / np.float32(size)
        values[:, 0] += self._anchors[seen]
        values[:, 2:] += self._anchors[seen][:, None]
        half = values[:, 1] / 2
        values[:, 1] = values[:, 0] + half
        values[:, 0] -= half
        # The unit interval spans the square from edge to edge, and a pixel centre lies half a pixel from the edge.
        pixels = (values * size - np.array([left, top], dtype=np.float32)) / scale - 0.5
        return _merged(pixels.astype(np.float32), scores[seen])


class FaceFinder:
    """The short-range network, and the full-range one where that finds nothing or only small faces.

    Args:
        networks: Folder with both `.tflite` files.
    """

    def __init__(self, networks: Path) -> None:
        self._short_range = BlazeFace(networks / SHORT_RANGE_FILE, _SHORT_RANGE_GRIDS)
        self._full_range = BlazeFace(networks / FULL_RANGE_FILE, _FULL_RANGE_GRIDS)

    def __call__(self, picture: Picture, window: SearchWindow | None = None) -> list[FaceBox]:
        """Faces, the largest first. In a window, only the full-range network looks: it finds what is small there."""
        if window is not None:
            return _by_size(self._full_range.inside(picture, window))
        found = self._short_range(picture)
        if not found or max(box.side_px for box in found) < _SMALL_FACE * max(picture.width_px, picture.height_px):
            for box in self._full_range(picture):
                if all(overlap(box.as_array(), other.as_array()) < _SAME_FACE_IOU for other in found):
                    found.append(box)
        return _by_size(found)


def _by_size(found: list[FaceBox]) -> list[FaceBox]:
    return sorted(found, key=lambda box: box.side_px, reverse=True)


def is_one_face(first: FaceBox, second: FaceBox) -> bool:
    """Whether two boxes of one picture are of one face: they overlap, or their middles are near for their size."""
    if overlap(first.as_array(), second.as_array()) >= _SAME_FACE_IOU:
        return True
    twice_apart_px = (first.x0 + first.x1 - second.x0 - second.x1, first.y0 + first.y1 - second.y0 - second.y1)
    return max(map(abs, twice_apart_px)) < max(first.side_px, second.side_px) / 2


def surest(boxes: Iterable[FaceBox]) -> list[FaceBox]:
    """Of the boxes of each face the surest, best first: in a whole large picture a small face's box is a guess."""
    kept: list[FaceBox] = []
    for box in sorted(boxes, key=lambda box: -box.score):
        if not any(is_one_face(box, other) for other in kept):
            kept.append(box)
    return kept


def _anchors(grids: tuple[tuple[int, int], ...]) -> Float32[np.ndarray, "anchors 2"]:
    layers = []
    for cells, repeats in grids:
        middle = (np.arange(cells, dtype=np.float32) + 0.5) / cells
        y, x = np.meshgrid(middle, middle, indexing="ij")
        layers.append(np.repeat(np.stack([x, y], axis=-1).reshape(-1, 2), repeats, axis=0))
    return np.concatenate(layers)


def _letterboxed(
    picture: Picture, size: int
) -> tuple[UInt8[np.ndarray, "size size 3"], float, int, int]:
    scale = size / max(picture.height_px, picture.width_px)
    wide, high = max(1, round(picture.width_px * scale)), max(1, round(picture.height_px * scale))
    left, top = (size - wide) // 2, (size - high) // 2
    square = np.zeros((size, size, 3), dtype=np.uint8)
    square[top : top + high, left : left + wide] = picture.thumbnail(wide, high)
    return square, scale, left, top


def _merged(corners: Float32[np.ndarray, "answers 8 2"], scores: Float32[np.ndarray, " answers"]) -> list[FaceBox]:
    order = np.argsort(-scores, kind="stable")
    corners, scores = corners[order], scores[order]
    boxes = corners[:, :2].reshape(-1, 4)
    left: Bool[np.ndarray, " answers"] = np.all(boxes[:, 2:] > boxes[:, :2], axis=1)
    faces = []
    while left.any():
        best = int(np.argmax(left))
        group = left & (overlaps(boxes[best], boxes) > _SAME_FACE_IOU)
        group[best] = True
        left &= ~group
        weight = scores[group] / scores[group].sum()
        mean = np.tensordot(weight, corners[group], axes=1)
        faces.append(
            FaceBox(
                x0=float(mean[0, 0]),
                y0=float(mean[0, 1]),
                x1=float(mean[1, 0]),
                y1=float(mean[1, 1]),
                score=float(scores[best]),
                right_eye_px=(float(mean[2, 0]), float(mean[2, 1])),
                left_eye_px=(float(mean[3, 0]), float(mean[3, 1])),
            )
        )
    return faces
