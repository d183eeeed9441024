"""Peak memory of a build over one long video."""

from collections.abc import Callable
from pathlib import Path

from benchmarks.acquisition.builds import Row, outcomes, run_build, write_manifest
from benchmarks.poison import POISONS

_LIMIT_S = 3600.0


def measure_memory(folder: Path, options: tuple[str, ...], *, say: Callable[[str], None]) -> float:
    """Build from three hours of black with one worker; returns the peak of all processes together, MiB.

    Args:
        folder: For the video and the dataset.
        options: Of the build.
        say: Receives what was measured.
    """
    (poison,) = (p for p in POISONS if p.name == "black.mp4")
    poison.make(folder / poison.name, folder / poison.name)
    rows = [Row(video_id="black", url=poison.name, expected=poison.expected)]
    out = folder / "long"
    status, peak_mib = run_build(
        write_manifest(folder / "long.csv", rows), out, ["--workers", "1", *options], limit_s=_LIMIT_S
    )
    ended = outcomes(out).get("black") if status == 0 else None
    if ended != [poison.expected]:
        raise RuntimeError(f"the long video ended as {ended}, exit {status}; see {out.with_suffix('.log')}")
    say(f"three hours of black: {peak_mib:.0f} MiB at most, all processes together")
    return peak_mib
