"""Frames of a video, each with what is known of its shots when it comes."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from pipeline.faces.dissolves import Transition
from pipeline.faces.shots import Glance, ShotDetector, glances
from pipeline.faces.video import OpenVideo, VideoFrame


@dataclass(frozen=True, slots=True)
class ShotFrame:
    """A frame, and what its shot detector says of it.

    Attributes:
        frame: The frame.
        looks_new: Whether it looks unlike the one before it, as after a cut.
        settled: Transitions that are certain with it, in order.
        settled_before: No transition that begins before this frame can still be found.
    """

    frame: VideoFrame
    looks_new: bool
    settled: tuple[Transition, ...]
    settled_before: int

    def kept(self) -> "ShotFrame":
        """The same, with a picture of its own that stays when the next frame comes."""
        return replace(self, frame=replace(self.frame, picture=self.frame.picture.kept()))


class ShotFrames:
    """The frames of a video and its shots, in blocks; iterate over it once.

    Args:
        video: The video.
        on_frame: Called with the time of each frame as soon as it is decoded.

    Attributes:
        decode_s: Wall time spent waiting for frames, seconds.
        shots_s: Wall time spent on shots.
    """

    def __init__(self, video: OpenVideo, on_frame: Callable[[float], None] | None = None) -> None:
        self.decode_s = self.shots_s = 0.0
        self._video, self._on_frame = video, on_frame
        self._shots = ShotDetector()

    def __iter__(self) -> Iterator[list[ShotFrame]]:
        """The frames in presentation order; those of a block stay until the next one is taken.

        Raises:
            VideoError: As the video raises it.
        """
        blocks = self._video.blocks(on_frame=self._on_frame)
        while True:
            start = time.perf_counter()
            block = next(blocks, None)
            decoded = time.perf_counter()
            self.decode_s += decoded - start
            if block is None:
                return
            seen = list(map(self._seen, block, glances([frame.picture for frame in block])))
            self.shots_s += time.perf_counter() - decoded
            yield seen

    def _seen(self, frame: VideoFrame, glance: Glance) -> ShotFrame:
        settled = self._shots.see(glance, index=frame.index, pts_s=frame.pts_s)
        return ShotFrame(frame, self._shots.looks_new, tuple(settled), self._shots.settled_before(frame.index))

    def finish(self) -> list[Transition]:
        """Transitions that were waiting for further frames when the video ended."""
        return self._shots.finish()
