"""Frames of a video, one after the other, with their true presentation times.

ffmpeg runs as a child process. Frames come through its standard output into one reused buffer; presentation times
through a second pipe, written by ffmpeg's encoder statistics (one line per frame, before the frame itself), so that
variable frame rates stay what they are. Rotation is applied by ffmpeg, non-square pixels are scaled to square ones
(the height stays), colours go to RGB by the matrix that the file names (BT.601 where it names none).

When is a damaged file good enough? A broken frame here and there is a fact of life on the internet and costs only
itself. `CorruptVideoError` is for files of which a user would say that they are broken: no frame can be decoded,
ffmpeg gives up, more than 5% of the frames are damaged, or less than 90% of the duration that the container
promises is there and ffmpeg complained (without a complaint the sound is merely longer than the pictures).
"""

import contextlib
import fcntl
import os
import re
import subprocess
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import UInt8

from pipeline.faces.errors import CorruptVideoError
from pipeline.faces.probe import VideoInfo, ffmpeg_program, input_arguments, probe

MAX_DAMAGED = 0.05
"""Largest share of damaged frames in a file that still counts as good."""
MIN_COMPLETE = 0.9
"""Smallest share of the promised duration in a file that still counts as complete."""

_PIPE_BYTES = 1 << 20
_SMALLEST_STEP_S = 1e-3


@dataclass(frozen=True, slots=True)
class VideoFrame:
    """One displayed picture.

    Attributes:
        index: Its place in presentation order, from 0.
        pts_s: Presentation time on the file's clock, seconds, strictly increasing. The first frame is at 0, or later
            where the sound starts before the pictures.
        rgb: The picture. A view into a buffer that the next frame overwrites: copy what must stay.
    """

    index: int
    pts_s: float
    rgb: UInt8[np.ndarray, "height width 3"]


class OpenVideo:
    """A video that is being decoded; iterate over it once. Made by `open_video`.

    Attributes:
        info: What the file says about itself.
        damaged_frames: Frames so far that ffmpeg found damaged or could not decode.
    """

    def __init__(self, path: Path, info: VideoInfo, *, threads: int) -> None:
        self.info = info
        self.damaged_frames = 0
        self._name = path.name
        self._complaints: deque[str] = deque(maxlen=20)
        times, write_end = os.pipe()
        try:
            self._process = subprocess.Popen(
                _command(path, info, times_pipe=write_end, threads=threads),
                stdin=subprocess.DEVNULL,
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
        self._listener = threading.Thread(target=self._listen, args=(self._process.stderr,), daemon=True)
        self._listener.start()

    def __iter__(self) -> Iterator[VideoFrame]:
        """Frames in presentation order.

        Raises:
            CorruptVideoError: See the module; raised at the end, after the frames that could be decoded.
        """
        buffer = np.empty((self.info.height_px, self.info.width_px, 3), dtype=np.uint8)
        target = memoryview(buffer.data).cast("B")
        index, last_s = 0, -np.inf
        while self._read_picture(target):
            pts_s = max(self._read_time(), last_s + _SMALLEST_STEP_S)
            yield VideoFrame(index, pts_s, buffer)
            index, last_s = index + 1, pts_s
        self._check_end(index, last_s)

    def close(self) -> None:
        """End ffmpeg, whether or not it is done."""
        self._process.kill()
        self._process.wait()
        self._pictures.close()
        self._listener.join()
        self._times.close()

    def _read_picture(self, target: memoryview) -> bool:
        filled = 0
        while filled < len(target):
            got = self._pictures.readinto(target[filled:])  # type: ignore[attr-defined]
            if not got:
                return False
            filled += got
        return True

    def _read_time(self) -> float:
        words = self._times.readline().split()
        if len(words) != 2:
            raise CorruptVideoError(f"{self._name}: ffmpeg gave a frame without its time")
        return float(int(words[0]) * Fraction(words[1].decode()))

    def _listen(self, stderr: IO[bytes]) -> None:
        # Runs in a thread: were nobody to read, a damaged file's complaints would fill the pipe and stop ffmpeg.
        with stderr:
            for raw in stderr:
                line = raw.decode("utf-8", "replace").strip()
                if "corrupt decoded frame" in line or "Error submitting packet to decoder" in line:
                    self.damaged_frames += 1
                if "[error]" in line or "[fatal]" in line or "corrupt" in line:
                    # Without the tags in front, whose addresses change from run to run.
                    self._complaints.append(re.sub(r"^(\[[^\]]*\] )+", "", line))

    def _check_end(self, frames: int, last_s: float) -> None:
        code = self._process.wait()
        self._listener.join()
        last = f" ({self._complaints[-1]})" if self._complaints else ""
        if not frames:
            raise CorruptVideoError(f"{self._name}: no frame can be decoded{last}")
        if code:
            raise CorruptVideoError(f"{self._name}: ffmpeg gave up after {frames} frames{last}")
        if self.damaged_frames > MAX_DAMAGED * frames:
            raise CorruptVideoError(f"{self._name}: {self.damaged_frames} of {frames} frames are damaged{last}")
        promised = self.info.duration_s
        seen_s = last_s + 1 / max(self.info.fps, 1.0)
        if promised and self._complaints and seen_s < MIN_COMPLETE * promised:
            raise CorruptVideoError(f"{self._name} ends after {seen_s:.1f} s of {promised:.1f} s{last}")


@contextlib.contextmanager
def open_video(path: Path, *, threads: int = 1) -> Iterator[OpenVideo]:
    """A video to iterate over; ffmpeg ends with the block, however it is left.

    Args:
        path: A local file.
        threads: Threads of the decoder.

    Raises:
        FileNotFoundError: There is no such file.
        VideoError: The file is damaged, no video, or has no video stream.
    """
    video = OpenVideo(path, probe(path), threads=threads)
    try:
        yield video
    finally:
        video.close()


def _command(path: Path, info: VideoInfo, *, times_pipe: int, threads: int) -> list[str]:
    output = input_arguments(path, threads=threads).output(
        "pipe:1",
        **{
            "map": "0:V:0",
            "vf": f"scale={info.width_px}:{info.height_px},setsar=1,format=rgb24",
            "filter_threads": threads,
            "fps_mode": "passthrough",
            "enc_time_base:v:0": "demux",
            "stats_enc_pre:v:0": f"pipe:{times_pipe}",
            "stats_enc_pre_fmt:v:0": "{pts} {tb}",
            "f": "rawvideo",
        },
    )
    arguments: list[str] = output.get_args()
    return [ffmpeg_program(), "-nostdin", "-hide_banner", "-loglevel", "repeat+level+warning", *arguments]
