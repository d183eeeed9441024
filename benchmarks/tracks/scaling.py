"""Two workers of a build against one, beside two processes that share nothing and do the same.

Half of the work is one long video: a worker that took it for itself would be alone at the end. Each is measured twice,
the second time in the opposite order, so that a machine that becomes slower meanwhile favours nobody.
"""

import contextlib
import csv
import io
import json
import multiprocessing
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest.mock import patch

import cv2
import torch

from benchmarks.tracks.setting import Setting, print_table, say
from benchmarks.tracks.timed import SOURCE, looped
from facevid import assets
from fitting.solver import fit_tracks
from pipeline.build import run_build
from pipeline.config import BuildOptions, FetchOptions
from pipeline.desk import Desk, SpanOfRow
from pipeline.driver import ONE_THREAD
from pipeline.faces.landmarks import open_detector
from pipeline.faces.options import FacesOptions
from pipeline.faces.tracks import track_faces
from pipeline.fetch import Fetcher
from pipeline.fit_spans import fit_spans
from pipeline.label import fetch_row, find_faces
from pipeline.manifest_files import read_manifest
from pipeline.prepare import make_job
from pipeline.progress import Counters
from pipeline.row_state import row_state
from pipeline.store import Store

MINUTES, QUICK_MINUTES = (1.5, 0.5, 0.5, 0.5), (0.4, 0.2, 0.2)
"""The first by itself is as long as the others together."""
SPAN_S, QUICK_SPAN_S = 30.0, 12.0
_AT_WORK = ("fetch_s", "faces_s", "fit_s")


def measure(setting: Setting) -> dict[str, float]:
    videos = [
        # Of different lengths by a frame or so: the same bytes would be one video.
        looped(setting.videos / SOURCE, setting.work, minutes=minutes + k / 500)
        for k, minutes in enumerate(QUICK_MINUTES if setting.quick else MINUTES)
    ]
    span_s = QUICK_SPAN_S if setting.quick else SPAN_S
    folder = setting.work / "scaling"
    order = ["alone", "together", "build-1", "build-2"]
    wall_s, busy_s = Counter[str](), Counter[str]()
    for name in order if setting.quick else [*order, *reversed(order)]:
        say(name)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if name.startswith("build"):
            workers = int(name[-1])
            build_s, work_s = _build(videos, folder, workers=workers, span_s=span_s)
            wall_s[name] += build_s
            busy_s[name] += work_s / workers
        else:
            wall_s[name] += _processes([videos] if name == "alone" else [videos[:1], videos[1:]], folder, span_s)
    shutil.rmtree(folder)
    ceiling, gain = wall_s["alone"] / wall_s["together"], wall_s["build-1"] / wall_s["build-2"]
    runs = 1 if setting.quick else 2
    print_table(
        ("", "one, s", "two, s", "gain"),
        [
            (title, f"{one / runs:.1f}", f"{two / runs:.1f}", f"{one / two:.2f}")
            for title, one, two in (
                ("processes that share nothing, from when they are ready", wall_s["alone"], wall_s["together"]),
                ("workers of a build, to the last fit", wall_s["build-1"], wall_s["build-2"]),
                ("  of which each is at work", busy_s["build-1"], busy_s["build-2"]),
                ("  of which it starts, loads, waits for the other, and ends",
                 wall_s["build-1"] - busy_s["build-1"], wall_s["build-2"] - busy_s["build-2"]),
            )
        ],
    )  # fmt: skip
    return {"scaling_ratio": gain / min(ceiling, 2.0)}


def _options(span_s: float, workers: int) -> BuildOptions:
    return BuildOptions(
        fetch=FetchOptions(allow_local=True), faces=FacesOptions(span_s=span_s), workers=workers
    )


def _manifest(videos: Sequence[Path], path: Path) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["video_id", "url"])
        rows.writerows([video.stem.replace(".", "_"), str(video.resolve())] for video in videos)
    return path


def _processes(shares: list[list[Path]], folder: Path, span_s: float) -> float:
    context = multiprocessing.get_context("spawn")
    lines, started = [], []
    with patch.dict(os.environ, dict.fromkeys(ONE_THREAD, "1")):
        for number, videos in enumerate(shares):
            line, their_end = context.Pipe()
            process = context.Process(
                target=_label, args=(videos, folder / str(number), span_s, their_end), daemon=True
            )
            process.start()
            their_end.close()  # else nobody would notice here that the process has ended
            lines.append(line)
            started.append(process)
    try:
        for line in lines:
            line.recv()
        begun_s = perf_counter()
        for line in lines:
            line.send("go")
    except (EOFError, BrokenPipeError) as error:
        raise RuntimeError("a process ended before it had begun; it has said why above") from error
    for process in started:
        process.join()
        if process.exitcode:
            raise RuntimeError(f"a process ended with exitcode={process.exitcode}")
    return perf_counter() - begun_s


def _label(videos: list[Path], folder: Path, span_s: float, line: Connection) -> None:
    """What a worker does with these videos, by the same functions, one after the other, on as many threads."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    folder.mkdir()
    rows = read_manifest(_manifest(videos, folder / "manifest.csv"))
    options, networks = _options(span_s, 1), assets.fetch_landmark_networks()
    job, model = make_job(rows, folder / "out", options, networks)
    desk = Desk(job=job, store=Store(job.store_folder), counters=Counters(job.state))
    fetcher = Fetcher(options.fetch, desk.store, rows.folder)
    detector, track = open_detector(options.faces, networks), partial(track_faces, limits=options.limits)
    line.send("ready")
    line.recv()
    pieces = []
    for row in rows.rows:
        fetch_row(row, desk, fetcher)
        for number in range(len(row_state(row, job, desk.store).spans)):
            pieces.append(SpanOfRow(row=row, number=number))
            find_faces(pieces[-1], desk, detector, track)
    for begin in range(0, len(pieces), options.fit_batch):
        fit_spans(pieces[begin : begin + options.fit_batch], desk, model, fit_tracks)


def _build(videos: list[Path], folder: Path, *, workers: int, span_s: float) -> tuple[float, float]:
    """How long a build labels, and how long all its workers together are at work meanwhile, seconds."""
    with contextlib.redirect_stdout(io.StringIO()):
        run_build(
            _manifest(videos, folder / "manifest.csv"), folder / "out", _options(span_s, workers), beam_options=(),
            skip_bad_rows=False, report=lambda _: None,
        )  # fmt: skip
    record: dict[str, Any] = json.loads((folder / "out" / "run.json").read_bytes())
    return float(record["label_s"]), sum(float(record["counts"][name]) for name in _AT_WORK)
