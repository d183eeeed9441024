"""Peak memory of a build over one long video."""

import subprocess
from collections.abc import Callable
from pathlib import Path

from benchmarks.acquisition.builds import EMPTY, Row, outcomes, run_build, write_manifest
from pipeline.faces.probe import ffmpeg_program

_LIMIT_S = 3600.0
_MINUTES = 180
_FPS = 25


def measure_memory(folder: Path, options: tuple[str, ...], *, say: Callable[[str], None]) -> float:
    """Build from three hours of black, 270,000 frames, with one worker.

    Returns:
        The peak of all processes together, MiB.

    Args:
        folder: For the video and the dataset.
        options: Of the build.
        say: Receives what was measured.
    """
    _make_black(folder / "black-25-fps.mp4")
    rows = [Row(video_id="black", url="black-25-fps.mp4", expected="no_face")]
    out = folder / "long"
    status, peak_mib = run_build(
        write_manifest(folder / "long.csv", rows), out, ["--workers", "1", *options], limit_s=_LIMIT_S
    )
    ended = outcomes(out).get("black") if status == EMPTY else None
    if ended != ["no_face"]:
        raise RuntimeError(f"the long video ended as {ended}, exit {status}; see {out.with_suffix('.log')}")
    say(f"three hours of black: {peak_mib:.0f} MiB at most, all processes together")
    return peak_mib


def _make_black(path: Path) -> None:
    # One minute is encoded; the others are copies of its packets.
    minute = path.with_suffix(".minute.mp4")
    ffmpeg = [ffmpeg_program(), "-nostdin", "-v", "error", "-y"]
    subprocess.run(
        [*ffmpeg, "-f", "lavfi", "-i", f"color=black:size=320x180:rate={_FPS}:duration=60", "-c:v", "libx264",
         "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-threads", "1", "-g", "500", str(minute)],
        check=True,
    )  # fmt: skip
    repeated = [*ffmpeg, "-stream_loop", str(_MINUTES - 1), "-i", str(minute), "-c", "copy", str(path)]
    subprocess.run(repeated, check=True)
    minute.unlink()
