"""What ffmpeg says while it decodes, and whether a file of which it said so is good enough.

A broken frame here and there is a fact of life on the internet and costs only itself. `CorruptVideoError` is for files
of which a user would say that they are broken: no frame can be decoded, ffmpeg gives up, more than 5% of the frames
are damaged, or less than 90% of the duration that the container promises is there and ffmpeg complained (without a
complaint the sound is merely longer than the pictures).
"""

import math
import re
import subprocess
import threading
from collections import deque
from typing import IO

from pipeline.faces.decoding import Decoding
from pipeline.faces.errors import CorruptVideoError, DecoderTimeoutError, OutsideVideoError, VideoTooLargeError
from pipeline.faces.ffmpeg_process import FfmpegProcess, how_it_ended
from pipeline.faces.limits import DecodeLimits
from pipeline.faces.probe import VideoInfo, refused_picture

MAX_DAMAGED = 0.05
"""Largest share of damaged frames in a file that still counts as good."""
MIN_COMPLETE = 0.9
"""Smallest share of the promised duration in a file that still counts as complete."""


class Complaints:
    """Listens to ffmpeg in a thread: were nobody to read, a damaged file's complaints would fill the pipe and stop it.

    Args:
        stderr: Its standard error; closed when it ends.
        limits: What the video may cost.

    Attributes:
        damaged_frames: Frames so far that it found damaged or could not decode.
        refused: What it said of a picture that is larger than its limits permit; empty if it did not.
        last: Its last complaints, the latest at the end.
    """

    def __init__(self, stderr: IO[bytes], limits: DecodeLimits) -> None:
        self.damaged_frames = 0
        self.refused = ""
        self.last: deque[str] = deque(maxlen=20)
        self._limits = limits
        self._listener = threading.Thread(target=self._listen, args=(stderr,), daemon=True)
        self._listener.start()

    def join(self) -> None:
        """Wait until all is heard; ffmpeg has ended, or is about to."""
        self._listener.join()

    def _listen(self, stderr: IO[bytes]) -> None:
        with stderr:
            for raw in stderr:
                line = raw.decode("utf-8", "replace").strip()
                if "corrupt decoded frame" in line or "Error submitting packet to decoder" in line:
                    self.damaged_frames += 1
                self.refused = self.refused or refused_picture(line, self._limits)
                if "[error]" in line or "[fatal]" in line or "corrupt" in line:
                    # Without the tags in front, whose addresses change from run to run.
                    self.last.append(re.sub(r"^(\[[^\]]*\] )+", "", line))


def require_good_end(
    process: FfmpegProcess,
    complaints: Complaints,
    *,
    name: str,
    info: VideoInfo,
    decoding: Decoding,
    frames: int,
    last_s: float,
) -> None:
    """Wait for the end of a decoder whose pictures have ended, and judge what it gave.

    Args:
        process: The decoder.
        complaints: What it said.
        name: The file's name, for messages.
        info: What the file says about itself.
        decoding: What was asked for.
        frames: How many frames of that came.
        last_s: Presentation time of the last frame, seconds.

    Raises:
        CorruptVideoError: See the module.
        VideoTooLargeError: Its pictures are too large to be decoded.
        DecoderTimeoutError: The decoder does not end, or used up its CPU time.
        DecoderMemoryError: The decoder needs too much memory.
        OutsideVideoError: The video has no frame in the part that was asked for.
    """
    try:
        code = process.wait(decoding.limits.decoder_stall_s)
    except subprocess.TimeoutExpired as error:
        raise DecoderTimeoutError(f"{name}: the decoder does not end") from error
    complaints.join()
    if broken := how_it_ended(process, complaints.last, name=name):
        raise broken
    last = f" ({complaints.last[-1]})" if complaints.last else ""
    part = decoding.part()
    if part and not frames and not code and not complaints.last:
        lasts = f"; it lasts {info.duration_s:.1f} s" if info.duration_s is not None else ""
        raise OutsideVideoError(f"{name} has no frame {part}{lasts}")
    if not frames and complaints.refused:
        raise VideoTooLargeError(f"{name} {complaints.refused}")
    if not frames:
        raise CorruptVideoError(f"{name}: no frame can be decoded{last}")
    if code:
        raise CorruptVideoError(f"{name}: ffmpeg gave up after {frames} frames{last}")
    if complaints.damaged_frames > MAX_DAMAGED * frames:
        raise CorruptVideoError(f"{name}: {complaints.damaged_frames} of {frames} frames are damaged{last}")
    if info.duration_s is None or not complaints.last:
        return
    start_s = decoding.start_s or 0.0
    promised_s = min(info.duration_s, decoding.end_s or math.inf) - start_s
    seen_s = last_s - start_s + 1 / max(info.fps, 1.0)
    if seen_s < MIN_COMPLETE * promised_s:
        raise CorruptVideoError(f"{name} ends after {seen_s:.1f} s of {promised_s:.1f} s{last}")
