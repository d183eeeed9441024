"""Frames of a video, one after the other, with their true presentation times.

ffmpeg runs as a child process. Frames come through its standard output into one reused buffer, for one frame or for a
block of them; presentation times through a second pipe, written by ffmpeg's encoder statistics (one line per frame,
before the frame itself), so that variable frame rates stay what they are. Rotation is applied by ffmpeg, non-square
pixels are scaled to square ones (the height stays). Pictures stay in luma and chroma planes, see
`pipeline.faces.picture`: half the bytes of RGB, and no work for the decoder.

Whether a damaged file is good enough is said in `pipeline.faces.complaints`.
"""

import contextlib
import fcntl
import functools
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import UInt8

from pipeline.faces.complaints import Complaints, require_good_end
from pipeline.faces.decoding import Decoding, decode_command
from pipeline.faces.errors import CorruptVideoError, VideoTooLargeError
from pipeline.faces.ffmpeg_process import PatientReader, start_ffmpeg
from pipeline.faces.limits import DecodeLimits
from pipeline.faces.picture import Picture
from pipeline.faces.planes import Planes
from pipeline.faces.probe import VideoInfo, probe

BLOCK_FRAMES, BLOCK_BYTES = 16, 32 << 20
"""How many frames are worked on at once, and of how many bytes; one at least.

Where blocks end decides which frames can explain an eye (`pipeline.faces.eye_changes`), so it is seen in the lids of a
dataset: whoever changes one of these raises `pipeline.job.FACES_VERSION`.
"""

_PIPE_BYTES = 1 << 20
_SMALLEST_STEP_S = 1e-3


@dataclass(frozen=True, slots=True)
class VideoFrame:
    """One displayed picture.

    Attributes:
        index: Its place in presentation order, from 0 at the first frame of the part that is read.
        pts_s: Presentation time on the file's clock, seconds, strictly increasing. The first frame of a file is at 0,
            or later where the sound starts before the pictures.
        picture: The picture. Its samples are in a buffer that the next frame, or the next block, overwrites.
    """

    index: int
    pts_s: float
    picture: Picture

    @property
    def rgb(self) -> UInt8[np.ndarray, "height width 3"]:
        """The whole picture in the size in which it was decoded, as RGB; it stays when the next frame comes."""
        return self.picture.rgb


