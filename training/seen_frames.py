"""Frames of an image or a video with their face and its crop, gathered to batches for the networks."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from pipeline.faces.errors import VideoError
from pipeline.faces.landmarks import FaceLandmarks
from pipeline.faces.picture import Picture
from pipeline.faces.shots import ShotDetector
from pipeline.faces.video import OpenVideo
from training.face_reader import FaceReader, read_image
from training.predict_options import PredictOptions

_MOST_HELD_BYTES = 256_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenFrame:
    """One frame on its way through: kept until its batch is full.

    Attributes:
        index: Index of the frame.
        pts_s: Its time.
        face: The face, or None.
        crop: Its registered crop, or None.
        rgb: A copy of the frame where it is to be drawn on, or None.
    """

    index: int
    pts_s: float
    face: FaceLandmarks | None
    crop: UInt8[np.ndarray, "224 224 3"] | None
    rgb: UInt8[np.ndarray, "height width 3"] | None


def seen_image(reader: FaceReader, path: Path, *, keep: bool) -> SeenFrame:
    """An image, as a video of one frame.

    Args:
        reader: Finds the face and makes the crop.
        path: Image file.
        keep: Whether it is to be drawn on.

    Raises:
        ValueError: The file is no image.
    """
    rgb = read_image(path)
    picture = Picture(rgb)
    face = reader.find(picture)
    crop = None if face is None else reader.crop(picture, face)
    return SeenFrame(index=0, pts_s=0.0, face=face, crop=crop, rgb=rgb if keep else None)


def seen_batches(
    reader: FaceReader, video: OpenVideo, options: PredictOptions, *, keep: bool
) -> Iterator[list[SeenFrame]]:
    """The frames of a video, in batches; one face is followed through each shot.

    Args:
        reader: Follows the face and makes the crops.
        video: The video.
        options: Uses `batch_size` and `max_frames`.
        keep: Whether the frames are to be drawn on; then a batch also ends at 256 MB of them.

    Raises:
        VideoError: As the video raises it, after the frames before the damage.
    """
    follower, shots = reader.follower(), ShotDetector()
    batch: list[SeenFrame] = []
    held_bytes = count = 0
    try:
        for frame in video:
            shots(frame.picture, index=frame.index, pts_s=frame.pts_s)
            if shots.looks_new:
                follower.reset()
            face = next(iter(follower(frame.picture, looks_new=shots.looks_new).found.values()), None)
            batch.append(
                SeenFrame(
                    index=frame.index,
                    pts_s=frame.pts_s,
                    face=face,
                    crop=None if face is None else reader.crop(frame.picture, face),
                    rgb=frame.rgb if keep else None,
                )
            )
            count += 1
            held_bytes += frame.rgb.nbytes if keep else 0
            full = len(batch) == options.batch_size or held_bytes > _MOST_HELD_BYTES
            last = count == options.max_frames
            if full or last:
                yield batch
                batch, held_bytes = [], 0
            if last:
                return
    except VideoError:
        # The frames before the damage come first, then the damage.
        if batch:
            yield batch
        raise
    if batch:
        yield batch
