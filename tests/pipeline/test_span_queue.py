"""Which span comes next, and how much of what is left one worker takes."""

import tempfile
import threading
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pipeline.span_queue import SpanQueue


def queue(folder: Path) -> SpanQueue:
    made = SpanQueue(folder / "spans")
    made.begin()
    return made


def test_the_largest_span_is_next_and_of_equal_ones_the_first(tmp_path: Path) -> None:
    spans = queue(tmp_path)
    spans.offer([(120.0, 3, 1), (120.0, 3, 0), (90.0, 3, 2)])
    spans.offer([(150.0, 7, 0), (120.0, 1, 5)])

    assert [spans.take() for _ in range(6)] == [[(7, 0)], [(1, 5)], [(3, 0)], [(3, 1)], [(3, 2)], []]


def test_what_is_held_waits_for_the_next_step(tmp_path: Path) -> None:
    spans = queue(tmp_path)
    spans.offer([(1.0, 0, 0)])
    spans.hold()
    spans.offer([(2.0, 1, 0)])

    assert spans.take() == []
    assert spans.take(held=True) == [(1, 0)]
    assert spans.take(held=True) == [(0, 0)]


def test_a_worker_by_itself_takes_as_many_as_it_may(tmp_path: Path) -> None:
    spans = queue(tmp_path)
    spans.offer((1.0, 0, number) for number in range(10))

    assert [len(spans.take(most=8)) for _ in range(3)] == [8, 2, 0]


def test_one_of_two_workers_takes_half_its_part_at_a_time(tmp_path: Path) -> None:
    spans = queue(tmp_path)
    spans.offer((1.0, 0, number) for number in range(16))

    assert [len(spans.take(most=8, workers=2)) for _ in range(5)] == [4, 3, 2, 1, 1]


def test_a_span_that_is_more_than_a_part_is_taken_by_itself(tmp_path: Path) -> None:
    spans = queue(tmp_path)
    spans.offer([(900.0, 0, 0), (10.0, 0, 1), (10.0, 0, 2), (10.0, 0, 3), (10.0, 0, 4)])

    assert spans.take(most=8, workers=2) == [(0, 0)]
    assert spans.take(most=8, workers=2) == [(0, 1)]


@given(st.lists(st.floats(0, 1e6), max_size=40), st.integers(1, 9), st.integers(1, 5))
def test_all_spans_are_taken_once(sizes: list[float], most: int, workers: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        spans = queue(Path(folder))
        spans.offer((size, 0, number) for number, size in enumerate(sizes))
        taken: list[tuple[int, int]] = []

        def work() -> None:
            while found := spans.take(most=most, workers=workers):
                assert len(found) <= most
                taken.extend(found)

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sorted(taken) == [(0, number) for number in range(len(sizes))]
