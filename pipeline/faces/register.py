"""Crops of faces registered to one template: the input of DeepExp3D, at training and at prediction.

The template is the paper's 224x224 network input (Koujan et al., FG 2020), its 68 points read off the published
figure to about 2 px. It is a tight crop: the chin is on the bottom edge.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import simplejpeg
from jaxtyping import Complex128, Float32, Float64, Int16, UInt8

from pipeline.faces.picture import Picture
from pipeline.faces.planes import Colours, Planes

CROP_SIZE_PX = 224
INNER_POINTS = slice(17, 68)
"""The points that register a face: brows, nose, eyes, lips. The jaw slides over the face as the head turns."""

# fmt: off
TEMPLATE68_PX: Float32[np.ndarray, "68 2"] = np.array(
    [
        # jaw
        (1.9, 82.1), (5.3, 117.5), (9.5, 141.0), (14.3, 162.0), (19.8, 178.1), (32.0, 194.1), (54.4, 210.5),
        (79.2, 222.9), (113.9, 224.0), (141.3, 223.1), (170.1, 210.5), (193.6, 194.1), (206.6, 177.8),
        (212.4, 162.5), (217.1, 140.4), (221.6, 113.4), (224.0, 81.6),
        # brows
        (30.1, 37.1), (42.0, 25.6), (57.1, 16.9), (75.0, 16.1), (90.3, 26.4), (127.8, 27.3), (142.6, 20.4),
        (160.6, 15.5), (176.2, 21.8), (188.6, 34.2),
        # nose
        (112.0, 41.7), (112.0, 58.0), (112.0, 72.4), (112.0, 87.9), (89.0, 114.9), (100.9, 117.2), (112.3, 114.9),
        (122.6, 116.9), (132.6, 116.0),
        # eyes
        (43.1, 54.3), (57.1, 43.4), (69.7, 43.1), (84.8, 52.3), (73.2, 57.1), (58.9, 57.4), (139.2, 52.3),
        (151.9, 43.7), (167.5, 45.7), (180.7, 54.3), (167.2, 57.7), (152.4, 56.0),
        # outer lips
        (71.8, 158.8), (82.4, 143.9), (100.6, 136.4), (112.8, 139.3), (123.9, 136.1), (141.6, 144.4),
        (155.6, 160.0), (139.7, 168.0), (125.7, 166.9), (113.6, 169.7), (100.9, 169.4), (85.8, 164.3),
        # inner lips
        (78.2, 158.2), (99.8, 150.5), (112.8, 149.7), (124.4, 150.2), (149.8, 158.5), (124.4, 154.5),
        (112.8, 152.4), (99.6, 154.5),
    ],
    dtype=np.float32,
)
"""Where the 68 points lie in the crop, pixels."""
# fmt: on
TEMPLATE68_PX.setflags(write=False)
_NEIGHBOURS = np.ones((3, 3), dtype=np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Crop:
    """A registered face.

    Attributes:
        samples: The crop in the form of the picture's samples, black outside the picture.
        light: What is light and what is dark in it, 0 to 255.
        inside: 1 where all that a pixel blends is picture, else 0; None where all of the crop is inside.
        crop_from_frame: The similarity from pixels of the displayed picture to pixels of the crop.
    """

    samples: Planes | Colours
    light: UInt8[np.ndarray, "224 224"]
    inside: UInt8[np.ndarray, "224 224"] | None
    crop_from_frame: Float32[np.ndarray, "2 3"]

    @property
    def rgb(self) -> UInt8[np.ndarray, "224 224 3"]:
        """Its colours."""
        return self.samples.rgb()


@dataclass(frozen=True, slots=True, kw_only=True)
class CropQuality:
    """What a registered crop tells about the picture. What lies outside of it does not count.

    Attributes:
        sharpness: Variance of the Laplacian of the luma (0 to 1), times 1000.
        brightness: Mean luma, 0 to 1.
    """

    sharpness: float
    brightness: float


def similarity(
    source: Float32[np.ndarray, "points 2"], target: Float32[np.ndarray, "points 2"]
) -> Float32[np.ndarray, "2 3"]:
    """The rotation, scale and shift that bring `source` nearest to `target`, least squares; never a reflection.

    Umeyama, "Least-Squares Estimation of Transformation Parameters Between Two Point Patterns", IEEE TPAMI 1991,
    equations 40-42; in the plane the singular value decomposition reduces to one angle.

    Raises:
        ValueError: There are fewer than two points, or all points of `source` coincide.
    """
    return np.asarray(similarities(source[None], target)[0])


def similarities(
    sources: Float32[np.ndarray, "faces points 2"], target: Float32[np.ndarray, "points 2"]
) -> Float32[np.ndarray, "faces 2 3"]:
    """`similarity` of many faces to one target; that of each is the same in whatever company.

    Raises:
        ValueError: There are fewer than two points, or all points of a source coincide.
    """
    count = sources.shape[1]
    if count < 2:
        raise ValueError(f"a similarity needs at least 2 points, not {count}")
    # As complex numbers: rotation and scale are one factor.
    a, b = (points.astype(np.float64, order="C").view(np.complex128)[..., 0] for points in (sources, target))
    first, middle_b = a[:, :1], b.mean()
    a = a - first
    middle_a = a.mean(axis=1)
    spread = (a.real**2 + a.imag**2).sum(axis=1) - count * (middle_a.real**2 + middle_a.imag**2)
    if not (spread > 0).all():
        raise ValueError("all points of source coincide")
    turn = ((a.conj() * b).sum(axis=1) - count * middle_a.conj() * middle_b) / spread
    shift = middle_b - turn * (first[:, 0] + middle_a)
    return _matrices(turn, shift).astype(np.float32)


def _matrices(
    turn: Complex128[np.ndarray, " faces"], shift: Complex128[np.ndarray, " faces"]
) -> Float64[np.ndarray, "faces 2 3"]:
    rows = np.stack([turn.real, -turn.imag, shift.real, turn.imag, turn.real, shift.imag], axis=1)
    return np.asarray(rows.reshape(-1, 2, 3))


def _inverses(matrices: Float32[np.ndarray, "faces 2 3"]) -> Float64[np.ndarray, "faces 2 3"]:
    """What turns the similarities back."""
    exact = matrices.astype(np.float64)
    back = 1 / (exact[:, 0, 0] + 1j * exact[:, 1, 0])
    return _matrices(back, -back * (exact[:, 0, 2] + 1j * exact[:, 1, 2]))


def register(picture: Picture, landmarks_px: Float32[np.ndarray, "points 2"]) -> Crop:
    """The face, moved, turned and scaled onto the template by its inner 51 landmarks.

    Where the face is larger than the crop, crop pixels are averages, so that nothing aliases.

    Args:
        picture: The displayed picture.
        landmarks_px: Landmarks of any scheme; the first 68 are in iBUG order.

    Raises:
        ValueError: There are fewer than 68 landmarks, or they coincide.
    """
    return registered([(picture, landmarks_px)])[0]


def registered(faces: Sequence[tuple[Picture, Float32[np.ndarray, "points 2"]]]) -> list[Crop]:
    """`register` of many faces; the crop of each is the same in whatever company.

    Raises:
        ValueError: There are fewer than 68 landmarks, or they coincide.
    """
    if not faces:
        return []
    for _, landmarks_px in faces:
        if len(landmarks_px) < len(TEMPLATE68_PX):
            raise ValueError(f"landmarks_px has {len(landmarks_px)} points; a crop is registered by 68")
    inner = np.stack([landmarks_px[INNER_POINTS] for _, landmarks_px in faces])
    crops_from_frames = similarities(inner, TEMPLATE68_PX[INNER_POINTS])
    crops = []
    for (picture, _), there, back in zip(faces, crops_from_frames, _inverses(crops_from_frames), strict=True):
        square = picture.square(back, CROP_SIZE_PX, averaged=True)
        samples = square.samples
        crops.append(Crop(samples=samples, light=samples.light(), inside=square.inside, crop_from_frame=there))
    return crops


def quality(crop: Crop) -> CropQuality:
    """Sharpness and brightness of a registered crop; both 0 where nothing of the picture is in it."""
    edges = cv2.Laplacian(crop.light, cv2.CV_16S)
    if crop.inside is None:
        return CropQuality(sharpness=_sharpness(edges, edges.size), brightness=cv2.mean(crop.light)[0] / 255)
    # A border of the picture is an edge, but says nothing about its sharpness.
    deep_inside = cv2.erode(crop.inside, _NEIGHBOURS, borderType=cv2.BORDER_REPLICATE)
    return CropQuality(
        sharpness=_sharpness(cv2.bitwise_and(edges, edges, mask=deep_inside), cv2.countNonZero(deep_inside)),
        brightness=cv2.mean(crop.light, mask=crop.inside)[0] / 255,
    )


def _sharpness(edges: Int16[np.ndarray, "224 224"], count: int) -> float:
    """From so many values of a Laplacian; the others are 0."""
    if not count:
        return 0.0
    # From sums that OpenCV forms in a tenth of the time of its `meanStdDev`, and exactly: they are of integers.
    variance = cv2.norm(edges, cv2.NORM_L2SQR) / count - (cv2.mean(edges)[0] * edges.size / count) ** 2
    return 1000 * max(variance, 0.0) / 255**2


def encoded(crop: Crop, *, jpeg_quality: int) -> bytes:
    """The crop as a JPEG file.

    Raises:
        ValueError: The quality is not between 1 and 100.
    """
    if not 1 <= jpeg_quality <= 100:
        raise ValueError(f"jpeg_quality={jpeg_quality} is not between 1 and 100")
    if isinstance(crop.samples, Planes):
        # A JPEG file has such planes: they need not become colours in between.
        luma, blue, red = crop.samples.jfif(crop.light)
        data = simplejpeg.encode_jpeg_yuv_planes(luma, blue, red, quality=jpeg_quality)
    else:
        rgb = np.ascontiguousarray(crop.rgb)
        data = simplejpeg.encode_jpeg(rgb, quality=jpeg_quality, colorspace="RGB", colorsubsampling="420")
    return bytes(data)