class OpenVideo:
    """A video that is being decoded; iterate over it once. Made by `open_video`.

    Attributes:
        info: What the file says about itself.
    """

    def __init__(self, path: Path, info: VideoInfo, decoding: Decoding) -> None:
        self.info = info
        self._decoding = decoding
        self._name = path.name
        times, write_end = os.pipe()
        try:
            self._process = start_ffmpeg(
                decode_command(path, info, decoding, times_pipe=write_end),
                decoding.limits,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                pass_fds=(write_end,),
            )
        except BaseException:
            os.close(times)
            raise
        finally:
            os.close(write_end)
        self._times: IO[bytes] = os.fdopen(times, "rb")
        assert self._process.stdout is not None  # noqa: S101  # asked for above
        assert self._process.stderr is not None  # noqa: S101
        self._pictures = self._process.stdout
        with contextlib.suppress(OSError, AttributeError):  # a larger pipe is only faster
            fcntl.fcntl(self._pictures.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._reader = PatientReader(self._pictures, stall_s=decoding.limits.decoder_stall_s, name=self._name)
        self._complaints = Complaints(self._process.stderr, decoding.limits)

    @property
    def damaged_frames(self) -> int:
        """Frames so far that ffmpeg found damaged or could not decode."""
        return self._complaints.damaged_frames

    def __iter__(self) -> Iterator[VideoFrame]:
        """Frames in presentation order.

        Raises:
            CorruptVideoError: The file is broken, see `pipeline.faces.complaints`; raised after its last frame.
            VideoTooLargeError: There is more of it than its limits permit, whatever it promised.
            DecoderTimeoutError: No frame came for too long.
            DecoderMemoryError: The decoder needs too much memory.
            OutsideVideoError: The video has no frame in the part that was asked for.
        """
        for frames in self.blocks(1):
            yield from frames

    def blocks(
        self, most_frames: int = BLOCK_FRAMES, on_frame: Callable[[float], None] | None = None
    ) -> Iterator[list[VideoFrame]]:
        """The same frames, several at once: the pictures of a block stay until the next block comes.

        Who works on a block at a time lets the decoder work on one, too: where both share a core, the processor's
        caches keep what each of them needs.

        Args:
            most_frames: So many frames make a block; fewer where they would be more than `BLOCK_BYTES`.
            on_frame: Called with the time of each frame as soon as it is decoded: a block may be long in coming.

        Raises:
            VideoError: As when iterating over the frames.
        """
        wide, high = self._decoding.samples(self.info)
        frame_bytes = wide * high + 2 * ((wide + 1) // 2) * ((high + 1) // 2)
        buffer = np.empty((max(1, min(most_frames, BLOCK_BYTES // frame_bytes)), frame_bytes), dtype=np.uint8)
        targets = [(memoryview(samples.data), self._planes(samples, wide, high)) for samples in buffer]
        start_s, end_s = self._decoding.start_s or -np.inf, self._decoding.end_s or np.inf
        index, last_s = 0, -np.inf
        # A file without an index is decoded from its beginning, and what comes before the part is left out.
        more_s = 0.0 if self.info.seekable else max(0.0, start_s)
        ended = False
        while not ended:
            block = []
            for target, planes in targets:
                if ended := self._reader.fill(target, more_s=0.0 if index else more_s) < frame_bytes:
                    break
                last_s = max(self._read_time(), last_s + _SMALLEST_STEP_S)
                self._require_within_limits(index, last_s)
                if start_s <= last_s < end_s:
                    picture = Picture(planes, width_px=self.info.width_px, height_px=self.info.height_px)
                    block.append(VideoFrame(index, last_s, picture))
                    index += 1
                    if on_frame is not None:
                        on_frame(last_s)
            if block:
                yield block
        require_good_end(
            self._process, self._complaints, name=self._name, info=self.info, decoding=self._decoding, frames=index,
            last_s=last_s,
        )  # fmt: skip

    def _planes(self, samples: UInt8[np.ndarray, " bytes"], wide: int, high: int) -> Planes:
        half_wide, half_high = (wide + 1) // 2, (high + 1) // 2
        luma, blue, red = np.split(samples, (wide * high, wide * high + half_wide * half_high))
        return Planes(
            luma=luma.reshape(high, wide),
            blue=blue.reshape(half_high, half_wide),
            red=red.reshape(half_high, half_wide),
            matrix=self.info.matrix or "bt601",
        )

    def close(self) -> None:
        """End ffmpeg, whether or not it is done."""
        self._process.kill()
        self._process.wait()
        self._pictures.close()
        self._complaints.join()
        self._times.close()

    def _require_within_limits(self, index: int, last_s: float) -> None:
        limits = self._decoding.limits
        if index >= limits.max_frames:
            raise VideoTooLargeError(f"{self._name} has more frames than max_frames={limits.max_frames}")
        if last_s > limits.max_duration_s:
            raise VideoTooLargeError(f"{self._name} lasts longer than max_duration_s={limits.max_duration_s:g}")

    def _read_time(self) -> float:
        words = self._times.readline().split()
        if len(words) != 2:
            raise CorruptVideoError(f"{self._name}: ffmpeg gave a frame without its time")
        numerator, denominator = _time_base(words[1])
        return int(words[0]) * numerator / denominator


@functools.lru_cache(maxsize=8)
def _time_base(text: bytes) -> tuple[int, int]:
    return Fraction(text.decode()).as_integer_ratio()


@contextlib.contextmanager
def open_video(
    path: Path,
    *,
    start_s: float | None = None,
    end_s: float | None = None,
    height_px: int | None = None,
    fps: float | None = None,
    limits: DecodeLimits | None = None,
) -> Iterator[OpenVideo]:
    """A video, or a part of it, to iterate over; ffmpeg ends with the block, however it is left.

    The frames with `start_s <= pts_s < end_s` are exactly those of the whole video: the same times, the same pictures.
    Parts that meet share no frame and miss none.

    Args:
        path: A local file.
        start_s: Where the part begins on the file's clock, seconds; None for the beginning.
        end_s: Where it ends; None for the end.
        height_px: Decode to at most this height. Places in a picture stay those of the displayed one.
        fps: Read at most this many frames a second; the first one of each interval stays.
        limits: What the video may cost; the defaults where none are given.

    Raises:
        ValueError: An argument is out of its range.
        FileNotFoundError: There is no such file.
        VideoError: The file is damaged, no video, has no video stream, or goes beyond its limits.
    """
    limits = limits or DecodeLimits()
    decoding = Decoding(start_s=start_s, end_s=end_s, height_px=height_px, fps=fps, limits=limits)
    video = OpenVideo(path, probe(path, limits), decoding)
    try:
        yield video
    finally:
        video.close()
