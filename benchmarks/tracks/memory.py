"""Memory of one worker that searches a long 1080p video span by span and fits it, over time."""

import multiprocessing
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tracks.setting import Setting, print_table, say
from benchmarks.tracks.timed import SOURCE, looped
from facevid import assets
from fitting.face_model import DEFAULT_MODEL_PATH, load_face_model
from fitting.solver import fit_tracks
from pipeline.config import BuildOptions, FetchOptions
from pipeline.desk import Desk, SpanOfRow
from pipeline.faces.landmarks import open_detector
from pipeline.faces.options import FacesOptions
from pipeline.faces.probe import ffmpeg_program
from pipeline.faces.tracks import track_faces
from pipeline.fetch import Fetcher
from pipeline.fit_spans import fit_spans
from pipeline.job import Job
from pipeline.label import fetch_row, find_faces
from pipeline.manifest import ManifestRow
from pipeline.progress import Counters
from pipeline.row_state import row_state
from pipeline.store import Store

MINUTES, QUICK_MINUTES = 10.0, 2.0
FLAT_MIB = 50.0
"""Largest growth of a span's peak from the second span to the last."""
_EVERY_S = 0.5
_QUICK_SPAN_S = 30.0
_FIT = -1


def measure(setting: Setting) -> dict[str, float]:
    minutes = QUICK_MINUTES if setting.quick else MINUTES
    video = looped(_large(setting), setting.work, minutes=minutes)
    context = multiprocessing.get_context("spawn")
    doing = context.Value("i", 0)
    span_s = _QUICK_SPAN_S if setting.quick else FacesOptions().span_s
    worker = context.Process(target=_work, args=(video, span_s, doing))
    worker.start()
    peaks_mib: dict[int, float] = {}
    sizes_mib, begun = [], time.monotonic()
    spans, said = max(1, round(60 * minutes / span_s)), None
    while worker.is_alive():
        size_mib = _tree_mib(worker.pid or 0)
        if doing.value != said:
            said = doing.value
            say("fitting it all" if said == _FIT else f"searching span {said} of {spans}")
        peaks_mib[doing.value] = max(peaks_mib.get(doing.value, 0.0), size_mib)
        if doing.value != _FIT and size_mib:
            sizes_mib.append((time.monotonic() - begun, size_mib))
        time.sleep(_EVERY_S)
    if worker.exitcode:
        raise RuntimeError(f"the worker ended with exitcode={worker.exitcode}")
    searching = [peak for doing, peak in sorted(peaks_mib.items()) if doing != _FIT]
    rows = [(f"searching span {number}", f"{peak:.0f}") for number, peak in enumerate(searching)]
    print_table(("worker and its decoder", "peak, MiB"), [*rows, ("fitting it all", f"{peaks_mib[_FIT]:.0f}")])
    growth = searching[-1] - searching[1]
    times_s, sizes = np.array(sizes_mib[len(sizes_mib) // 4 :]).T
    # Minutes of video, not of this machine.
    slope = np.polyfit(times_s / (sizes_mib[-1][0] / minutes), sizes, 1)[0]
    print(f"from span 1 to the last {growth:+.0f} MiB; {slope:+.1f} MiB per minute of video after the first quarter")
    return {"peak_rss_mib": max(peaks_mib.values()), "memory_growth_mib": growth}


def _work(video: Path, span_s: float, doing: Any) -> None:
    options = BuildOptions(fetch=FetchOptions(allow_local=True), faces=FacesOptions(span_s=span_s))
    networks, model = assets.fetch_landmark_networks(), load_face_model()
    with tempfile.TemporaryDirectory() as folder:
        job = Job(
            out=Path(folder) / "out", manifest_folder=Path(folder), networks=networks, options=options,
            detector_sha256="", model_path=DEFAULT_MODEL_PATH, model_sha256=model.sha256,
        )  # fmt: skip
        desk = Desk(job=job, store=Store(job.store_folder), counters=Counters(job.state))
        row = ManifestRow(video_id="long", url=str(video.resolve()))
        fetch_row(row, desk, Fetcher(options.fetch, desk.store, Path(folder)))
        detector = open_detector(options.faces, networks)
        pieces = [SpanOfRow(row=row, number=n) for n in range(len(row_state(row, job, desk.store).spans))]
        for piece in pieces:
            doing.value = piece.number
            find_faces(piece, desk, detector, track_faces)
        doing.value = _FIT
        fit_spans(pieces, desk, model, fit_tracks)


def _tree_mib(root: int) -> float:
    """Proportional memory of a process and its children: a page that several share is divided among them."""
    children = Path(f"/proc/{root}/task/{root}/children")
    try:
        pids = [root, *map(int, children.read_text().split())]
        texts = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids]
    except (FileNotFoundError, ProcessLookupError):  # ended just now
        return 0.0
    return sum(int(line.split()[1]) for text in texts for line in text.splitlines() if line.startswith("Pss:")) / 1024


def _large(setting: Setting) -> Path:
    path = setting.work / "talk-1080p.mp4"
    if not path.exists():
        graph = "scale=1080:1080,pad=1920:1080:420:0,setsar=1"
        command = [ffmpeg_program(), "-v", "error", "-nostdin", "-y", "-i", str(setting.videos / SOURCE), "-an"]
        partial = path.with_suffix(".partial.mp4")
        subprocess.run([*command, "-vf", graph, "-preset", "veryfast", str(partial)], check=True)
        partial.rename(path)
    return path
