"""What a video has cost so far and may cost, a cap on the bandwidth of all, and the log of it."""

import asyncio
import json
import os
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from facevid.failures import FailureCode
from facevid.storage import private_opener
from pipeline.egress.wire import RefusedError

_LARGEST_CHUNK_BYTES = 65536
_LARGEST_LOG_BYTES = 64_000_000


@dataclass(slots=True, kw_only=True, eq=False)
class VideoMeter:
    """One video's account.

    Attributes:
        url: What it is, for the log, as others may see it.
        host: Host and port whose turn it has.
        bytes_left: Bytes that this try may still receive.
        seconds_left: Time that it may still be connected.
        key: Its name on the wire.
        bytes_in: Bytes received.
        connections: Connections made.
        refused: Why it was stopped, if it was.
    """

    url: str
    host: str
    bytes_left: int
    seconds_left: float
    key: str = field(default_factory=lambda: secrets.token_hex(8))
    bytes_in: int = 0
    connections: int = 0
    refused: RefusedError | None = None

    def receive(self, count: int) -> None:
        """Count bytes.

        Raises:
            RefusedError: `too_large`: there are more than it may have.
        """
        self.bytes_in += count
        self.bytes_left -= count
        if self.bytes_left < 0:
            self.refused = RefusedError(FailureCode.TOO_LARGE, "the server sends more than max_bytes")
            raise self.refused


class Bandwidth:
    """A cap on bytes per second over all connections.

    Args:
        bytes_per_s: The cap, or None.
        clock: Monotonic seconds.
        sleep: Waits for seconds.
    """

    def __init__(
        self, bytes_per_s: int | None, *, clock: Callable[[], float], sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        self._bytes_per_s = bytes_per_s
        self._clock, self._sleep = clock, sleep
        self._lock = asyncio.Lock()
        self._paid_until_s = float("-inf")

    @property
    def chunk_bytes(self) -> int:
        """How much to move at once, so that nobody waits long for a share."""
        return _LARGEST_CHUNK_BYTES if self._bytes_per_s is None else max(1, min(_LARGEST_CHUNK_BYTES,
                                                                                 self._bytes_per_s // 4))

    async def spend(self, count: int) -> None:
        """Wait until these bytes are paid for; who came first is served first."""
        if self._bytes_per_s is None:
            return
        async with self._lock:
            self._paid_until_s = max(self._paid_until_s, self._clock()) + count / self._bytes_per_s
            await self._sleep(self._paid_until_s - self._clock())


class Log:
    """One JSON line per connection and per video, for this user's eyes; the file before last is kept when it grows.

    Args:
        path: The file, or None for no log.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file = _open(path) if path else None

    def write(self, kind: str, **facts: Any) -> None:
        """Write one line."""
        if self._file is None or self._path is None:
            return
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._file.write(json.dumps({"at": at, "kind": kind, **facts}) + "\n")
        self._file.flush()
        if self._file.tell() > _LARGEST_LOG_BYTES:
            self._file.close()
            self._path.replace(self._path.with_suffix(".1.jsonl"))
            self._file = _open(self._path)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def _open(path: Path) -> IO[str]:
    file = open(path, "a", encoding="utf-8", opener=private_opener)  # noqa: SIM115  # closed by the log
    os.fchmod(file.fileno(), 0o600)  # one that was there before
    return file
