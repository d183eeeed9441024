"""Reasons to stop a build that are neither a video's fault nor a bug, such as a full store.

The worker that meets one leaves it in the state folder, and the build's parent says it instead of a traceback.
"""

from pathlib import Path

from facevid import storage

_FILE = "stop.txt"


def leave_reason(state: Path, reason: str) -> None:
    """Leave the reason for the parent; the caller raises an exception, which ends the wave.

    Args:
        state: The build's state folder.
        reason: One sentence for a person.
    """
    storage.write_bytes(state / _FILE, reason.encode("utf-8", "replace"))


def take_reason(state: Path) -> str | None:
    """The reason that a worker has left, which is removed; None where there is none."""
    path = state / _FILE
    if not path.is_file():
        return None
    reason = path.read_text("utf-8")
    storage.remove(path)
    return reason
