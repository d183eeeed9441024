"""The parts of the benchmark: each prints its tables and returns the keys of the JSON line that it measured."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.fit.accuracy import FRAME_COUNTS, fit, fit_with, floors, identity_by_frames, mean_face, videos
from benchmarks.fit.calibrations import CALIBRATIONS, measure_calibrations, print_calibrations
from benchmarks.fit.curves import draw_curves
from benchmarks.fit.equality import unequal_tracks
from benchmarks.fit.goals import Value
from benchmarks.fit.oracle import cost_gap, jacobian_gap
from benchmarks.fit.other_model import rows_of, wrong_model
from benchmarks.fit.settings import ALL, MAIN, OUTLIERS, SCHEME, Setting, default_options, settings
from benchmarks.fit.speed import (
    FRAME_ITERATIONS,
    FRAMES,
    IDENTITY_ITERATIONS,
    TRACKS,
    Speed,
    measure_speed,
    profile,
    what_time_buys,
)
from benchmarks.fit.tables import Means, print_rows
from fitting.face_model import DEFAULT_MODEL_PATH, FaceModel, load_face_model
from fitting.metrics import frame_errors

UNTOLD = ", default options"
"""Ends the name of a fit that is not told how noisy its landmarks are, nor how slowly the faces move."""
MEAN_FACE, FLOOR, FLOOR_FREE = "mean face", "floor", "floor, cameras free"
HIDDEN = {
    MEAN_FACE: ("nme_percent", "jitter_mm", "rotation_deg", "sigma_z"),
    FLOOR: ("sigma_z",),
    FLOOR_FREE: ("sigma_z",),
}
MAIN_KEYS = (
    "identity_similarity_mm", "identity_rigid_mm", "expression_mm", "nme_percent", "jitter_mm", "rotation_deg",
    "size_ratio", "sigma_z",
)  # fmt: skip
OUTLIER_KEYS = ("identity_similarity_mm", "identity_rigid_mm", "expression_mm", "size_ratio")
_ORACLE_VIDEOS = 3


@dataclass(slots=True, kw_only=True)
class Run:
    """What is measured, and what sections leave for each other.

    Attributes:
        model: The face model.
        count: Videos of each kind.
        settings: Kinds of video for the tables of errors.
        out: Folder for pictures, or None.
        real_videos: Folder of real videos, or None.
        other: Another face model, which the truth of some videos is made with, or None.
        sound: False once something is found that no goal covers, such as results that depend on company.
        speed: Our speed, once measured.
    """

    model: FaceModel
    count: int
    settings: Sequence[Setting]
    out: Path | None = None
    real_videos: Path | None = None
    other: FaceModel | None = None
    sound: bool = True
    speed: Speed | None = None

    def our_ms(self) -> float:
        """Processor time of our fit per frame."""
        if self.speed is None:
            with progress("our speed", 1):
                self.speed = measure_speed(self.model, settings()[0])
        return self.speed.ms


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar with rate and time left on stderr; yields a function that advances it."""
    pause_s = 0.1 if sys.stderr.isatty() else 30.0
    with tqdm(total=total, desc=what, unit="video", leave=False, mininterval=pause_s) as bar:
        yield lambda count: bar.update(count) and None


def accuracy_section(run: Run) -> dict[str, Value]:
    """Errors by kind of video and method, beside the floors."""
    values: dict[str, Value] = {}
    curves: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {}
    for setting in run.settings:
        fits = len(setting.methods) * (1 + (setting.name == MAIN)) + len(_floors_of(setting))
        with progress(setting.name, fits * run.count) as advance:
            rows, errors = _rows(run, setting, advance)
        print(f"\n{setting.name}")
        print_rows(rows, HIDDEN)
        ours = rows["two_stage"]
        if setting.name == MAIN:
            values |= {name: ours[name] for name in MAIN_KEYS}
            for kind, name in (("identity", "identity_similarity_mm"), ("expression", "expression_mm")):
                values[f"floor_ratio_{kind}"] = ours[name] / rows[FLOOR][name]
        if setting.name == OUTLIERS:
            values |= {f"outlier_{name}": ours[name] for name in OUTLIER_KEYS}
        if len(errors) > 1:
            curves[setting.name] = errors
    if run.out is not None and curves:
        path = run.out / f"curves-{run.model.name}.png"
        draw_curves(path, f"{run.count} synthetic videos of each kind, {run.model.name}, {SCHEME}", curves)
        print(f"\ncurves: {path}")
    return values


