"""The landmark fit on synthetic videos with known truth: beside the floor, its peers, and what it must reach.

    python -m benchmarks.fit --videos 4 --sections accuracy              quick look, FaceVid-CC0
    python -m benchmarks.fit --model ict_facekit_narrow.npz --out out    all of it on ICT-FaceKit, with curves
    python -m benchmarks.fit --sections other --other MODEL.npz          faces of another model, with default options
    python -m benchmarks.fit --sections real --real-videos FOLDER        real videos, beside the baselines

Errors are means with standard errors over videos of 300 frames, seeds fixed, 68 landmarks, 89 pixels between the outer
eye corners. One thread; times are processor times. Ends with one line of JSON; exit status 1 where a goal was missed.
eos needs `pip install -e '.[bench]'`. The whole takes about 20 minutes.
"""

import argparse
import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path

import torch

from benchmarks.fit.accuracy import mean_face, videos
from benchmarks.fit.goals import ICT_MEAN_EXPRESSION_MM, ICT_MEAN_FACE_MM, Value, goals, print_goals
from benchmarks.fit.models import ICT_NAME, read_model
from benchmarks.fit.sections import SECTIONS, Run
from benchmarks.fit.settings import settings
from benchmarks.fit.tables import Means


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fit", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="face model file, or ict_facekit_narrow.npz; without it FaceVid-CC0")
    parser.add_argument("--videos", type=int, default=20, help="synthetic videos of each kind (default 20)")
    parser.add_argument("--sections", default=",".join(SECTIONS), help=f"some of {','.join(SECTIONS)} (all)")
    parser.add_argument("--settings", help="only kinds of video whose names hold one of these, such as 'yaw,pinhole'")
    parser.add_argument("--out", type=Path, help="folder for the curves, PNG")
    parser.add_argument("--other", type=Path, help="another face model to make truth with; default FaceVid-CC0")
    parser.add_argument(
        "--real-videos", type=Path, default=os.environ.get("FACEVID_VIDEOS") or None, help="folder of real videos"
    )
    arguments = parser.parse_args()
    chosen = arguments.sections.split(",")
    if unknown := set(chosen) - set(SECTIONS):
        parser.error(f"--sections has {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    if arguments.videos < 1:
        parser.error(f"--videos {arguments.videos} is below 1")
    words = (arguments.settings or "").split(",")
    kinds = [setting for setting in settings() if any(word.strip() in setting.name for word in words)]
    if not kinds:
        parser.error(f"--settings {arguments.settings!r} is in none of: {', '.join(s.name for s in settings())}")
    if "peers" in chosen and find_spec("eos") is None:
        parser.error("--sections peers needs eos: pip install -c constraints.txt -e '.[bench]'")
    for name in ("model", "other"):
        path = getattr(arguments, name)
        if path is not None and not path.is_file():
            parser.error(f"--{name} {path}: there is no such file")
    torch.set_num_threads(1)
    model = read_model(arguments.model)
    print(f"{model.name}: {model.n_identity} identity and {model.n_expression} expression components")
    other = read_model(arguments.other) if arguments.other or arguments.model else None
    run = Run(
        model=model, count=arguments.videos, settings=kinds, out=arguments.out, real_videos=arguments.real_videos,
        other=other,
    )  # fmt: skip
    if model.name == ICT_NAME:
        wanted = goals(ICT_MEAN_FACE_MM, ICT_MEAN_EXPRESSION_MM)
    else:
        baseline = Means(mean_face(model, videos(model, settings()[0], arguments.videos)))
        wanted = goals(baseline["identity_similarity_mm"], baseline["expression_mm"])
    values: dict[str, Value] = dict.fromkeys(wanted)
    for name in chosen:
        values |= SECTIONS[name](run)
    reached = print_goals(values, wanted)
    print(json.dumps({key: _rounded(value) for key, value in values.items()}))
    return 0 if reached and run.sound else 1


def _rounded(value: Value) -> Value:
    if isinstance(value, list):
        return [float(f"{v:.4g}") for v in value]
    return None if value is None else float(f"{value:.4g}")


if __name__ == "__main__":
    sys.exit(main())
