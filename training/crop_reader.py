"""The JPEG files of crops, a window at a time, read ahead from shards that stay open."""

from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType

import numpy as np
from jaxtyping import Int64

from facevid.shard_file import ShardFile
from training.examples import Examples

_MOST_OPEN = 256
"""Shards kept open; systems allow a process about a thousand files."""
_MOST_READERS = 8

Window = Int64[np.ndarray, " _"]


class CropReader(AbstractContextManager["CropReader"]):
    """Reads crops; a shard is opened, and its footer parsed, once.

    Args:
        examples: Which crops there are.
    """

    def __init__(self, examples: Examples) -> None:
        self._examples = examples
        self._open: dict[int, ShardFile] = {}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._open:
            self._open.popitem()[1].close()

    def windows(self, windows: Iterable[Window], *, readers: int) -> Generator[tuple[Window, dict[int, bytes]]]:
        """Windows with their files, in order; while one of them is used, the next is read.

        Args:
            windows: Examples that are read together; each row group of a window is read once.
            readers: Threads that read, of which no more than 8 are used; 0 reads when asked, in the caller's.

        Raises:
            DatasetError: A shard cannot be read.
        """
        if not readers:
            for window in windows:
                yield window, _together(self._read(part) for part in self._by_shard(window))
            return
        with _threads(min(readers, _MOST_READERS)) as pool:
            waiting: tuple[Window, list[Future[dict[int, bytes]]]] | None = None
            for window in windows:
                # Only when it is complete does the next one begin: no shard is read by two threads at a time.
                ready = waiting and (waiting[0], _together(part.result() for part in waiting[1]))
                waiting = window, [pool.submit(self._read, part) for part in self._by_shard(window)]
                if ready is not None:
                    yield ready
            if waiting is not None:
                yield waiting[0], _together(part.result() for part in waiting[1])

    def _by_shard(self, window: Window) -> list[Window]:
        ascending = np.sort(window)
        return np.split(ascending, np.flatnonzero(np.diff(self._examples.shard[ascending])) + 1)

    def _read(self, members: Window) -> dict[int, bytes]:
        """The files of ascending examples of one shard."""
        shard = int(self._examples.shard[members[0]])
        file = self._open.get(shard)
        if file is None:
            file = self._examples.shards[shard].open()
            if len(self._open) < _MOST_OPEN:
                self._open[shard] = file
        try:
            return _together(
                self._of_row_group(file, part)
                for part in np.split(members, np.flatnonzero(np.diff(self._examples.row_group[members])) + 1)
            )
        finally:
            if shard not in self._open:
                file.close()

    def _of_row_group(self, file: ShardFile, members: Window) -> dict[int, bytes]:
        column = file.read(["jpeg"], row_group=int(self._examples.row_group[members[0]]))["jpeg"]
        rows = self._examples.row[members].tolist()
        return {example: column[row].as_py() for example, row in zip(members.tolist(), rows, strict=True)}


def _together(parts: Iterable[dict[int, bytes]]) -> dict[int, bytes]:
    return {example: jpeg for part in parts for example, jpeg in part.items()}


@contextmanager
def _threads(count: int) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(count, thread_name_prefix="read") as pool:
        try:
            yield pool
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
