"""The lids of both eyes, from MediaPipe's eye network, asked only where the picture of an eye has changed.

Ablavatski et al., "Real-time Pupil Tracking from Monocular Video for Digital Puppetry", CVPR workshops 2020. The
network takes nearly as long for one eye as the mesh does for the whole face, and in most frames of a video an eye shows
what it showed before. So the eye is registered to its picture of when the network last saw it, by the translation that
explains the difference best (one step of Lucas and Kanade, "An Iterative Image Registration Technique with an
Application to Stereo Vision", IJCAI 1981, equation 9); how bright the whole eye is does not count, as light flickers.
If what this leaves unexplained is nowhere more than a motion by a small part of the eye would make, the lids are where
they were, moved as the picture is. They are always compared with the picture that the network saw, never with one that
was itself compared: nothing adds up over time.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from pipeline.faces.networks import Network
from pipeline.faces.picture import Picture, Square
from pipeline.faces.regions import FaceRegion, mapped
from pipeline.faces.schemes import INNER_EYES, LIDS_LEFT, LIDS_RIGHT, OUTER_EYES

EYE_FILE = "iris_landmark.tflite"
LARGEST_CHANGE_PX = 0.9
"""Grey levels that differ by less than a motion by so many pixels of the square would make are no change. An eye is 28
pixels wide there, a thirteenth of which the network's own noise moves a lid on unsteady faces."""

