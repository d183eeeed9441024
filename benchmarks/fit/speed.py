"""Processor time per frame, and the share of what the machine could do at best."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from benchmarks.fit.accuracy import fit_with, videos
from benchmarks.fit.settings import SCHEME, Setting
from benchmarks.fit.tables import Means
from fitting import solver
from fitting.face_model import FaceModel
from fitting.fit_setup import FitSetup
from fitting.options import FitOptions
from fitting.solver import fit_tracks
from fitting.synthetic import synthetic_track
from fitting.tracks import LandmarkSequence

TRACKS, FRAMES = 64, 300
KEYFRAMES, IDENTITY_ITERATIONS, FRAME_ITERATIONS = 64, 3, 2
"""All 64 key frames are used here, however close together. Identities need no more than three iterations (`head_size`;
the fourth changes them by .1 %)."""
COUNTED_IDENTITY_ITERATIONS = 4
"""Iterations whose operations count as what the algorithm needs: those of the plain one."""
REPEATS = 3
FEWER_KEYFRAMES = 40
PROFILED_FRAMES, PROFILED_OPERATORS = 60, 8
_POINTS = 68
_MATRIX = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Times per frame of a batch of 64 tracks of 300 frames, 64 key frames, 3 + 2 iterations; the best of three runs.

    Attributes:
        ms: Processor time without the fit on half the points that the hold-out error comes from.
        holdout_ms: Processor time of that one.
        wall_ms: Time on the clock of both.
        sgemm_gflops: Rate of a large float32 product, one thread, measured in between.
        mflop: Operations per frame that the algorithm needs (`flop_per_frame`).
    """

    ms: float
    holdout_ms: float
    wall_ms: float
    sgemm_gflops: float
    mflop: float

    @property
    def fraction_of_limit(self) -> float:
        """Time at the rate of a large product, over the time taken."""
        return self.mflop / self.sgemm_gflops / self.ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Bought:
    """What some choice of options costs, and what it gives.

    Attributes:
        ms: Processor time per frame without the hold-out fit, of one run.
        holdout_ms: That of the hold-out fit.
        means: The errors.
    """

    ms: float
    holdout_ms: float
    means: Means


def measure_speed(model: FaceModel, setting: Setting) -> Speed:
    """Time the fit as a build runs it: many tracks in one call, one thread."""
    sequences, options = _sequences(model, setting), fast_options(setting)
    fit_tracks(sequences[:4], model, options)
    runs, rates = [], []
    for _ in range(REPEATS):
        rates.append(_sgemm_gflops())
        runs.append(timed(sequences, model, options))
    per_frame = 1e3 / (TRACKS * FRAMES)
    whole, half, wall = min(runs)
    return Speed(
        ms=(whole - half) * per_frame,
        holdout_ms=half * per_frame,
        wall_ms=wall * per_frame,
        sgemm_gflops=max(rates),
        mflop=flop_per_frame(model.n_identity, model.n_expression) / 1e6,
    )


def fast_options(setting: Setting, *, keyframes: int = KEYFRAMES) -> FitOptions:
    """Options with fewer iterations than the defaults, and all key frames."""
    return replace(
        setting.options(), keyframes=keyframes, keyframe_spacing_s=0.0, identity_iterations=IDENTITY_ITERATIONS,
        frame_iterations=FRAME_ITERATIONS,
    )  # fmt: skip


def what_time_buys(
    model: FaceModel, setting: Setting, count: int, advance: Callable[[], None]
) -> dict[str, Bought]:
    """Processor time per frame, and errors, with the defaults, which come first, and with less."""
    sequences, truths = _sequences(model, setting), videos(model, setting, count)
    iterations = f"{IDENTITY_ITERATIONS} + {FRAME_ITERATIONS} iterations"
    choices = {
        "default iterations": setting.options(),
        f"{KEYFRAMES} key frames, {iterations}": fast_options(setting),
        f"{FEWER_KEYFRAMES} key frames, {iterations}": fast_options(setting, keyframes=FEWER_KEYFRAMES),
        f"{KEYFRAMES} key frames, {iterations}, no second pass": replace(fast_options(setting), second_pass=False),
    }
    found = {}
    for name, options in choices.items():
        whole_s, half_s, _ = timed(sequences, model, options)
        per_frame = 1e3 / (TRACKS * FRAMES)
        means = fit_with(model, options, truths).means
        found[name] = Bought(ms=(whole_s - half_s) * per_frame, holdout_ms=half_s * per_frame, means=means)
        advance()
    return found


