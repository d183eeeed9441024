"""A worker that stands still in mid-video, as in a deadlock: its row alone must fail, by the clock."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.acquisition.builds import kill_all, outcomes, start_build
from facevid.failures import Stage
from pipeline.job import state_folder
from pipeline.marks import read_marks

_LIMIT_S = 600.0


def measure_hang(manifest: Path, out: Path, options: Sequence[str], *, say: Callable[[str], None]) -> bool:
    """Stop one of two workers while it reads a video; returns whether that row, and no other, became `timeout`.

    Args:
        manifest: A few good videos.
        out: For the dataset.
        options: Of the build.
        say: Receives what was seen.
    """
    process = start_build(manifest, out, [*options, "--workers", "2", "--stall-s", "5"])
    began_s, stopped = time.monotonic(), ""
    try:
        while process.poll() is None and time.monotonic() - began_s < _LIMIT_S:
            for mark in read_marks(state_folder(out)):
                if not stopped and mark.stage is Stage.FACES:
                    (stopped,) = mark.video_ids
                    os.kill(mark.pid, signal.SIGSTOP)
            time.sleep(0.05)
    finally:
        kill_all(process)
    ended = outcomes(out) if process.returncode == 0 else {}
    late = [video_id for video_id, codes in ended.items() if codes == ["timeout"]]
    say(f"stopped the worker that read {stopped or 'nothing'}: exit {process.returncode}, timeout: {late}")
    return bool(stopped) and late == [stopped]