_OUTPUT = "output_eyes_contours_and_brows"
_GROWTH = 2.3
_CORNERS = np.array([OUTER_EYES[0], INNER_EYES[0], INNER_EYES[1], OUTER_EYES[1]])
_LIDS = len(LIDS_RIGHT)
_LID_VALUES = [3 * lid + axis for axis in (0, 1) for lid in range(_LIDS)]
"""Of the output, which has x, y and z of each point, the lids first: x of all lids, and y."""
_EYES, _LID_IDS = range(2), (list(LIDS_RIGHT), list(LIDS_LEFT))
_ROWS, _COLUMNS = 32, 44
_AROUND_EYE = np.s_[15:49, 9:55]
"""Of the square: the eye without the brow, which moves by itself, and a pixel more on each side."""
_CELLS = (_COLUMNS // 4, _ROWS // 4)
"""Of 4 x 4 pixels: the least that counts as a change, large enough to average out a camera's noise."""
_LARGEST_SHIFT_PX = 1.5
"""Up to there a picture is near enough to its linearisation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EyeSeen:
    """One eye as the network saw it.

    Attributes:
        lids: Its lids, pixels of the square.
        grey: The square's grey levels around the eye against their mean, row by row.
        slopes: Their change per pixel, to the right and down.
        products: Of the slopes with one another: right with right, right with down, down with down.
        largest_level: Mean difference in a cell that counts as a change.
    """

    lids: Float32[np.ndarray, "16 2"]
    grey: Float32[np.ndarray, " pixels"]
    slopes: Float32[np.ndarray, "2 pixels"]
    products: tuple[float, float, float]
    largest_level: float

    def still_there(self, grey: Float32[np.ndarray, " pixels"]) -> Float32[np.ndarray, "16 2"] | None:
        """The lids in a square with these grey levels, or None where it shows something else."""
        change = grey - self.grey
        right, down = (self.slopes @ change).tolist()
        a, b, c = self.products
        # Of an eye without slopes both ways any translation explains as much.
        determinant = max(a * c - b * b, 1.0)
        x, y = (b * down - c * right) / determinant, (b * right - a * down) / determinant
        if max(abs(x), abs(y)) > _LARGEST_SHIFT_PX:
            return None
        shift = np.array([x, y], dtype=np.float32)
        # The picture moved by `shift` is, to first order, the old one less the shift along its slopes.
        left = np.abs(change + shift @ self.slopes)
        worst = cv2.resize(left.reshape(_ROWS, _COLUMNS), _CELLS, interpolation=cv2.INTER_AREA).max()
        return self.lids + shift if worst < self.largest_level else None


EyesSeen = tuple[EyeSeen, EyeSeen]


class EyeReader:
    """Finds the lids of both eyes of a face whose mesh is known.

    Args:
        networks: Folder with the eye network.
        reuse: Whether an eye that did not change is left alone.

    Attributes:
        asked: How often the network was asked about an eye.
        reused: How often it need not be.

    Raises:
        ValueError: The network is missing or cannot be run.
    """

    def __init__(self, networks: Path, *, reuse: bool = True) -> None:
        self._network = Network(networks / EYE_FILE, low=0.0, wanted={_OUTPUT: _LID_VALUES}, most=2)
        self._reuse = reuse
        self.asked = self.reused = 0

    def __call__(
        self, picture: Picture, mesh: Float32[np.ndarray, "468 2"], before: EyesSeen | None
    ) -> tuple[Float32[np.ndarray, "468 2"], EyesSeen]:
        """The mesh with the lids in their place, and the eyes as the network last saw them.

        Args:
            picture: The displayed picture.
            mesh: The face's mesh in it.
            before: What this function gave for the same face before, if it did.
        """
        size_px = self._network.size_px
        corners = mesh[_CORNERS].tolist()
        to_frame = [
            _region_between(*corners[2 * eye : 2 * eye + 2]).frame_from_square(size_px, mirrored=eye == 1)
            for eye in _EYES
        ]
        squares = [picture.square(place, size_px, averaged=False) for place in to_frame]
        greys = [_grey_around_eye(square.light) for square in squares]
        lasts = before if before is not None and self._reuse else (None, None)
        kept = [
            None if last is None else last.still_there(grey[1:-1, 1:-1].reshape(-1))
            for last, grey in zip(lasts, greys, strict=True)
        ]
        found = iter(self._ask([square for square, lids in zip(squares, kept, strict=True) if lids is None]))
        refined, seen = mesh.copy(), []
        for eye in _EYES:
            lids, last = kept[eye], lasts[eye]
            if lids is None or last is None:
                lids = next(found)
                last = _eye_seen(lids, greys[eye])
            refined[_LID_IDS[eye]] = mapped(lids, to_frame[eye])
            seen.append(last)
        return refined, (seen[0], seen[1])

    def _ask(self, squares: list[Square]) -> list[Float32[np.ndarray, "16 2"]]:
        """The lids that the network finds in the squares of one eye or both."""
        self.asked += len(squares)
        self.reused += len(_EYES) - len(squares)
        if not squares:
            return []
        (answer,) = self._network.look(*squares)
        # The network counts from the square's edge; pixel centres lie half a pixel further in.
        return [lids.T - np.float32(0.5) for lids in answer.reshape(len(squares), 2, _LIDS)]


def _region_between(first: list[float], second: list[float]) -> FaceRegion:
    (x0, y0), (x1, y1) = first, second
    return FaceRegion(
        x=(x0 + x1) / 2,
        y=(y0 + y1) / 2,
        side_px=max(_GROWTH * math.hypot(x1 - x0, y1 - y0), 1.0),
        angle_rad=math.atan2(y1 - y0, x1 - x0),
    )


def _grey_around_eye(light: UInt8[np.ndarray, "64 64"]) -> Float32[np.ndarray, "rows columns"]:
    """Grey levels against their mean, with a pixel more on each side."""
    # Blurred, so that slopes hold over a pixel.
    grey = cv2.boxFilter(light[_AROUND_EYE], cv2.CV_32F, (3, 3))
    return np.subtract(grey, np.float32(cv2.mean(grey)[0]), out=grey)


def _eye_seen(lids: Float32[np.ndarray, "16 2"], grey: Float32[np.ndarray, "rows columns"]) -> EyeSeen:
    both = np.empty((2, _ROWS, _COLUMNS), dtype=np.float32)
    np.subtract(grey[1:-1, 2:], grey[1:-1, :-2], out=both[0])
    np.subtract(grey[2:, 1:-1], grey[:-2, 1:-1], out=both[1])
    slopes = both.reshape(2, -1)
    slopes *= np.float32(0.5)
    (a, b), (_, c) = (slopes @ slopes.T).tolist()
    return EyeSeen(
        lids=lids,
        grey=grey[1:-1, 1:-1].reshape(-1),
        slopes=slopes,
        products=(a, b, c),
        largest_level=LARGEST_CHANGE_PX * math.sqrt((a + c) / (_ROWS * _COLUMNS)),
    )
