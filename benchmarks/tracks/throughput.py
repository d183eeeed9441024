"""Frames a second on one core, and what the rest of the worker adds to its stages."""

import contextlib
import os
import resource
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.tracks.setting import Setting, print_table
from facevid import assets
from pipeline.faces.landmarks import open_detector
from pipeline.faces.options import FacesOptions, Scheme
from pipeline.faces.probe import ffmpeg_program
from pipeline.faces.tracks import FacesResult, track_faces

SOURCE = "talk_512_30fps.mp4"
MINUTES: dict[Scheme, float] = {"mediapipe68": 10.0, "mediapipe_dense": 2.0}
QUICK_MINUTES = 0.5


class NoCrops:
    """Takes crops and keeps nothing: writing them is not the faces' cost."""

    def add(self, *_: object) -> None:
        pass


def measure(setting: Setting) -> dict[str, float]:
    rows, values = [], {}
    for scheme, minutes in MINUTES.items():
        length = QUICK_MINUTES if setting.quick else minutes
        video = looped(setting.videos / SOURCE, setting.work, minutes=length)
        result, wall_s, cpu_s = _timed(video, scheme)
        stages = {name: getattr(result.seconds, name) for name in result.seconds.__dataclass_fields__}
        frames = result.frames_read
        per_frame = " ".join(f"{name} {1000 * s / frames:.2f}" for name, s in stages.items())
        overhead = wall_s / sum(stages.values())
        rows.append((scheme, f"{frames / wall_s:.1f}", f"{frames / cpu_s:.1f}", f"{overhead:.3f}", per_frame))
        if scheme == "mediapipe68":
            values = {"frames_per_s_core": frames / wall_s, "overhead_ratio": overhead}
    print_table(("scheme", "frames/s", "per CPU second", "wall/stages", "ms per frame"), rows)
    return values


def looped(source: Path, folder: Path, *, minutes: float) -> Path:
    """A long video made of a short one, without encoding it again."""
    path = folder / f"{source.stem}-{minutes:g}min.mp4"
    if not path.exists():
        command = [ffmpeg_program(), "-v", "error", "-nostdin", "-y", "-stream_loop", "-1", "-i", str(source), "-an"]
        partial = path.with_suffix(".partial.mp4")
        subprocess.run([*command, "-c", "copy", "-t", f"{60 * minutes:g}", str(partial)], check=True)
        partial.rename(path)
    return path


def _timed(video: Path, scheme: Scheme) -> tuple[FacesResult, float, float]:
    options = FacesOptions(scheme=scheme)
    detector = open_detector(options, assets.fetch_landmark_networks())
    with on_one_core():
        wall_s, cpu_s = time.perf_counter(), cpu_time_s()
        result = track_faces(video, detector, options, NoCrops())
        return result, time.perf_counter() - wall_s, cpu_time_s() - cpu_s


@contextlib.contextmanager
def on_one_core() -> Iterator[None]:
    """This process and those that it starts share one core: decoding is part of the work."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def cpu_time_s() -> float:
    """CPU time of this process and of those that it has waited for, as ffmpeg."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)
