"""Where a face is: upright boxes from a detector, and rotated squares that a landmark network looks into.

Pixels are those of the displayed picture, x right, y down, (0, 0) the centre of the top-left pixel.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Num, UInt8

from pipeline.faces.picture import Picture
from pipeline.faces.schemes import OUTER_EYES


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceBox:
    """One face as a detector sees it.

    Attributes:
        x0: Left edge, pixels.
        y0: Top edge, pixels.
        x1: Right edge, pixels.
        y1: Bottom edge, pixels.
        score: Detector's confidence, 0 to 1.
        right_eye_px: The subject's right eye (at image left where the head is upright), x and y.
        left_eye_px: The subject's left eye.
    """

    x0: float
    y0: float
    x1: float
    y1: float
    score: float
    right_eye_px: tuple[float, float]
    left_eye_px: tuple[float, float]

    @property
    def side_px(self) -> float:
        """The longer side, pixels."""
        return max(self.x1 - self.x0, self.y1 - self.y0)

    def as_array(self) -> Float32[np.ndarray, " 4"]:
        """x0, y0, x1, y1."""
        return np.array([self.x0, self.y0, self.x1, self.y1], dtype=np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceRegion:
    """A square that holds a face, turned with the head.

    Attributes:
        x: Centre, pixels.
        y: Centre, pixels.
        side_px: Length of a side.
        angle_rad: Turn of the eyes' line against the horizontal, clockwise in the picture.
    """

    x: float
    y: float
    side_px: float
    angle_rad: float

    def frame_from_square(self, size_px: int, *, mirrored: bool = False) -> Float32[np.ndarray, "2 3"]:
        """The similarity that takes pixel centres of a size_px x size_px square to pixels of the frame.

        Args:
            size_px: Side of the square.
            mirrored: The square is flipped left to right.
        """
        scale = self.side_px / size_px
        c, s = scale * math.cos(self.angle_rad), scale * math.sin(self.angle_rad)
        right = -1 if mirrored else 1
        middle = (size_px - 1) / 2
        x, y = self.x - (right * c - s) * middle, self.y - (right * s + c) * middle
        return np.array([[right * c, -s, x], [right * s, c, y]], dtype=np.float32)


def region_of_box(box: FaceBox, *, growth: float) -> FaceRegion:
    """The square around a detected face, `growth` times its longer side, with its eyes made level."""
    dx = box.left_eye_px[0] - box.right_eye_px[0]
    dy = box.left_eye_px[1] - box.right_eye_px[1]
    return FaceRegion(
        x=(box.x0 + box.x1) / 2,
        y=(box.y0 + box.y1) / 2,
        side_px=growth * box.side_px,
        angle_rad=float(np.arctan2(dy, dx)),
    )


def around_points(
    points_px: Float32[np.ndarray, "points 2"], *, growth: float
) -> tuple[Float32[np.ndarray, " 4"], FaceRegion]:
    """The upright box around a mesh, x0, y0, x1, y1, and the square around it with its eyes made level.

    The extent of the square is taken along the eyes' line and across it, so that a rolled head keeps its scale. A mesh
    that is not finite has a square that is not.

    Args:
        points_px: A mesh whose eye corners are given by `OUTER_EYES`.
        growth: Side of the square, over the longer extent.
    """
    (x0, y0), (x1, y1) = (points_px[corner].tolist() for corner in OUTER_EYES)
    angle = math.atan2(y1 - y0, x1 - x0)
    c, s = math.cos(angle), math.sin(angle)
    with np.errstate(invalid="ignore"):
        along = np.array([[1, 0], [0, 1], [c, s], [-s, c]], dtype=np.float32) @ points_px.T
    least, most = np.minimum.reduce(along, axis=1), np.maximum.reduce(along, axis=1)
    (_, _, left, top), (_, _, right, bottom) = least.tolist(), most.tolist()
    u, v = (left + right) / 2, (top + bottom) / 2
    side_px = growth * max(right - left, bottom - top)
    region = FaceRegion(x=c * u - s * v, y=s * u + c * v, side_px=side_px, angle_rad=angle)
    return np.concatenate((least[:2], most[:2])), region


def look_into(
    picture: Picture, region: FaceRegion, size_px: int
) -> tuple[UInt8[np.ndarray, "size size 3"], Float32[np.ndarray, "2 3"]]:
    """The region, resampled to a square, and the map from pixels of that square back to the picture.

    Outside the picture is black.
    """
    to_frame = region.frame_from_square(size_px)
    return picture.square(to_frame, size_px, averaged=False).rgb, to_frame


def mapped(
    points: Num[np.ndarray, "points 2"], transform: Float32[np.ndarray, "2 3"]
) -> Float32[np.ndarray, "points 2"]:
    """Points under a 2x3 affine map; in memory column by column, along which sums and extremes are fast."""
    return np.asarray(transform[:, :2] @ points.T + transform[:, 2:], dtype=np.float32).T
