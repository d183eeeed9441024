"""What times are measured on, and how: one real video, as long as it takes, on one core."""

import contextlib
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

from pipeline.faces.probe import ffmpeg_program

SOURCE = "talk_512_30fps.mp4"


class NoCrops:
    """Takes crops and keeps nothing: writing them is not the faces' cost."""

    def add(self, *_: object) -> None:
        pass


def looped(source: Path, folder: Path, *, minutes: float) -> Path:
    """A long video made of a short one, without encoding it again."""
    path = folder / f"{source.stem}-{minutes:g}min.mp4"
    if not path.exists():
        command = [ffmpeg_program(), "-v", "error", "-nostdin", "-y", "-stream_loop", "-1", "-i", str(source), "-an"]
        partial = path.with_suffix(".partial.mp4")
        subprocess.run([*command, "-c", "copy", "-t", f"{60 * minutes:g}", str(partial)], check=True)
        partial.rename(path)
    return path


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
