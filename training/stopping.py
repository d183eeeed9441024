"""A training that is asked to stop, by Ctrl-C or by SIGTERM as a cluster sends it, ends between two steps."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(KeyboardInterrupt):
    """What SIGTERM raises where it stops as Ctrl-C does; only the process's exit status tells the two apart."""


class StopRequest:
    """Notes a signal that comes during a step.

    Args:
        report: Told when one was noted.

    Attributes:
        asked: The signal that came, or None; where one did: save, and raise `interruption`.
    """

    def __init__(self, report: Callable[[str], None]) -> None:
        self.asked: int | None = None
        self._report = report

    @contextmanager
    def between_steps(self) -> Iterator[None]:
        """Within the block the first signal is noted, and a second one raises its `interruption`.

        Nothing is noted outside of it, where evaluation and export can be done again, and libraries may start processes
        that would inherit the handlers; nor outside the main thread, which alone may. What runs in the background of a
        shell ignores Ctrl-C, as before.
        """
        before = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if (handler := signal.getsignal(number)) not in {signal.SIG_IGN, None}:
                    before[number] = handler
                    signal.signal(number, self._note)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, signal_number: int, frame: FrameType | None) -> None:  # noqa: ARG002  # as the system calls it
        if self.asked is not None:
            raise interruption(signal_number)
        self.asked = signal_number
        self._report("stopping after this step, which is saved; Ctrl-C once more stops at once")


def interruption(signal_number: int) -> KeyboardInterrupt:
    """What a signal that asks to stop raises."""
    return Terminated() if signal_number == signal.SIGTERM else KeyboardInterrupt()
