"""The landmark fit on synthetic videos with known truth: beside the floor, its peers, and what it must reach.

    python -m benchmarks.fit --videos 4                                  quick look, FaceVid-CC0
    python -m benchmarks.fit --model ict_facekit_narrow.npz --out out    the whole, 20 videos, with curves

Errors are means with standard errors over videos of 300 frames, seeds fixed, 68 landmarks, 89 pixels between the outer
eye corners. One thread; times are processor times. Ends with one line of JSON; exit status 1 where a goal was missed.
"""

import argparse
import json
import sys
from pathlib import Path

import torch

from benchmarks.fit.accuracy import fit, floors, mean_face, videos
from benchmarks.fit.goals import ICT_MEAN_EXPRESSION_MM, ICT_MEAN_FACE_MM, Value, goals, print_goals
from benchmarks.fit.models import ICT_NAME, read_model
from benchmarks.fit.settings import MAIN, OUTLIERS, Setting, settings
from benchmarks.fit.tables import Means, print_rows
from fitting.face_model import FaceModel

SECTIONS = ("accuracy",)
MEAN_FACE, FLOOR, FLOOR_FREE = "mean face", "floor", "floor, cameras free"
HIDDEN = {
    MEAN_FACE: ("nme_percent", "jitter_mm", "rotation_deg", "sigma_z"),
    FLOOR: ("sigma_z",),
    FLOOR_FREE: ("sigma_z",),
}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fit", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="face model file, or ict_facekit_narrow.npz; without it FaceVid-CC0")
    parser.add_argument("--videos", type=int, default=20, help="synthetic videos of each kind (default 20)")
    parser.add_argument("--sections", default=",".join(SECTIONS), help=f"which of {','.join(SECTIONS)} (default: all)")
    parser.add_argument("--settings", help="only settings whose names hold this, such as 'px'")
    arguments = parser.parse_args()
    sections = arguments.sections.split(",")
    if unknown := set(sections) - set(SECTIONS):
        parser.error(f"--sections has {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    if arguments.videos < 1:
        parser.error(f"--videos {arguments.videos} is below 1")
    torch.set_num_threads(1)
    model = read_model(arguments.model)
    print(f"{model.name}: {model.n_identity} identity and {model.n_expression} expression components")
    chosen = [s for s in settings() if not arguments.settings or arguments.settings in s.name]
    main_setting = settings()[0]
    baseline = Means(mean_face(model, videos(model, main_setting, arguments.videos)))
    if model.name == ICT_NAME:
        wanted = goals(ICT_MEAN_FACE_MM, ICT_MEAN_EXPRESSION_MM)
    else:
        wanted = goals(baseline["identity_similarity_mm"], baseline["expression_mm"])
    values: dict[str, Value] = dict.fromkeys(wanted)
    if "accuracy" in sections:
        values |= measure_accuracy(model, chosen, arguments.videos)
    reached = print_goals(values, wanted)
    print(json.dumps({key: _rounded(value) for key, value in values.items()}))
    return 0 if reached else 1


def measure_accuracy(model: FaceModel, chosen: list[Setting], count: int) -> dict[str, Value]:
    """All settings and methods; the keys that come of them."""
    values: dict[str, Value] = {}
    for setting in chosen:
        truths = videos(model, setting, count)
        rows = {MEAN_FACE: Means(mean_face(model, truths))}
        if setting.has_floor:
            rows[FLOOR] = Means(floors(model, setting, truths, free_cameras=False))
            rows[FLOOR_FREE] = Means(floors(model, setting, truths, free_cameras=True))
        for method in setting.methods:
            rows[method] = fit(model, setting, truths, method).means
        print(f"\n{setting.name}")
        print_rows(rows, HIDDEN)
        ours = rows["two_stage"]
        if setting.name == MAIN:
            names = ("identity_similarity_mm", "identity_rigid_mm", "expression_mm", "nme_percent", "jitter_mm",
                     "rotation_deg", "size_ratio", "sigma_z")  # fmt: skip
            values |= {name: ours[name] for name in names}
            for kind, name in (("identity", "identity_similarity_mm"), ("expression", "expression_mm")):
                values[f"floor_ratio_{kind}"] = ours[name] / rows[FLOOR][name]
        if setting.name == OUTLIERS:
            names = ("identity_similarity_mm", "identity_rigid_mm", "expression_mm", "size_ratio")
            values |= {f"outlier_{name}": ours[name] for name in names}
    return values


def _rounded(value: Value) -> Value:
    if isinstance(value, list):
        return [float(f"{v:.4g}") for v in value]
    return None if value is None else float(f"{value:.4g}")


if __name__ == "__main__":
    sys.exit(main())
