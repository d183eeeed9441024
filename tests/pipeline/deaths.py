"""A process that dies at a certain step on disk, and tidies up nothing."""

from collections.abc import Callable
from typing import Any


class Killed(BaseException):
    """As `kill -9`: nobody catches it."""


class Death:
    """Lets so many steps pass, and none after them.

    Args:
        after: How many.
    """

    def __init__(self, *, after: int) -> None:
        self._left = after

    def at(self, real: Callable[..., Any]) -> Callable[..., Any]:
        """A function as one of the steps."""

        def step(*arguments: Any, **named: Any) -> Any:
            self._left -= 1
            if self._left < 0:
                raise Killed
            return real(*arguments, **named)

        return step