def _rows(
    run: Run, setting: Setting, advance: Callable[[int], None]
) -> tuple[dict[str, Means], dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Errors by method, and those of single frames."""
    truths = videos(run.model, setting, run.count)
    rows = {MEAN_FACE: Means(mean_face(run.model, truths))}
    for name in _floors_of(setting):
        rows[name] = Means(floors(run.model, setting, truths, free_cameras=name == FLOOR_FREE, advance=advance))
    errors: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for method in setting.methods:
        fits = fit(run.model, setting, truths, method)
        rows[method] = fits.means
        if run.out is not None:
            by_frame = [frame_errors(run.model, *pair) for pair in zip(truths, fits.tracks, strict=True)]
            errors[method] = (np.concatenate([a for a, _ in by_frame]), np.concatenate([b for _, b in by_frame]))
        advance(run.count)
        if setting.name == MAIN:
            untold = default_options(method, setting.camera)
            rows[f"{method}{UNTOLD}"] = fit_with(run.model, untold, truths).means
            advance(run.count)
    return rows, errors


def _floors_of(setting: Setting) -> tuple[str, ...]:
    if not setting.has_floor:
        return ()
    return (FLOOR, FLOOR_FREE) if len(setting.methods) > 1 else (FLOOR,)


def other_section(run: Run) -> dict[str, Value]:
    """Faces of another model."""
    if run.other is None:
        print("\nanother model's truth: not measured; name one with --other")
        return {}
    found = {}
    for truth in (run.model, run.other):
        with progress(f"faces of {truth.name}", rows_of(run.model, truth) * run.count) as advance:
            found[truth.name] = wrong_model(run.model, truth, settings()[0], run.count, advance)
    print(
        f"\n{run.model.name} fitted with default options, 1 px: distance of {SCHEME} landmarks in space, aligned frame "
        "by frame,\npercent of the outer-eye distance; 'same places': each landmark's mean error over the other videos "
        "taken off"
    )
    for name, rows in found.items():
        print(f"{f'faces of {name}':28}{'all':>18}{'same places':>18}")
        for method, row in rows.items():
            print(f"  {method:26}{_text(row.space_percent):>18}{_text(row.unbiased_percent):>18}")
    return {}


def real_section(run: Run) -> dict[str, Value]:
    """Real videos."""
    from benchmarks.fit import real  # the detector, which nothing else here needs

    if run.real_videos is None:
        print("\nreal videos: not measured; name a folder with --real-videos or FACEVID_VIDEOS")
        return {}
    model = run.model if real.SCHEME in run.model.landmarks else load_face_model(DEFAULT_MODEL_PATH)
    if model is not run.model:
        print(f"\n{run.model.name} has no {real.SCHEME} landmarks; real videos are fitted with {model.name}")
    with progress("landmarks", len(real.video_files(run.real_videos))) as advance:
        tracks = real.landmark_tracks(run.real_videos, advance)
    if not tracks:
        print(f"\nreal videos: not measured; no face in any video of {run.real_videos}")
        return {}
    with progress("real videos", (len(ALL) + len(real.OTHER_OPTIONS)) * len(tracks)) as advance:
        rows = real.measure_all(model, list(tracks.values()), advance)
        by_options = real.measure_options(model, list(tracks.values()), advance)
    with progress("calibrations", len(CALIBRATIONS) * len(ALL) * len(tracks)) as advance:
        by_calibration = measure_calibrations(model, list(tracks.values()), advance)
    real.print_real(list(tracks), rows)
    print_calibrations(by_calibration)
    real.print_options(by_options)
    return {}


def frames_section(run: Run) -> dict[str, Value]:
    """The identity by the number of frames."""
    with progress("frames", len(FRAME_COUNTS) * run.count) as advance:
        rows = identity_by_frames(run.model, settings()[0], run.count, advance)
    print("\nby number of frames, 1 px")
    print_rows({f"{frames} frames": means for frames, means in rows.items()})
    return {"identity_by_frames": [means["identity_similarity_mm"] for means in rows.values()]}


def peers_section(run: Run) -> dict[str, Value]:
    """eos and Adam on the same landmarks."""
    from benchmarks.fit import peers  # eos is in an extra of its own

    setting = settings()[0]
    truths = videos(run.model, setting, run.count)
    rounds = len(peers.EOS_ITERATIONS) * len(peers.EOS_PRIORS) + 2
    with progress("eos", rounds * run.count) as advance:
        singles = peers.single_frames(run.model, setting, truths, advance)
    print(f"\nsingle frames, {len(peers.FRAMES_OF_A_VIDEO)} of each video, 1 px")
    print(f"{'':50}{'identity sim. mm':>18}{'expression mm':>18}{'ms a frame':>12}")
    for name, row in singles.items():
        time = f"{row.ms:12.2f}" if np.isfinite(row.ms) else f"{'-':>12}"
        print(f"{name:50}{_text(row.identity_mm):>18}{_text(row.expression_mm):>18}{time}")
    slow, fast = (f"eos, {n} iterations, {peers.EOS_GOAL_PRIOR}" for n in (30, 5))
    ours, eos = singles["two_stage"], singles[slow]
    print(
        f"The goals beside eos are stated for {peers.EOS_GOAL_PRIOR}. Where eos is told the true noise, both minimise"
        " nearly the same energy of one frame, and errors are nearly the same. eos evaluates the whole mesh"
        f" ({len(run.model.mean_mm)} vertices) in each iteration, which is most of its time."
    )
    accuracies, adam_ms = {}, {}
    for steps in peers.ADAM_STEPS:
        with progress(f"Adam, {steps} steps", run.count) as advance:
            rows, adam_ms[steps] = peers.adam(run.model, setting, truths, steps=steps, advance=advance)
        accuracies[f"Adam, {steps} steps, {adam_ms[steps]:.1f} ms a frame"] = Means(rows)
    accuracies[f"two_stage, {run.our_ms():.2f} ms a frame"] = fit(run.model, setting, truths, "two_stage").means
    print("\nwhole videos, 1 px")
    print_rows(accuracies, {name: ("sigma_z",) for name in accuracies if name.startswith("Adam")})
    return {
        "eos_ratio_expression": float(ours.expression_mm.mean() / eos.expression_mm.mean()),
        "eos_ratio_identity": float(ours.identity_mm.mean() / eos.identity_mm.mean()),
        "speedup_eos": singles[fast].ms / run.our_ms(),
        "speedup_adam1000": adam_ms[1000] / run.our_ms(),
    }


def speed_section(run: Run) -> dict[str, Value]:
    """Time per frame and the machine's limit."""
    run.our_ms()
    speed = run.speed
    assert speed is not None, "our_ms() measures it"
    print(
        f"\n{TRACKS} tracks of {FRAMES} frames, {IDENTITY_ITERATIONS} + {FRAME_ITERATIONS} iterations, one thread:"
        f" {speed.ms:.3f} ms of processor time a frame, and {speed.holdout_ms:.3f} ms for the hold-out fit;"
        f" {speed.wall_ms:.3f} ms on the clock.\nThe algorithm needs {speed.mflop:.2f} MFLOP a frame; a large float32"
        f" product runs at {speed.sgemm_gflops:.0f} GFLOP/s."
    )
    with progress("what time buys", 4) as advance:
        bought = what_time_buys(run.model, settings()[0], run.count, lambda: advance(1))
    defaults = next(iter(bought.values()))
    print(f"With the default iterations and the hold-out fit: {defaults.ms + defaults.holdout_ms:.3f} ms.")
    print("\nwhat time buys, 1 px")
    print_rows({f"{name}, {found.ms:.3f} ms": found.means for name, found in bought.items()})
    with progress("profile", 1):
        operators = profile(run.model, settings()[0])
    print("What takes the time, by operator: " + ", ".join(f"{name} {share:.0%}" for name, share in operators))
    return {"ms_per_frame": speed.ms, "fraction_of_limit": speed.fraction_of_limit}


def judges_section(run: Run) -> dict[str, Value]:
    """scipy, autograd, and bits."""
    with progress("bits", 5) as advance:
        unequal = unequal_tracks(run.model, advance)
    run.sound &= not any(unequal.values())
    print("\ntracks of 64 whose fit differs in any bit from that of all 64 together:")
    print("   " + ", ".join(f"{name}: {count}" for name, count in unequal.items()))
    with progress("scipy", _ORACLE_VIDEOS) as advance:
        gaps = []
        for seed in range(_ORACLE_VIDEOS):
            gaps.append(cost_gap(run.model, settings()[0], [seed]))
            advance(1)
    return {"scipy_cost_gap": max(gaps), "jacobian_gap": jacobian_gap(run.model, settings()[0])}


def _text(values: np.ndarray) -> str:
    error = f" ±{values.std(ddof=1) / np.sqrt(len(values)):.3f}" if len(values) > 1 else ""
    return f"{values.mean():.3f}{error}"


SECTIONS: dict[str, Callable[[Run], dict[str, Value]]] = {
    "accuracy": accuracy_section,
    "frames": frames_section,
    "peers": peers_section,
    "speed": speed_section,
    "judges": judges_section,
    "other": other_section,
    "real": real_section,
}
