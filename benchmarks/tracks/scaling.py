"""Two workers of a build against one, beside two processes that share nothing.

Half of the work is one long video: a worker that took it for itself would be alone at the end.
"""

import contextlib
import csv
import io
import json
import multiprocessing
import shutil
import time
from pathlib import Path

from benchmarks.tracks.setting import Setting, print_table, say
from benchmarks.tracks.throughput import SOURCE, NoCrops, looped
from facevid import assets
from pipeline.build import run_build
from pipeline.config import BuildOptions, FetchOptions
from pipeline.faces.landmarks import open_detector
from pipeline.faces.options import FacesOptions
from pipeline.faces.tracks import track_faces

MINUTES, QUICK_MINUTES = (2.1, 0.7, 0.7, 0.7), (0.4, 0.2, 0.2)
"""The first by itself is as long as the others together."""
SPAN_S, QUICK_SPAN_S = 42.0, 12.0


def measure(setting: Setting) -> dict[str, float]:
    span_s = QUICK_SPAN_S if setting.quick else SPAN_S
    videos = [
        # Of different lengths by a frame or so: the same bytes would be one video.
        looped(setting.videos / SOURCE, setting.work, minutes=minutes + k / 500)
        for k, minutes in enumerate(QUICK_MINUTES if setting.quick else MINUTES)
    ]
    alone_s, together_s = _processes([videos]), _processes([videos[:1], videos[1:]])
    built = {
        workers: _build(videos, setting.work / f"scaling-{workers}", workers=workers, span_s=span_s)
        for workers in (1, 2)
    }
    ceiling, gain = alone_s / together_s, built[1] / built[2]
    print_table(
        ("", "one, s", "two, s", "gain"),
        [
            ("processes that share nothing", f"{alone_s:.1f}", f"{together_s:.1f}", f"{ceiling:.2f}"),
            ("workers of a build", f"{built[1]:.1f}", f"{built[2]:.1f}", f"{gain:.2f}"),
        ],
    )
    return {"scaling_ratio": gain / min(ceiling, 2.0)}


def _processes(shares: list[list[Path]]) -> float:
    context = multiprocessing.get_context("spawn")
    ready, go = (context.Barrier(len(shares) + 1) for _ in range(2))
    say(f"{len(shares)} processes that share nothing")
    started = [context.Process(target=_track, args=(videos, ready, go)) for videos in shares]
    for process in started:
        process.start()
    ready.wait()
    begun = time.perf_counter()
    go.wait()
    for process in started:
        process.join()
        if process.exitcode:
            raise RuntimeError(f"a process ended with exitcode={process.exitcode}")
    return time.perf_counter() - begun


def _track(videos: list[Path], ready: object, go: object) -> None:
    options = FacesOptions()
    detector = open_detector(options, assets.fetch_landmark_networks())
    ready.wait()  # type: ignore[attr-defined]
    go.wait()  # type: ignore[attr-defined]
    for video in videos:
        track_faces(video, detector, options, NoCrops())


def _build(videos: list[Path], out: Path, *, workers: int, span_s: float) -> float:
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    manifest = out.with_suffix(".csv")
    with manifest.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["video_id", "url"])
        rows.writerows([video.stem.replace(".", "_"), str(video.resolve())] for video in videos)
    say(f"a build by {workers} workers")
    options = BuildOptions(
        fetch=FetchOptions(allow_local=True), faces=FacesOptions(span_s=span_s), workers=workers
    )
    with contextlib.redirect_stdout(io.StringIO()):
        run_build(manifest, out, options, beam_options=(), skip_bad_rows=False, report=lambda _: None)
    return float(json.loads((out / "run.json").read_bytes())["label_s"])
