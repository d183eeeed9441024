"""SIGTERM, with which schedulers end what they preempt, stops a command as Ctrl-C does: with a line in its log."""

import functools
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from training.stopping import Terminated


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Within the block SIGTERM raises `Terminated`, in this process alone.

    Processes that libraries fork meanwhile are ended by it as a matter of course, and die of it as ever.
    """
    _spare_forked_processes()
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(*_: object) -> NoReturn:
    raise Terminated


@functools.cache
def _spare_forked_processes() -> None:
    # A forked process begins with our handler, and CPython forgets a signal that comes before its first line of Python.
    # So the signal waits until the handler is gone.
    def block() -> None:
        if signal.getsignal(signal.SIGTERM) is _interrupt:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def unblock() -> None:
        if signal.getsignal(signal.SIGTERM) is _interrupt:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    def forget() -> None:
        if signal.getsignal(signal.SIGTERM) is _interrupt:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    os.register_at_fork(before=block, after_in_parent=unblock, after_in_child=forget)
