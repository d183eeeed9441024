"""The limit of what can be reached: the decoder and the networks alone, on the same core in the same minutes.

A machine that is lent in parts is a third faster or slower from one minute to the next, and a rate by itself says as
much about it as about the program. So decoder and networks are run once more right afterwards, as often as they were
asked, and without anything in between.
"""

import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.tracks.decode import decode_only
from pipeline.faces import networks

_MOST_RUNS = 600


class Asked:
    """How often each network was run."""

    def __init__(self) -> None:
        self._times: Counter[Any] = Counter()

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """Count the runs of all networks meanwhile."""
        run = networks._Run.__call__  # all of them come through here, and nothing else does

        def counted(network: networks._Run) -> Any:
            self._times[network] += 1
            return run(network)

        with patch.object(networks._Run, "__call__", counted):
            yield

    def alone_s(self) -> float:
        """How long these runs take, one after the other; of many runs some are timed."""
        total_s = 0.0
        for network, times in self._times.items():
            network()
            runs = min(times, _MOST_RUNS)
            begun_s = time.perf_counter()
            for _ in range(runs):
                network()
            total_s += (time.perf_counter() - begun_s) * times / runs
        return total_s


def decoder_s(video: Path) -> float:
    """How long ffmpeg takes to decode a video and throw it away."""
    begun_s = time.perf_counter()
    decode_only(video, "yuv420p")
    return time.perf_counter() - begun_s
