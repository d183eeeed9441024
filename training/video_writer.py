"""Writes drawn frames as an MP4, through ffmpeg's standard input, keeping the times of the source."""

import contextlib
import secrets
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import UInt8

from pipeline.faces.probe import ffmpeg_program

_DEFAULT_FPS = 25.0
_MOST_FPS = 120.0


class VideoWriteError(Exception):
    """ffmpeg could not write the video."""


class VideoWriter:
    """Takes frames with their times and writes a video of constant rate, in which each shows at its time.

    Args:
        pipe: ffmpeg's standard input.
        fps: Frames per second.
    """

    def __init__(self, pipe: IO[bytes], fps: float) -> None:
        self._pipe, self._fps = pipe, fps
        self._last: bytes | None = None
        self._written = 0

    def add(self, rgb: UInt8[np.ndarray, "height width 3"], pts_s: float) -> None:
        """The next frame; until its time has come, the last one is repeated."""
        place = round(pts_s * self._fps)
        while self._last is not None and self._written < place:
            self._write(self._last)
        self._last = np.ascontiguousarray(rgb).tobytes()
        self._write(self._last)

    def _write(self, data: bytes) -> None:
        self._pipe.write(data)
        self._written += 1


@contextlib.contextmanager
def video_writer(path: Path, *, width: int, height: int, fps: float) -> Iterator[VideoWriter]:
    """A video to write to; the file appears under its name when the block ends well.

    Args:
        path: The MP4 file.
        width: Width of the frames in pixels; an odd one gets a black column.
        height: Height of the frames in pixels; an odd one gets a black row.
        fps: Frames per second; 25 is taken where the source does not tell (0).

    Raises:
        VideoWriteError: ffmpeg failed; the message is its own.
    """
    rate = min(fps, _MOST_FPS) if fps > 0 else _DEFAULT_FPS
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.parent / f".partial-{secrets.token_hex(8)}.mp4"
    command = [
        ffmpeg_program(), "-hide_banner", "-loglevel", "error", "-y",
        "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{rate:.6f}", "-i", "pipe:0",
        "-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-c:v", "libx264", "-preset", "veryfast", "-crf", "20",
        "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-threads", "1", f"file:{partial.absolute()}",
    ]
    # Complaints go to a file: nobody reads a pipe while frames are written, and a full one would stop ffmpeg.
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=complaints)
        assert process.stdin is not None  # noqa: S101  # asked for above
        try:
            yield VideoWriter(process.stdin, rate)
            process.stdin.close()
            if process.wait():
                raise VideoWriteError(f"{path.name}: {_tail(complaints)}")
            partial.replace(path)
        except BrokenPipeError as error:
            process.wait()
            raise VideoWriteError(f"{path.name}: {_tail(complaints)}") from error
        finally:
            process.kill()
            process.wait()
            with contextlib.suppress(BrokenPipeError):  # what is still in the buffer has nowhere to go
                process.stdin.close()
            partial.unlink(missing_ok=True)


def _tail(complaints: IO[bytes]) -> str:
    complaints.seek(0)
    lines = complaints.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "ffmpeg ended without a word"
