"""Frames of images or a video with their face and its crop, gathered to batches for the networks."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import UInt8

from pipeline.faces.errors import VideoError
from pipeline.faces.landmarks import FaceLandmarks
from pipeline.faces.picture import Picture
from pipeline.faces.shot_frames import ShotFrame, ShotFrames
from pipeline.faces.video import OpenVideo
from training.face_reader import FaceReader

_MOST_HELD_BYTES = 256_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenFrame:
    """One frame on its way through: kept until its batch is full.

    Attributes:
        source: File name of the image or video.
        index: Index of the frame.
        pts_s: Its time.
        face: The face, or None.
        crop: Its registered crop, or None.
        rgb: A copy of the frame where it is to be drawn on, or None.
    """

    source: str
    index: int
    pts_s: float
    face: FaceLandmarks | None
    crop: UInt8[np.ndarray, "224 224 3"] | None
    rgb: UInt8[np.ndarray, "height width 3"] | None


def seen_image(
    reader: FaceReader, rgb: UInt8[np.ndarray, "height width 3"], *, source: str, keep: bool
) -> SeenFrame:
    """An image, as a video of one frame.

    Args:
        reader: Finds the face and makes the crop.
        rgb: The image.
        source: Its file name.
        keep: Whether it is to be drawn on.
    """
    picture = Picture(rgb)
    face = reader.find(picture)
    crop = None if face is None else reader.crop(picture, face)
    return SeenFrame(source=source, index=0, pts_s=0.0, face=face, crop=crop, rgb=rgb if keep else None)


def batched(frames: Iterable[SeenFrame], batch_size: int) -> Iterator[list[SeenFrame]]:
    """Frames in batches; a batch also ends at 256 MB of pictures that are to be drawn on.

    Raises:
        VideoError: As the frames raise it, after those before the damage.
    """
    batch: list[SeenFrame] = []
    held_bytes = 0
    try:
        for seen in frames:
            batch.append(seen)
            held_bytes += 0 if seen.rgb is None else seen.rgb.nbytes
            if len(batch) == batch_size or held_bytes > _MOST_HELD_BYTES:
                yield batch
                batch, held_bytes = [], 0
    except VideoError:
        # The frames before the damage come first, then the damage.
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def seen_frames(reader: FaceReader, video: OpenVideo, *, source: str, keep: bool) -> Iterator[SeenFrame]:
    """The frames of a video; one face is followed through each shot.

    Frames are looked at in the blocks of `pipeline.faces.tracks`, so that lids, and with them crops, are those that a
    build finds.

    Args:
        reader: Follows the face and makes the crops.
        video: The video.
        source: Its file name.
        keep: Whether the frames are to be drawn on.

    Raises:
        VideoError: As the video raises it.
    """
    follower = reader.follower()
    for block in ShotFrames(video):
        for part in _parts(block):
            if part[0].looks_new:
                follower.reset()
            looks = [
                (shot_frame.frame.picture, follower.find(shot_frame.frame.picture, looks_new=shot_frame.looks_new))
                for shot_frame in part
            ]
            for shot_frame, seen in zip(part, follower.with_lids(looks), strict=True):
                frame = shot_frame.frame
                face = next(iter(seen.found.values()), None)
                yield SeenFrame(
                    source=source,
                    index=frame.index,
                    pts_s=frame.pts_s,
                    face=face,
                    crop=None if face is None else reader.crop(frame.picture, face),
                    rgb=frame.rgb if keep else None,
                )


def _parts(block: Sequence[ShotFrame]) -> Iterator[Sequence[ShotFrame]]:
    """Of a block, the frames up to each one that looks new: no eye is explained by one of another shot."""
    firsts = [place for place, shot_frame in enumerate(block) if shot_frame.looks_new and place > 0]
    for begin, end in pairwise([0, *firsts, len(block)]):
        yield block[begin:end]
