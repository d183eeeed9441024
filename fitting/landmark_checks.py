"""What landmarks of strangers must be before they are fitted: as many as wanted, in pixels, of that picture."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from fitting.face_model import FaceModel
from fitting.landmark_file import LandmarkFile
from fitting.landmark_video import LandmarkVideo
from fitting.mediapipe_mesh import in_pixels
from fitting.tracks import LandmarkSequence

_FEWEST_PX = 4.0
"""No face that anybody marked is smaller; what is smaller is no pixels."""
_LARGEST_SHARE = 4.0
"""A face may be larger than its picture, but not by so much."""
_MOST_OUTSIDE = 0.5
"""Faces at the picture's border have landmarks beyond it, but not the most of them all the time."""


def check_points(landmarks: Path, read: LandmarkFile, model: FaceModel) -> None:
    """Whether there are as many points as the face model has of the scheme.

    Raises:
        ValueError: There are not.
    """
    scheme, seen = read.sequence.scheme, read.sequence.weight.shape[1]
    wanted = len(model.embedding(scheme).weights)
    if seen != wanted:
        hint = "give points that are always missing as NaN"
        if seen == wanted + 1 and not read.sequence.weight[:, 0].any():
            hint = "point 0 is never there: points count from 0"
        raise ValueError(f"{landmarks} has {seen} points a frame; scheme {scheme!r} of face model {model.name!r} has "
                         f"{wanted} ({hint})")  # fmt: skip


def _widest(sequence: LandmarkSequence) -> float:
    """The largest width or height of a face in any frame; 0 where there is none."""
    known = sequence.observed_px[~np.isnan(sequence.observed_px).all(axis=(1, 2))]
    return float((np.nanmax(known, axis=1) - np.nanmin(known, axis=1)).max(initial=0.0))


def pixels_of_shares(landmarks: Path, sequence: LandmarkSequence) -> LandmarkSequence:
    """Landmarks in shares of the picture as landmarks in pixels.

    Raises:
        ValueError: The size of the picture is not known, or they are no such shares.
    """
    if sequence.picture_px is None:
        raise ValueError(f"normalised=True needs the size of the picture, which {landmarks} does not say: give it as "
                         "--picture-px WIDTH HEIGHT (from Python, picture_px=)")  # fmt: skip
    if (widest := _widest(sequence)) > _LARGEST_SHARE:
        raise ValueError(f"normalised=True, but the landmarks of a frame in {landmarks} lie up to {widest:.4g} apart: "
                         "they are no shares of the picture; if they are pixels, leave it out")  # fmt: skip
    observed, smoothed = (
        in_pixels(points.astype(np.float64), sequence.picture_px).astype(np.float32)
        for points in (sequence.observed_px, sequence.smoothed_px)
    )
    return replace(sequence, observed_px=observed, smoothed_px=smoothed)


def check_pixels(landmarks: Path, sequence: LandmarkSequence) -> None:
    """Whether landmarks can be pixels.

    Raises:
        ValueError: All faces are smaller than any that somebody marked.
    """
    if 0 < (widest_px := _widest(sequence)) < _FEWEST_PX:
        raise ValueError(f"{landmarks}: the landmarks of a frame lie at most {widest_px:.3g} apart, but they must be "
                         "pixels; shares of the picture, as MediaPipe gives them, are taken with --normalised and "
                         "--picture-px WIDTH HEIGHT (from Python, normalised=True)")  # fmt: skip


def size_of_picture(
    landmarks: Path, of_file: tuple[int, int] | None, given: tuple[int, int] | None, video: LandmarkVideo | None
) -> tuple[int, int] | None:
    """The size of the picture, which all that say it must agree on.

    Args:
        landmarks: The file of landmarks.
        of_file: What it says.
        given: What the user says.
        video: Says it too.

    Raises:
        ValueError: They do not agree, or what is given is no size.
    """
    if given is not None and min(given) < 1:
        raise ValueError(f"picture_px={given} is no width and height")
    said = [("picture_px", given)] if given is not None else []
    said += [(f"video={str(video.path)!r}", video.picture_px)] if video is not None else []
    said += [(str(landmarks), of_file)] if of_file is not None else []
    for name, other in said[1:]:
        one, size = said[0]
        if other != size:
            raise ValueError(
                f"{one} says that the picture has {size[0]} x {size[1]} pixels, but {name} says {other[0]} x {other[1]}"
                ": give the one that the landmarks were found in"
            )
    return said[0][1] if said else None


def check_picture(landmarks: Path, sequence: LandmarkSequence) -> None:
    """Whether landmarks can have been found in their picture, if its size is known.

    Raises:
        ValueError: The most of them lie outside.
    """
    if sequence.picture_px is None:
        return
    known_px = sequence.observed_px[sequence.weight > 0]
    beyond = (known_px < 0) | (known_px > np.array(sequence.picture_px))
    outside = float(np.any(beyond, axis=-1).mean()) if len(known_px) else 0.0
    if outside > _MOST_OUTSIDE:
        width, height = sequence.picture_px
        raise ValueError(f"{landmarks}: {outside:.0%} of the landmarks lie outside the picture, which has {width} x "
                         f"{height} pixels: were they found in one of another size?")  # fmt: skip
