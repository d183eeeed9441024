"""Which spans of a wave are next in a step, in a small file from which all workers take, the largest first.

Beam deals the elements of a step out before it begins; with parts that take from a second to minutes, the worker with
the longer hand works on while the others have nothing left. So elements are turns, see `pipeline.wave`: who has one
takes spans until none is left. Which worker takes which span changes no result.
"""

import math
from collections.abc import Iterable
from pathlib import Path

from pipeline.shared_json import begin_shared, shared_json

Sized = tuple[float, int, int]
"""How much of a span there is to work on, in seconds or frames; its row's place; its number."""


class SpanQueue:
    """The spans that wait for one step, as seen by one worker.

    Args:
        path: The file that all workers share; `begin` makes it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def begin(self) -> None:
        """Make the file anew: nothing waits."""
        begin_shared(self._path, {"held": False, "waiting": []})

    def offer(self, spans: Iterable[Sized]) -> None:
        """Let spans wait."""
        with shared_json(self._path) as plain:
            waiting = [*map(tuple, plain["waiting"]), *spans]
            plain["waiting"] = sorted(waiting, key=lambda each: (-each[0], *each[1:]))

    def hold(self) -> None:
        """Keep what waits, and what is yet offered, for the next step: a worker has gone on to it."""
        with shared_json(self._path) as plain:
            plain["held"] = True

    def take(self, *, most: int = 1, workers: int = 1, held: bool = False) -> list[tuple[int, int]]:
        """Take the largest span that waits, and more as long as all workers will have enough.

        Args:
            most: No more than this many.
            workers: How many take from this queue: each takes half its part of what is left, or a single span.
            held: Also what is held for this step.

        Returns:
            Places of rows and numbers of spans; none where none waits.
        """
        with shared_json(self._path) as plain:
            waiting: list[Sized] = plain["waiting"]
            if plain["held"] and not held:
                return []
            part = math.inf if workers == 1 else sum(size for size, *_ in waiting) / (2 * workers)
            taken: list[Sized] = []
            while waiting and len(taken) < most:
                if taken and sum(size for size, *_ in taken) + waiting[0][0] > part:
                    break
                taken.append(waiting.pop(0))
            return [(index, number) for _, index, number in taken]