def _sequences(model: FaceModel, setting: Setting) -> list[LandmarkSequence]:
    video = replace(setting.video, frames=FRAMES)
    return [synthetic_track(model, SCHEME, video, seed=seed).sequence for seed in range(TRACKS)]


def profile(model: FaceModel, setting: Setting) -> list[tuple[str, float]]:
    """The operators that take most of the time, and their shares, over a smaller batch."""
    video = replace(setting.video, frames=PROFILED_FRAMES)
    sequences = [synthetic_track(model, SCHEME, video, seed=seed).sequence for seed in range(TRACKS)]
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        fit_tracks(sequences, model, setting.options())
    times_us = {event.key: float(event.self_cpu_time_total) for event in profiler.key_averages()}
    whole_us = sum(times_us.values())
    largest = sorted(times_us, key=times_us.__getitem__, reverse=True)[:PROFILED_OPERATORS]
    return [(name, times_us[name] / whole_us) for name in largest]


def flop_per_frame(n_identity: int, n_expression: int) -> float:
    """Operations of the algorithm per frame of such a track: what its large products and factorisations take.

    Counts multiplications with additions as two, symmetric products as half.
    """
    e, n, columns, rows = n_expression, n_identity, 6 + n_expression, 2 * _POINTS
    coordinates = 3 * _POINTS
    evaluation = coordinates * e + 3 * rows * e
    normal = rows * columns**2 / 2
    solve = columns**3 / 6 + columns**2
    over_time = columns**3
    spread = coordinates * e**2 + e**3 / 2
    # The identity is eliminated through the landmarks or directly, whichever is less.
    schur = min(
        columns * 2 * coordinates + coordinates * columns**2 / 2 + columns * coordinates**2 / 2,
        rows * columns * n + columns**2 * n / 2 + columns * n**2 / 2,
    )
    per_video = coordinates**2 * n + coordinates * n**2 + n**3 / 6
    key_frame = evaluation + normal + solve + spread + schur
    frame = evaluation + normal + solve + over_time
    video = COUNTED_IDENTITY_ITERATIONS * (KEYFRAMES * key_frame + per_video) + FRAME_ITERATIONS * FRAMES * frame
    return 2 * video / FRAMES


def timed(sequences: Sequence[LandmarkSequence], model: FaceModel, options: FitOptions) -> tuple[float, float, float]:
    """Processor seconds of a run, those of its hold-out fits, and seconds on the clock."""
    half_s = 0.0
    inner = solver._fit  # the only place where both fits can be told apart

    def watched(tracks: Any, shown: Any, setup: FitSetup) -> Any:
        nonlocal half_s
        began_s = time.process_time()
        result = inner(tracks, shown, setup)
        if len(setup.points) < _POINTS:
            half_s += time.process_time() - began_s
        return result

    solver._fit = watched
    try:
        clock_s, began_s = time.perf_counter(), time.process_time()
        fit_tracks(sequences, model, options)
        whole_s, wall_s = time.process_time() - began_s, time.perf_counter() - clock_s
    finally:
        solver._fit = inner
    if not 0.0 < half_s < whole_s:
        raise RuntimeError("the hold-out fit was not seen: has the solver changed how it calls its fits?")
    return whole_s, half_s, wall_s


def _sgemm_gflops() -> float:
    """Rate of a large product in float32, one thread, by processor time."""
    left, right = torch.rand(_MATRIX, _MATRIX), torch.rand(_MATRIX, _MATRIX)
    left @ right
    times = []
    for _ in range(5):
        began_s = time.process_time()
        left @ right
        times.append(time.process_time() - began_s)
    return 2 * _MATRIX**3 / float(np.min(times)) / 1e9
