"""A training that is asked to stop, by Ctrl-C or by SIGTERM as a cluster sends it, ends between two steps."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Notes a signal that comes during a step. Made by `stop_on_signals`.

    Args:
        report: Told when a signal was noted.

    Attributes:
        asked: Whether one came: save, and raise KeyboardInterrupt.
    """

    def __init__(self, report: Callable[[str], None]) -> None:
        self.asked = False
        self._within_steps = False
        self._report = report

    def note(self, signal_number: int, frame: FrameType | None) -> None:  # noqa: ARG002  # as the system calls it
        """A signal came.

        Raises:
            KeyboardInterrupt: It came outside the steps, in work that can be done again, or is the second one.
        """
        if self.asked or not self._within_steps:
            raise KeyboardInterrupt
        self.asked = True
        self._report("stopping after this step, which is saved; Ctrl-C once more stops at once")

    @contextmanager
    def between_steps(self) -> Iterator[None]:
        """Within the block signals are noted."""
        self._within_steps = True
        try:
            yield
        finally:
            self._within_steps = False


@contextmanager
def stop_on_signals(report: Callable[[str], None]) -> Iterator[StopRequest]:
    """Take Ctrl-C and SIGTERM within the block; only in the main thread, which alone may.

    A signal that is ignored, as Ctrl-C is by what runs in the background of a shell, stays ignored.

    Args:
        report: Told when a signal was noted.
    """
    request = StopRequest(report)
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            if (handler := signal.getsignal(number)) not in {signal.SIG_IGN, None}:
                before[number] = handler
                signal.signal(number, request.note)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
