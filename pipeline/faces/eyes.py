"""The lids of both eyes, from MediaPipe's eye network, asked only where the picture of an eye has changed.

Ablavatski et al., "Real-time Pupil Tracking from Monocular Video for Digital Puppetry", CVPR workshops 2020. The
network takes nearly as long for one eye as the mesh does for the whole face, and in most frames of a video an eye shows
what it showed before, or something between that and what it shows soon after (see `pipeline.faces.eye_changes`). Then
the lids are where they were, or as far on their way, moved as the picture is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from pipeline.faces.eye_changes import EyeKey, explained, grey_around_eye, key_of
from pipeline.faces.networks import Network
from pipeline.faces.picture import Picture, Square
from pipeline.faces.regions import FaceRegion, mapped
from pipeline.faces.schemes import INNER_EYES, LIDS_LEFT, LIDS_RIGHT, OUTER_EYES

EYE_FILE = "iris_landmark.tflite"

_OUTPUT = "output_eyes_contours_and_brows"
_GROWTH = 2.3
_CORNERS = np.array([OUTER_EYES[0], INNER_EYES[0], INNER_EYES[1], OUTER_EYES[1]])
_LIDS = len(LIDS_RIGHT)
_LID_VALUES = [3 * lid + axis for axis in (0, 1) for lid in range(_LIDS)]
"""Of the output, which has x, y and z of each point, the lids first: x of all lids, and y."""
_EYES, _LID_IDS = range(2), (list(LIDS_RIGHT), list(LIDS_LEFT))
_AT_ONCE = 2

Lids = Float32[np.ndarray, "16 2"]
EyeLook = tuple[Picture, Float32[np.ndarray, "468 2"]]
"""A displayed picture, and the mesh of a face in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EyeSeen:
    """One eye as the network last saw it.

    Attributes:
        key: Its picture.
        lids: Its lids, pixels of the square.
    """

    key: EyeKey
    lids: Lids


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
        self._network = Network(networks / EYE_FILE, low=0.0, wanted={_OUTPUT: _LID_VALUES}, most=_AT_ONCE)
        self._reuse = reuse
        self.asked = self.reused = 0

    def __call__(
        self, looks: Sequence[EyeLook], before: EyesSeen | None
    ) -> tuple[list[Float32[np.ndarray, "468 2"]], EyesSeen]:
        """The meshes with the lids in their place, and the eyes as the network last saw them.

        Args:
            looks: One face in one frame or several, in order.
            before: What this function gave for the same face before, if it did.

        Raises:
            ValueError: There are no looks.
        """
        if not looks:
            raise ValueError("looks is empty: there is nothing to find lids in")
        size_px = self._network.size_px
        places = [_places(mesh, size_px) for _, mesh in looks]
        squares = [
            [picture.square(place, size_px, averaged=False) for place in both]
            for (picture, _), both in zip(looks, places, strict=True)
        ]
        refined, seen = [mesh.copy() for _, mesh in looks], []
        for eye in _EYES:
            lids, last = self._lids([both[eye] for both in squares], None if before is None else before[eye])
            seen.append(last)
            for mesh, both, found in zip(refined, places, lids, strict=True):
                mesh[_LID_IDS[eye]] = mapped(found, both[eye])
        return refined, (seen[0], seen[1])

    def _lids(self, squares: Sequence[Square], before: EyeSeen | None) -> tuple[list[Lids], EyeSeen]:
        """The lids of one eye in its squares, and the eye as the network last saw it."""
        greys = [grey_around_eye(square.light) for square in squares]
        if not self._reuse:
            lids = self._ask(squares)
            return lids, EyeSeen(key=key_of(greys[-1]), lids=lids[-1])
        how, keys = explained(greys, None if before is None else before.key)
        known = dict(zip(keys, self._ask([squares[index] for index in keys]), strict=True))
        self.reused += len(squares) - len(keys)
        if before is not None:
            known[-1] = before.lids
        lids = [
            known[each.key] + each.share * (known[each.other] - known[each.key]) + each.shift_px
            for each in how
        ]
        if before is not None and not keys:
            return lids, before
        last = max(keys)
        return lids, EyeSeen(key=keys[last], lids=known[last])

    def _ask(self, squares: Sequence[Square]) -> list[Lids]:
        """The lids that the network finds in squares."""
        self.asked += len(squares)
        lids: list[Lids] = []
        for first in range(0, len(squares), _AT_ONCE):
            some = squares[first : first + _AT_ONCE]
            (answer,) = self._network.look(*some)
            # The network counts from the square's edge; pixel centres lie half a pixel further in.
            lids += [each.T - np.float32(0.5) for each in answer.reshape(len(some), 2, _LIDS)]
        return lids


def _places(mesh: Float32[np.ndarray, "468 2"], size_px: int) -> list[Float32[np.ndarray, "2 3"]]:
    """From the squares of both eyes to the picture; the left one is mirrored, so that both look alike."""
    corners = mesh[_CORNERS].tolist()
    return [
        _region_between(*corners[2 * eye : 2 * eye + 2]).frame_from_square(size_px, mirrored=eye == 1)
        for eye in _EYES
    ]


def _region_between(first: list[float], second: list[float]) -> FaceRegion:
    (x0, y0), (x1, y1) = first, second
    return FaceRegion(
        x=(x0 + x1) / 2,
        y=(y0 + y1) / 2,
        side_px=max(_GROWTH * math.hypot(x1 - x0, y1 - y0), 1.0),
        angle_rad=math.atan2(y1 - y0, x1 - x0),
    )
