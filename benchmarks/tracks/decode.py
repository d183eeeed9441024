"""Decoding into our buffer beside ffmpeg that throws its frames away.

ffmpeg converts to rgb24 inside its process and writes nothing; we read planes through a pipe, and what is asked for as
RGB is converted here. With rgb24 through the pipe, as most programs read videos, twice the bytes are written and read.
"""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.tracks.setting import Setting, print_table, say
from benchmarks.tracks.timed import SOURCE, cpu_time_s, looped
from pipeline.faces.probe import ffmpeg_program, probe
from pipeline.faces.video import open_video

_ROUNDS = 3


def measure(setting: Setting) -> dict[str, float]:
    video = looped(setting.videos / SOURCE, setting.work, minutes=0.5 if setting.quick else 2.0)
    tasks: dict[str, Callable[[], object]] = {
        "ffmpeg yuv420p": lambda: decode_only(video, "yuv420p"),
        "ours, planes": lambda: _read(video, rgb=False),
        "ffmpeg rgb24": lambda: decode_only(video, "rgb24"),
        "ours, all of it as RGB": lambda: _read(video, rgb=True),
        "rgb24 through a pipe": lambda: _piped(video),
    }
    frames = _read(video, rgb=False)
    best, least_cpu = dict.fromkeys(tasks, float("inf")), dict.fromkeys(tasks, float("inf"))
    for number in range(_ROUNDS):  # side by side, so that what disturbs one disturbs all
        say(f"round {number + 1} of {_ROUNDS}")
        for name, task in tasks.items():
            begun, begun_cpu = time.perf_counter(), cpu_time_s()
            task()
            best[name] = min(best[name], time.perf_counter() - begun)
            least_cpu[name] = min(least_cpu[name], cpu_time_s() - begun_cpu)
    print_table(
        ("decoding", "frames/s", "CPU ms a frame"),
        [(name, f"{frames / best[name]:.0f}", f"{1000 * least_cpu[name] / frames:.2f}") for name in tasks],
    )
    planes = best["ffmpeg yuv420p"] / best["ours, planes"]
    rgb = best["ffmpeg rgb24"] / best["ours, all of it as RGB"]
    print(f"planes {planes:.2f} of ffmpeg, RGB {rgb:.2f} of ffmpeg")
    return {"decode_ratio": planes, "decode_rgb_ratio": rgb}


def decode_only(video: Path, pixels: str) -> None:
    """Let ffmpeg decode a video on one thread and throw its frames away."""
    command = [ffmpeg_program(), "-v", "error", "-nostdin", "-threads", "1", "-i", str(video), "-an"]
    subprocess.run([*command, "-pix_fmt", pixels, "-filter_threads", "1", "-f", "null", "-"], check=True)


def _read(video: Path, *, rgb: bool) -> int:
    frames = 0
    with open_video(video) as opened:
        for frame in opened:
            frames += 1
            if rgb:
                _ = frame.rgb
    return frames


def _piped(video: Path) -> None:
    info = probe(video)
    buffer = memoryview(np.empty(3 * info.width_px * info.height_px, np.uint8))
    command = [ffmpeg_program(), "-v", "error", "-nostdin", "-threads", "1", "-i", str(video), "-an"]
    command += ["-pix_fmt", "rgb24", "-filter_threads", "1", "-f", "rawvideo", "pipe:1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while process.stdout.readinto(buffer):  # type: ignore[attr-defined]
            pass
