"""The video that landmarks were found in: which of its frames they are, and when these were shown."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

FrameTimes = Callable[[int], Float64[np.ndarray, " frames"]]
"""From a number of frames to the presentation times of that many from the video's first on, seconds, increasing;
fewer where the video has fewer, one at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LandmarkVideo:
    """What is known, before it is decoded, of the video that landmarks were found in.

    Attributes:
        path: Its file.
        picture_px: Width and height of its pictures.
        frame_times: Decodes it, where the file of landmarks does not say the times.
        most_frames: It has no more frames than so many; None where its container does not tell.
        first_frame: What the file of landmarks calls its first frame; None is 1 for OpenFace, else 0.
    """

    path: Path
    picture_px: tuple[int, int]
    frame_times: FrameTimes
    most_frames: int | None
    first_frame: int | None = None

    def check_frames(self, landmarks: Path, frame: Int64[np.ndarray, " frames"], first_frame: int) -> None:
        """Whether frames of the landmarks can be among those of the video, as far as its container tells.

        Args:
            landmarks: The file of landmarks, for the message.
            frame: The number of each of its frames.
            first_frame: What it calls the first frame of the video.

        Raises:
            ValueError: None of them can be.
        """
        if self.most_frames is not None:
            last = first_frame + self.most_frames - 1
            _require_one_among(landmarks, frame, first_frame, last, f"from {first_frame} to {last} at most")

    def times_s(
        self, landmarks: Path, frame: Int64[np.ndarray, " frames"], first_frame: int
    ) -> Float64[np.ndarray, " frames"]:
        """When the frames of the landmarks were shown, on the video's clock.

        Frames before the video's first, or after its last, get the times that a video would have which goes on at the
        median of its rates.

        Args:
            landmarks: The file of landmarks, for the message.
            frame: The number of each of its frames, increasing.
            first_frame: What it calls the first frame of the video.

        Raises:
            ValueError: None of the frames is in the video.
        """
        _require_one_among(landmarks, frame, first_frame, int(frame[-1]), f"from {first_frame} on")
        place = frame - first_frame
        shown_s = self.frame_times(max(2, int(place[-1]) + 1))  # of two at least, which tell a rate
        last = first_frame + len(shown_s) - 1
        _require_one_among(landmarks, frame, first_frame, last, f"from {first_frame} to {last}")
        inside = np.clip(place, 0, len(shown_s) - 1)
        step_s = float(np.median(np.diff(shown_s))) if len(shown_s) > 1 else 0.0
        if not step_s and len(frame) > 1:
            raise ValueError(f"video={str(self.path)!r} has one frame, which does not say when the others of "
                             f"{landmarks} were shown; give --fps")  # fmt: skip
        return np.asarray(shown_s[inside] + (place - inside) * step_s)


def _require_one_among(
    landmarks: Path, frame: Int64[np.ndarray, " frames"], first: int, last: int, those_of_video: str
) -> None:
    if not ((frame >= first) & (frame <= last)).any():
        raise ValueError(
            f"{landmarks} has the frames {frame[0]} to {frame[-1]}, but the video those {those_of_video}: is it "
            "another video, or --first-frame another?"
        )
