"""Which rows are in whose hands, since when: small files that outlive the process that wrote them.

A worker writes one file before it begins with a row (or a few that it works on together) and removes it when it is
done. Whoever looks on, the build's parent or `facevid status`, reads from it who is late; and when a worker has died,
its file says what it had in hand, and is set apart from those of workers that were killed with it.
"""

import json
import os
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from facevid.failures import Stage
from pipeline.processes import is_alive

_LEFT_BEHIND = ".dead"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What one process has in hand.

    Attributes:
        video_ids: The rows; more than one where they are worked on together.
        stage: What is done with them.
        pid: The process.
        since_s: When it began, on the machine's monotonic clock.
        quiet_s: How much longer than usual it may give no sign of life.
        key: The key of the result that is being made; empty where there are several.
    """

    video_ids: tuple[str, ...]
    stage: Stage
    pid: int
    since_s: float
    quiet_s: float = 0.0
    key: str = ""


@contextmanager
def in_hand(
    state: Path, video_ids: Sequence[str], stage: Stage, *, quiet_s: float = 0.0, key: str = ""
) -> Iterator[Callable[[], None]]:
    """Mark rows as being worked on by this process; the mark stays where the process dies inside the block.

    The block gets a function that has them begin now, for after a wait that is not their fault.

    Args:
        state: The build's state folder.
        video_ids: The rows.
        stage: What is done with them.
        quiet_s: How much longer than usual it may give no sign of life.
        key: The key of the result that is being made; empty where there are several.
    """
    folder = _folder(state)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{os.getpid()}-{secrets.token_hex(4)}"
    partial = path.with_suffix(".partial")

    def begin() -> None:
        mark = Mark(
            video_ids=tuple(video_ids), stage=stage, pid=os.getpid(), since_s=time.monotonic(), quiet_s=quiet_s,
            key=key,
        )  # fmt: skip
        partial.write_text(json.dumps(asdict(mark)))
        partial.replace(path)

    begin()
    # Not in a `finally`: a mark after an exception names the culprit in the logs, and the build stops anyway.
    yield begin
    path.unlink(missing_ok=True)


def read_marks(state: Path) -> tuple[Mark, ...]:
    """What is in hand now, the longest in hand first; the hands of the dead are among them."""
    return tuple(sorted((mark for _, mark in _marks(state)), key=lambda mark: (mark.since_s, mark.pid)))


def set_apart_the_dead(state: Path) -> None:
    """Keep apart the marks of processes that are dead now from those of processes that are about to be ended."""
    for path, mark in _marks(state):
        if not is_alive(mark.pid):
            with suppress(FileNotFoundError):  # the driver and its parent may both do so
                path.rename(path.with_suffix(_LEFT_BEHIND))


def take_marks(state: Path, *, died: Collection[int] = ()) -> tuple[Mark, ...]:
    """What dead processes had in hand when they died; all marks are removed.

    Args:
        state: The build's state folder. Nobody works there any more.
        died: Processes that are known to have died by themselves, beside those of `set_apart_the_dead`.
    """
    found = list(_marks(state))
    for path, _ in found:
        path.unlink()
    return tuple(mark for path, mark in found if path.suffix == _LEFT_BEHIND or mark.pid in died)


def _folder(state: Path) -> Path:
    return state / "in_hand"


def _marks(state: Path) -> Iterator[tuple[Path, Mark]]:
    folder = _folder(state)
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.suffix == ".partial":
            continue
        try:
            plain = json.loads(path.read_bytes())
        except FileNotFoundError:  # done meanwhile
            continue
        yield path, Mark(
            video_ids=tuple(plain["video_ids"]), stage=Stage(plain["stage"]), pid=plain["pid"],
            since_s=float(plain["since_s"]), quiet_s=float(plain["quiet_s"]), key=plain["key"],
        )  # fmt: skip
