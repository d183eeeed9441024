"""Decoding into our buffer beside ffmpeg that throws its frames away."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.tracks.setting import Setting, print_table
from benchmarks.tracks.throughput import SOURCE, looped
from pipeline.faces.probe import ffmpeg_program
from pipeline.faces.video import open_video

RGB_GOAL = 0.7
_ROUNDS = 3


def measure(setting: Setting) -> dict[str, float]:
    video = looped(setting.videos / SOURCE, setting.work, minutes=0.5 if setting.quick else 2.0)
    tasks: dict[str, Callable[[], object]] = {
        "ffmpeg yuv420p": lambda: _null(video, "yuv420p"),
        "ours, planes": lambda: _read(video, rgb=False),
        "ffmpeg rgb24": lambda: _null(video, "rgb24"),
        "ours, all of it as RGB": lambda: _read(video, rgb=True),
    }
    frames = _read(video, rgb=False)
    best = dict.fromkeys(tasks, float("inf"))
    for _ in range(_ROUNDS):  # side by side, so that what disturbs one disturbs all
        for name, task in tasks.items():
            begun = time.perf_counter()
            task()
            best[name] = min(best[name], time.perf_counter() - begun)
    rates = {name: frames / seconds for name, seconds in best.items()}
    planes = rates["ours, planes"] / rates["ffmpeg yuv420p"]
    rgb = rates["ours, all of it as RGB"] / rates["ffmpeg rgb24"]
    print_table(("decoding", "frames/s"), [(name, f"{rate:.0f}") for name, rate in rates.items()])
    print(f"planes {planes:.2f} of ffmpeg; RGB {rgb:.2f} of ffmpeg (must be {RGB_GOAL})")
    return {"decode_ratio": planes}


def _null(video: Path, pixels: str) -> None:
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
