"""What becomes of a file that several processes change, whatever happens to one of them."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.shared_json import begin_shared, shared_json
from pipeline.span_queue import SpanQueue
from pipeline.wave_queue import WaveQueue


@contextmanager
def no_file_beyond(size_bytes: int) -> Iterator[None]:
    """The kernel writes so much of a file and no more, as where a disk is full or the process is killed just then."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_spans_wait_as_before_when_a_write_breaks_off(tmp_path: Path) -> None:
    spans = SpanQueue(tmp_path / "spans")
    spans.begin()
    spans.offer((1.0, 0, number) for number in range(20))

    with no_file_beyond(100), pytest.raises(OSError, match="large"):
        spans.offer([(2.0, 1, 0)])

    assert spans.take(most=30) == [(0, number) for number in range(20)]


def test_rows_are_taken_as_before_when_a_write_breaks_off(tmp_path: Path) -> None:
    rows = WaveQueue(tmp_path / "rows", range(4), ["a", "a", "b", "b"], pause_s=0.0)
    rows.begin()
    assert rows.take() == (0, "a")

    with no_file_beyond(100), pytest.raises(OSError, match="large"):
        rows.take()

    assert rows.take() == (2, "b")


def test_a_block_that_fails_changes_nothing(tmp_path: Path) -> None:
    begin_shared(tmp_path / "a", {"count": 1})

    with pytest.raises(ZeroDivisionError), shared_json(tmp_path / "a") as plain:
        plain["count"] = 1 // 0

    with shared_json(tmp_path / "a") as plain:
        assert plain == {"count": 1}
