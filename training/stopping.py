"""A training that is asked to stop, by Ctrl-C or by SIGTERM as a cluster sends it, ends between two steps."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Notes a signal that comes during a step.

    Args:
        report: Told when one was noted.

    Attributes:
        asked: Whether one came: save, and raise KeyboardInterrupt.
    """

    def __init__(self, report: Callable[[str], None]) -> None:
        self.asked = False
        self._report = report

    @contextmanager
    def between_steps(self) -> Iterator[None]:
        """Within the block the first signal is noted, and a second one raises KeyboardInterrupt.

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
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        self._report("stopping after this step, which is saved; Ctrl-C once more stops at once")
