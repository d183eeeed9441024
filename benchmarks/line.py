"""The whole line on real videos: coverage, errors, and byte-identical shards, beside what they must be.

    python -m benchmarks.line --videos FOLDER      (or FACEVID_VIDEOS=FOLDER)

The folder holds videos and `faces.csv` (file, first_frame, last_frame, what: in which frames a face shows, by
eye). The dataset is built three times from nothing: with one worker, again, and with two. Ends with one line
of JSON, and with exit status 1 where a goal was missed. Without videos there is nothing to measure, and it says so.
"""

import argparse
import csv
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks.videos import add_videos, videos_or_leave
from facevid import assets
from pipeline.build import run_build
from pipeline.config import BuildOptions, FetchOptions

COVERAGE_GOAL = 0.95
ERROR_GOAL = 0.025
SUFFIXES = {".mp4", ".mov", ".webm", ".mkv"}


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoScore:
    file: str
    face_frames: int
    fitted: int
    beside: int
    tracks: int
    reprojection_error: float
    holdout_error: float


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.line", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_videos(parser)
    parser.add_argument("--out", type=Path, help="new folder to keep the datasets in, instead of a temporary one")
    parser.add_argument("--scheme", default="mediapipe68", help="landmark scheme")
    parser.add_argument("--once", action="store_true", help="one build, no comparison of shards")
    arguments = parser.parse_args()
    videos = videos_or_leave(parser, arguments.videos)
    if arguments.out is not None and arguments.out.exists():
        parser.error(f"{arguments.out} exists already; nothing is measured over the results of another run")
    assets.fetch_landmark_networks()
    out = arguments.out or Path(tempfile.mkdtemp(prefix="facevid-line-"))
    out.mkdir(parents=True, exist_ok=True)
    manifest = _manifest(videos, out / "manifest.csv")
    runs = {"first": 1} if arguments.once else {"first": 1, "second": 1, "two-workers": 2}
    seconds = {}
    for name, workers in runs.items():
        began_s = time.monotonic()
        options = _options(arguments.scheme, workers)
        run_build(manifest, out / name, options, beam_options=(), skip_bad_rows=False, report=_say)
        seconds[name] = round(time.monotonic() - began_s, 1)
    scores = _scores(videos, out / "first")
    _print(scores)
    shards = [_shard_hashes(out / name) for name in runs]
    same = all(s == shards[0] for s in shards)
    if not arguments.once:
        print(f"\nshards byte-identical over {', '.join(runs)}: {same} ({len(shards[0])} files)")
    faces = [s for s in scores if s.face_frames]
    coverage_all = sum(s.fitted for s in faces) / sum(s.face_frames for s in faces)
    # A video of which nothing was fitted has no error: infinity, so that it cannot pass for a good one.
    reprojection_error = max(s.reprojection_error for s in faces)
    reached = coverage_all >= COVERAGE_GOAL and reprojection_error <= ERROR_GOAL and same
    print(f"\ndatasets: {out}")
    print(json.dumps({
        "goals_reached": reached,
        "coverage_min": round(min(s.fitted / s.face_frames for s in faces), 4),
        "coverage_all": round(coverage_all, 4),
        "reprojection_error_max": round(reprojection_error, 5),
        "holdout_error_max": round(max(s.holdout_error for s in faces), 5),
        "fitted_beside_faces": sum(s.beside for s in scores),
        "shards_identical": same if not arguments.once else None,
        "seconds": seconds,
    }))
    return 0 if reached else 1


def _options(scheme: str, workers: int) -> BuildOptions:
    from pipeline.faces.options import FacesOptions

    return BuildOptions(
        fetch=FetchOptions(allow_local=True),
        faces=FacesOptions(scheme=scheme),  # type: ignore[arg-type]  # checked by the detector
        workers=workers,
        shards=4,
    )


def _manifest(videos: Path, path: Path) -> Path:
    files = sorted(p for p in videos.iterdir() if p.suffix in SUFFIXES)
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["video_id", "url"])
        rows.writerows([p.stem, str(p.resolve())] for p in files)
    return path


def _scores(videos: Path, dataset: Path) -> list[VideoScore]:
    shown: dict[str, set[int]] = {p.name: set() for p in videos.iterdir() if p.suffix in SUFFIXES}
    with (videos / "faces.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            shown[row["file"]] |= set(range(int(row["first_frame"]), int(row["last_frame"]) + 1))
    frames = pq.read_table(dataset / "frames", columns=["video_id", "frame", "reprojection_error", "kept"]).to_pylist()
    tracks = pq.read_table(dataset / "tracks", columns=["video_id", "holdout_error", "kept"]).to_pylist()
    scores = []
    for file_name, truth in sorted(shown.items()):
        rows = [r for r in frames if r["video_id"] == Path(file_name).stem and r["kept"]]
        kept = [t for t in tracks if t["video_id"] == Path(file_name).stem and t["kept"]]
        fitted = {r["frame"] for r in rows}
        scores.append(VideoScore(
            file=file_name,
            face_frames=len(truth),
            fitted=len(fitted & truth),
            beside=len(fitted - truth),
            tracks=len(kept),
            reprojection_error=float(np.median([r["reprojection_error"] for r in rows])) if rows else float("inf"),
            holdout_error=float(np.median([t["holdout_error"] for t in kept])) if kept else float("inf"),
        ))
    return scores


def _print(scores: list[VideoScore]) -> None:
    print(f"\n{'video':30} {'frames with face':>16} {'fitted':>8} {'share':>7} {'beside':>7} {'tracks':>7} "
          f"{'reprojection':>13} {'hold-out':>9}")
    for s in scores:
        share = f"{s.fitted / s.face_frames:.1%}" if s.face_frames else "-"
        errors = [f"{e:.2%}" if s.face_frames else "-" for e in (s.reprojection_error, s.holdout_error)]
        print(f"{s.file:30} {s.face_frames:16d} {s.fitted:8d} {share:>7} {s.beside:7d} {s.tracks:7d} "
              f"{errors[0]:>13} {errors[1]:>9}")
    print(f"goals: share >= {COVERAGE_GOAL:.0%}, reprojection <= {ERROR_GOAL:.1%} of the outer-eye distance")


def _shard_hashes(dataset: Path) -> dict[str, str]:
    import hashlib

    return {
        str(p.relative_to(dataset)): hashlib.sha256(p.read_bytes()).hexdigest()
        for table in ("frames", "tracks", "crops", "failures")
        for p in sorted((dataset / table).glob("*.parquet"))
    }


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
