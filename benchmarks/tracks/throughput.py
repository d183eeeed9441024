"""Frames a second on one core, what the rest of the worker adds to its stages, and how far it is to the limit."""

import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.tracks.limit import Asked, decoder_s
from benchmarks.tracks.setting import Setting, print_table
from benchmarks.tracks.timed import SOURCE, NoCrops, cpu_time_s, looped, on_one_core
from facevid import assets
from pipeline.faces.landmarks import open_detector
from pipeline.faces.options import FacesOptions, Scheme
from pipeline.faces.tracks import FacesResult, track_faces

MINUTES: dict[Scheme, float] = {"mediapipe68": 10.0, "mediapipe_dense": 2.0}
QUICK_MINUTES = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Timed:
    """One run: what it gave, seconds on the clock and of the processor, and those that decoder and networks need."""

    result: FacesResult
    wall_s: float
    cpu_s: float
    decoder_s: float
    networks_s: float


def measure(setting: Setting) -> dict[str, float]:
    rows, values = [], {}
    for scheme, minutes in MINUTES.items():
        length = QUICK_MINUTES if setting.quick else minutes
        timed = _timed(looped(setting.videos / SOURCE, setting.work, minutes=length), scheme)
        seconds, frames = timed.result.seconds, timed.result.frames_read
        stages = {name: getattr(seconds, name) for name in seconds.__dataclass_fields__}
        alone = {"decoder": timed.decoder_s, "networks": timed.networks_s}
        overhead, limit = timed.wall_s / sum(stages.values()), sum(alone.values()) / timed.wall_s
        rows.append((
            scheme, f"{frames / timed.wall_s:.1f}", f"{frames / timed.cpu_s:.1f}", f"{overhead:.3f}",
            _per_frame(stages, frames), _per_frame(alone, frames), f"{limit:.2f}",
        ))  # fmt: skip
        if scheme == "mediapipe68":
            values = {
                "frames_per_s_core": frames / timed.wall_s, "overhead_ratio": overhead, "limit_ratio": limit,
            }  # fmt: skip
    print_table(
        ("scheme", "frames/s", "per CPU second", "wall/stages", "ms per frame", "alone, ms per frame", "of the time"),
        rows,
    )
    return values


def _per_frame(seconds: dict[str, float], frames: int) -> str:
    return " ".join(f"{name} {1000 * s / frames:.2f}" for name, s in seconds.items())


def _timed(video: Path, scheme: Scheme) -> _Timed:
    options = FacesOptions(scheme=scheme)
    detector = open_detector(options, assets.fetch_landmark_networks())
    asked = Asked()
    with on_one_core(), asked.counted():
        wall_s, cpu_s = time.perf_counter(), cpu_time_s()
        result = track_faces(video, detector, options, NoCrops())
        wall_s, cpu_s = time.perf_counter() - wall_s, cpu_time_s() - cpu_s
    with on_one_core():
        return _Timed(
            result=result, wall_s=wall_s, cpu_s=cpu_s, decoder_s=decoder_s(video), networks_s=asked.alone_s()
        )
