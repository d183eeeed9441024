"""What a fit takes of memory by the length of its track, each length in a process of its own.

    python -m benchmarks.fit.memory                    10,000, 100,000 and 300,000 frames on FaceVid-CC0
    python -m benchmarks.fit.memory 3000 --scheme mediapipe_dense
"""

import argparse
import resource
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from benchmarks.fit.models import read_model
from benchmarks.fit.settings import SCHEME
from fitting.options import FitOptions
from fitting.solver import fit_tracks
from fitting.synthetic import SyntheticOptions, synthetic_track
from fitting.tracks import LandmarkSequence

FRAMES = (10_000, 100_000, 300_000)
_PIECE = 600
_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Of one fit, in bytes.

    Attributes:
        peak_bytes: Largest resident size of the process.
        before_bytes: Resident size just before the fit, its landmarks included.
        result_bytes: Size of the arrays that came out.
        process_s: Processor time of the fit.
    """

    peak_bytes: int
    before_bytes: int
    result_bytes: int
    process_s: float

    @property
    def working_bytes(self) -> int:
        """What the fit took beside its landmarks and its result."""
        return self.peak_bytes - self.before_bytes - self.result_bytes


def long_sequence(piece: LandmarkSequence, frames: int) -> LandmarkSequence:
    """A sequence played forwards and backwards until there are enough frames."""
    order = np.concatenate([np.arange(len(piece.pts_s)), np.arange(len(piece.pts_s))[::-1]])
    order = np.resize(order, frames)
    points = piece.observed_px[order]
    return LandmarkSequence(
        scheme=piece.scheme, observed_px=points, smoothed_px=points, weight=piece.weight[order],
        pts_s=np.arange(frames) / 30.0, picture_px=piece.picture_px,
    )  # fmt: skip


def measure(model_path: Path | None, scheme: str, frames: int) -> Memory:
    """Fit one long track and look at the process; call it in a fresh one."""
    torch.set_num_threads(1)
    model = read_model(model_path)
    piece = synthetic_track(model, scheme, SyntheticOptions(frames=_PIECE), seed=0).sequence
    # What the first fit loads for good counts for no track.
    fit_tracks([long_sequence(piece, _PIECE)], model, FitOptions())
    sequence = long_sequence(piece, frames)
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    began_s = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    (fit,) = fit_tracks([sequence], model, FitOptions())
    arrays = [value for name in fit.__slots__ if isinstance(value := getattr(fit, name), np.ndarray)]
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return Memory(
        peak_bytes=usage.ru_maxrss * 1024,
        before_bytes=before,
        result_bytes=sum(array.nbytes for array in arrays),
        process_s=usage.ru_utime - began_s,
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fit.memory",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("frames", type=int, nargs="*", default=FRAMES, help="lengths of tracks")
    parser.add_argument("--model", type=Path, help="as of benchmarks.fit; without it FaceVid-CC0")
    parser.add_argument("--scheme", default=SCHEME, help=f"landmark scheme ({SCHEME})")
    arguments = parser.parse_args()
    if min(arguments.frames) < 1:
        parser.error(f"{min(arguments.frames)} frames are below 1")
    print(f"{'frames':>10}{'peak MiB':>12}{'before MiB':>12}{'result MiB':>12}{'working MiB':>13}{'ms a frame':>12}")
    for frames in arguments.frames:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            seen = pool.submit(measure, arguments.model, arguments.scheme, frames).result()
        sizes = (seen.peak_bytes, seen.before_bytes, seen.result_bytes, seen.working_bytes)
        print(
            f"{frames:10,}" + "".join(f"{size / _MIB:12.0f}" for size in sizes[:3]) + f"{sizes[3] / _MIB:13.0f}"
            f"{1e3 * seen.process_s / frames:12.3f}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
