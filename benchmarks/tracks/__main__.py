"""The faces of videos, measured, beside what must be reached.

    python -m benchmarks.tracks --videos FOLDER                    (or FACEVID_VIDEOS=FOLDER)
    python -m benchmarks.tracks --videos FOLDER --only throughput --quick
    python -m benchmarks.tracks --videos FOLDER --work MADE --sheets SHEETS --only cuts people small sheets

The folder holds videos and `faces.csv` (file, first_frame, last_frame, what: in which frames a face shows, by eye).
Composites of these videos are made by ffmpeg, so that the truth follows from how they were made. Ends with one line
of JSON, and with exit status 1 where a goal was missed. Timings count only on a machine that does nothing else.
"""

import argparse
import contextlib
import json
import sys
import tempfile
from pathlib import Path

import cv2

from benchmarks.tracks import (
    cuts,
    decode,
    hour,
    lids,
    memory,
    occlusion,
    people,
    scaling,
    sheets,
    small,
    stability,
    steadiness,
    throughput,
)
from benchmarks.tracks.goals import verdicts
from benchmarks.tracks.setting import Setting, Topic, print_table
from benchmarks.videos import add_videos, videos_or_leave

TOPICS: dict[str, Topic] = {
    "cuts": cuts.measure,
    "people": people.measure,
    "small": small.measure,
    "occlusion": occlusion.measure,
    "steadiness": steadiness.measure,
    "stability": stability.measure,
    "lids": lids.measure,
    "throughput": throughput.measure,
    "decode": decode.measure,
    "scaling": scaling.measure,
    "memory": memory.measure,
    "hour": hour.measure,
    "sheets": sheets.measure,
}
"""In the order in which they run; `--only` names them."""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tracks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_videos(parser)
    parser.add_argument("--only", nargs="+", choices=sorted(TOPICS), default=sorted(TOPICS), help="topics to measure")
    parser.add_argument("--work", type=Path, help="folder for composites, kept and used again (default: temporary)")
    parser.add_argument("--sheets", type=Path, help="also write contact sheets to look at, into this folder")
    parser.add_argument("--quick", action="store_true", help="less of everything: for development, not for numbers")
    arguments = parser.parse_args()
    videos = videos_or_leave(parser, arguments.videos)
    cv2.setNumThreads(1)
    with contextlib.ExitStack() as stack:
        work = arguments.work or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="facevid-tracks-")))
        for folder in (work, arguments.sheets):
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
        setting = Setting(videos=videos, work=work, quick=arguments.quick, sheets=arguments.sheets)
        values: dict[str, float] = {}
        for name, topic in TOPICS.items():
            if name in arguments.only:
                print(f"\n{name}\n", flush=True)
                values |= topic(setting)
    return _end(values, complete=set(arguments.only) == set(TOPICS), quick=arguments.quick)


def _end(values: dict[str, float], *, complete: bool, quick: bool) -> int:
    found = verdicts(values)
    print()
    print_table(
        ("goal", "measured", "must be", ""),
        [
            (v.key, "-" if v.value is None else f"{v.value:.3f}", f"{v.sign} {v.goal:.4g}", v.word)
            for v in found
            if complete or v.value is not None
        ],
    )
    if quick:
        print("\n--quick: these numbers show that the benchmark runs, no more")
    reached = all(v.reached for v in found if complete or v.value is not None)
    measured = {v.key: None if v.value is None else round(v.value, 4) for v in found}
    print(json.dumps({"goals_reached": reached, **measured}))
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
