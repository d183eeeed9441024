"""Memory of one worker that reads a long 1080p video, over time."""

import multiprocessing
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.tracks.setting import Setting
from benchmarks.tracks.throughput import SOURCE, looped
from facevid import assets
from pipeline.faces.landmarks import open_detector
from pipeline.faces.options import FacesOptions
from pipeline.faces.probe import ffmpeg_program
from pipeline.faces.tracks import track_faces
from pipeline.items import CropWriter

FLAT_MIB = 50.0
"""Largest growth from the second tenth of the video to the last."""
_EVERY_S = 0.5


def measure(setting: Setting) -> dict[str, float]:
    video = looped(_large(setting), setting.work, minutes=0.5 if setting.quick else 10.0)
    worker = multiprocessing.get_context("spawn").Process(target=_work, args=(video,))
    worker.start()
    sizes_mib = []
    while worker.is_alive():
        sizes_mib.append(_tree_mib(worker.pid or 0))
        time.sleep(_EVERY_S)
    if worker.exitcode:
        raise RuntimeError(f"the worker ended with exitcode={worker.exitcode}")
    tenths = [float(np.max(part)) for part in np.array_split(sizes_mib, 10)]
    print("MiB of worker and decoder, tenth by tenth: " + " ".join(f"{size:.0f}" for size in tenths))
    growth = tenths[-1] - tenths[1]
    print(f"growth {growth:+.0f} MiB (must be at most {FLAT_MIB:.0f}): {'flat' if growth <= FLAT_MIB else 'NOT FLAT'}")
    return {"peak_rss_mib": max(tenths)}


def _work(video: Path) -> None:
    options = FacesOptions()
    detector = open_detector(options, assets.fetch_landmark_networks())
    with tempfile.TemporaryDirectory() as folder:
        crops = CropWriter(Path(folder))
        track_faces(video, detector, options, crops)
        crops.close()


def _tree_mib(root: int) -> float:
    """Resident memory of a process and its children; pages that they share count once for each."""
    children = Path(f"/proc/{root}/task/{root}/children")
    try:
        pids = [root, *map(int, children.read_text().split())]
        status = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    except (FileNotFoundError, ProcessLookupError):  # ended just now
        return 0.0
    kib = [line.split()[1] for text in status for line in text.splitlines() if line.startswith("VmRSS")]
    return sum(map(int, kib)) / 1024


def _large(setting: Setting) -> Path:
    path = setting.work / "talk-1080p.mp4"
    if not path.exists():
        graph = "scale=1080:1080,pad=1920:1080:420:0,setsar=1"
        command = [ffmpeg_program(), "-v", "error", "-nostdin", "-y", "-i", str(setting.videos / SOURCE), "-an"]
        partial = path.with_suffix(".partial.mp4")
        subprocess.run([*command, "-vf", graph, "-preset", "veryfast", str(partial)], check=True)
        partial.rename(path)
    return path
