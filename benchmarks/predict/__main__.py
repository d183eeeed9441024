"""How fast is prediction, and does a network say more of persons that it has not seen than a constant does?

    python -m benchmarks.predict --videos FOLDER      (or FACEVID_VIDEOS=FOLDER)
    python -m benchmarks.predict --videos FOLDER --sections speed

speed: processor time of one core for each stage, of one photo and of each frame of a video, beside the paper's 0.02 s
(50 frames a second; on what machine, and whether finding the face is part of it, the paper does not say); from the
command to its end; ONNX Runtime beside torch. Random weights: they take as long as trained ones.

unseen: DeepExp3D (preset fast) trained for a few steps on all persons but one, errors on that one, for each of them.
The truth is the fit. Five persons and minutes on a processor are not what a network needs: read it as a check that the
line learns, and as what such a small training is worth.

Ends with one line of JSON, and with exit status 1 where 50 frames a second were missed with the preset fast.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.tracks.timed import SOURCE, on_one_core
from benchmarks.videos import add_videos, videos_or_leave
from facevid import assets

PAPER_MS = 20.0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.predict", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_videos(parser)
    parser.add_argument("--sections", nargs="+", choices=("speed", "unseen"), default=("speed", "unseen"))
    parser.add_argument("--frames", type=int, default=200, help="frames of the video that is timed")
    parser.add_argument("--steps", type=int, default=60, help="optimiser steps of each training, of 16 crops")
    arguments = parser.parse_args()
    videos = videos_or_leave(parser, arguments.videos)
    assets.fetch_landmark_networks()
    line: dict[str, Any] = {}
    if "speed" in arguments.sections:
        from benchmarks.predict.stages import measure

        with on_one_core():
            line["speed"] = measure(videos / SOURCE, frames=arguments.frames)
        _print_speed(line["speed"])
        line["fps_over_paper"] = round(PAPER_MS / line["speed"]["fast"]["video_ms"]["total"], 3)
    if "unseen" in arguments.sections:
        line["unseen"] = _unseen(videos, arguments.steps)
    print(json.dumps(line))
    return 1 if line.get("fps_over_paper", 1.0) < 1.0 else 0


def _print_speed(speed: dict[str, Any]) -> None:
    stages = ("find", "landmarks", "crop", "network", "pose", "rest", "total")
    print(f"\n{'ms of one core':32}" + "".join(f"{stage:>11}" for stage in stages) + f"{'of 50 fps':>11}")
    for preset, seen in speed.items():
        for what, key in (("photo", "photo_ms"), ("frame of a video", "video_ms")):
            times = seen[key]
            cells = "".join(f"{times.get(stage, 0.0):11.2f}" for stage in stages)
            print(f"{f'{preset}: {what}':32}{cells}{PAPER_MS / times['total']:11.2f}")
    print("rest: reading or decoding, following, writing rows")
    for preset, seen in speed.items():
        network = seen["network_ms"]
        print(
            f"{preset}: network alone, ms a face: ONNX Runtime {network['onnx_1']:.1f} (of sixteen "
            f"{network['onnx_16']:.1f}), torch {network['torch_1']:.1f} ({network['torch_16']:.1f}); one photo from "
            f"the command to its end {seen['start_s']:.1f} s"
        )


def _unseen(videos: Path, steps: int) -> dict[str, Any]:
    from benchmarks.predict.unseen import leave_one_out

    with tempfile.TemporaryDirectory() as name:
        persons = leave_one_out(videos, Path(name), steps=steps, say=_say)
    print(f"\nleft out, preset fast, {steps} steps of 16 crops; vertex errors against the fit, mm")
    print(f"{'videos':44}{'crops':>7}{'network':>9}{'constant':>9}{'e = 0':>8}{'relative':>10}{'correlation':>13}")
    for one in persons:
        print(
            f"{'+'.join(one.videos):44}{one.crops:7d}{one.error_mm:9.3f}{one.constant_mm:9.3f}{one.zero_mm:8.3f}"
            f"{one.relative_error:10.3f}{one.correlation:13.2f}"
        )
    relative = statistics.fmean(one.relative_error for one in persons)
    better = sum(one.relative_error < 1.0 for one in persons)
    print(
        f"mean of the relative errors {relative:.3f}; better than the constant on {better} of {len(persons)} persons; "
        f"on those that they were trained on {statistics.fmean(one.train_relative_error for one in persons):.3f}"
    )
    return {
        "preset": "fast", "steps": steps, "batch_size": 16, "relative_error": round(relative, 4),
        "better_than_constant": better, "persons": len(persons),
        "relative_errors": {"+".join(one.videos): round(one.relative_error, 4) for one in persons},
        "train_relative_error": round(statistics.fmean(one.train_relative_error for one in persons), 4),
        "correlation": round(statistics.fmean(one.correlation for one in persons), 4),
        "seconds": round(sum(one.seconds for one in persons), 1),
    }


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
