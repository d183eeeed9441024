"""Is DeepExp3D better than the mean expression on persons that it has not seen? One person left out at a time.

The truth is the fit, which sees a whole video; the network sees one crop. The constant is the mean expression of the
persons that the network was trained on.
"""

import csv
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.build import run_build
from pipeline.config import BuildOptions, FetchOptions
from training.config import TrainOptions
from training.deepexp3d import train_deepexp3d

SAME_PERSON = (("noface_face_960x540", "single_face_640x360"),)
"""Videos that show one person, by eye; every other video shows somebody else."""
SUFFIXES = {".mp4", ".mov", ".webm", ".mkv"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """One person.

    Attributes:
        videos: The person's.
        crops: Of how many crops the errors are the mean.
        error_mm: Mean vertex error of the network.
        constant_mm: Of the others' mean expression.
        zero_mm: Of the face model's mean expression.
        correlation: Mean over the components.
        train_relative_error: Error over that of the constant on the persons that it was trained on.
        seconds: Time that the training took, evaluation included.
    """

    videos: tuple[str, ...]
    crops: int
    error_mm: float
    constant_mm: float
    zero_mm: float
    correlation: float
    train_relative_error: float
    seconds: float

    @property
    def relative_error(self) -> float:
        return self.error_mm / self.constant_mm


def leave_one_out(videos: Path, out: Path, *, steps: int, say: Callable[[str], None]) -> list[LeftOut]:
    """Builds a dataset, and trains once per person without that person."""
    persons = _persons(videos)
    results = []
    for index, person in enumerate(persons):
        manifest = _manifest(videos, out / "manifest.csv", test=person)
        # One store: only what depends on the split is made again.
        build = BuildOptions(fetch=FetchOptions(allow_local=True), workers=1, shards=2)
        run_build(manifest, out / "dataset", build, beam_options=(), skip_bad_rows=False, report=lambda _: None)
        # A rate for few steps, as in the demo.
        options = TrainOptions(
            preset="fast", max_steps=steps, batch_size=16, learning_rate=4e-3, val_max_crops=240, workers=1,
            device="cpu",
        )  # fmt: skip
        began_s = time.monotonic()
        result = train_deepexp3d([out / "dataset"], out / f"without-{index}", options, report=lambda _: None)
        test, train = result.final["test"], result.final["train"]
        if test is None or train is None or test.mean_pearson is None or train.relative_error is None:
            raise ValueError(f"no face was fitted in {', '.join(person)}")
        one = LeftOut(
            videos=person, crops=test.crops, error_mm=test.vertex_error_mm,
            constant_mm=test.vertex_error_mean_expression_mm, zero_mm=test.vertex_error_zero_mm,
            correlation=test.mean_pearson, train_relative_error=train.relative_error,
            seconds=time.monotonic() - began_s,
        )  # fmt: skip
        say(f"without {'+'.join(person)}: {one.relative_error:.3f} of the constant's error, {one.seconds:.0f} s")
        results.append(one)
    return results


def _persons(videos: Path) -> list[tuple[str, ...]]:
    with (videos / "faces.csv").open(encoding="utf-8") as file:
        names = sorted({Path(row["file"]).stem for row in csv.DictReader(file)})
    together = [tuple(name for name in group if name in names) for group in SAME_PERSON]
    alone = [(name,) for name in names if not any(name in group for group in together)]
    return [person for person in (*together, *alone) if person]


def _manifest(videos: Path, path: Path, *, test: tuple[str, ...]) -> Path:
    with (videos / "faces.csv").open(encoding="utf-8") as file:
        names = sorted({row["file"] for row in csv.DictReader(file)})
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["video_id", "url", "split"])
        for name in names:
            stem = Path(name).stem
            rows.writerow([stem, str((videos / name).resolve()), "test" if stem in test else "train"])
    return path
