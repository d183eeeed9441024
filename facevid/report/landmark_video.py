"""What a video tells the fit of landmarks that were found in it."""

import math
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from fitting.landmark_video import LandmarkVideo
from pipeline.faces.probe import VideoInfo, probe
from pipeline.faces.video import open_video

_REPORT_EVERY_S = 5.0
_MORE_FRAMES = 1.1
_MORE_FRAMES_MIN = 30
"""Containers tell duration and mean rate, and both may be a little short of the frames that come."""
_TIMES_HEIGHT_PX = 16
"""Pictures of which only the times are wanted need not come through the pipe in their size."""


def landmark_video(path: Path, *, first_frame: int | None, report: Callable[[str], None]) -> LandmarkVideo:
    """A video as the fit needs it; nothing but its header is read.

    Args:
        path: The video that the landmarks were found in.
        first_frame: What the file of landmarks calls its first frame; None is 1 for OpenFace, else 0.
        report: Receives progress lines, where times are read.

    Raises:
        FileNotFoundError: There is no such file.
        VideoError: It is no video that can be read.
    """
    info = probe(path)
    return LandmarkVideo(
        path=path,
        picture_px=(info.width_px, info.height_px),
        frame_times=partial(frame_times, path, report=report),
        most_frames=most_frames(info),
        first_frame=first_frame,
    )


def most_frames(info: VideoInfo) -> int | None:
    """How many frames a video may have at most, by what its container tells; None where it does not."""
    if info.duration_s is None or not info.fps:
        return None
    return _MORE_FRAMES_MIN + math.ceil(_MORE_FRAMES * info.duration_s * info.fps)


def frame_times(path: Path, frames: int, *, report: Callable[[str], None]) -> Float64[np.ndarray, " frames"]:
    """Presentation times of the first frames of a video, seconds, by decoding it: only so are they sure.

    Args:
        path: The video.
        frames: How many are wanted; there are fewer where the video ends.
        report: Receives progress lines.

    Raises:
        VideoError: The video cannot be read so far.
    """
    begun_s = told_s = time.monotonic()
    times_s: list[float] = []
    with open_video(path, height_px=_TIMES_HEIGHT_PX) as video:
        for frame in islice(video, frames):
            times_s.append(frame.pts_s)
            now_s = time.monotonic()
            if now_s - told_s > _REPORT_EVERY_S:
                told_s = now_s
                rate = len(times_s) / (now_s - begun_s)
                left_s = (frames - len(times_s)) / rate
                done = f"{len(times_s)} of {frames} frames of the video"
                report(f"times: {done}, {rate:.0f}/s, about {left_s:.0f} s left")
    return np.array(times_s, dtype=np.float64)
