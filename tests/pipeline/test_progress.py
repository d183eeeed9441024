from pathlib import Path

from pipeline.progress import Counters, clear_progress, total_counts


def test_counts_of_several_processes_add_up(tmp_path: Path) -> None:
    first, second = Counters(tmp_path), Counters(tmp_path)
    first.add("videos", 2)
    second.add("videos", 3)
    with second.timed("fit_s"):
        second.add("fitted_tracks")
    first.flush()

    total = total_counts(tmp_path)

    assert (total["videos"], total["fitted_tracks"], total["nobody counted this"]) == (5, 1, 0)


def test_counters_write_twice_a_second_and_not_more(tmp_path: Path) -> None:
    now_s = [0.0]
    counters = Counters(tmp_path, clock=lambda: now_s[0])
    seen = []
    for _ in range(11):
        counters.add("frames")
        seen.append(total_counts(tmp_path)["frames"])
        now_s[0] += 0.125

    assert seen == [1, 1, 1, 1, 5, 5, 5, 5, 9, 9, 9]


def test_a_new_build_starts_counting_at_zero(tmp_path: Path) -> None:
    Counters(tmp_path).add("videos")
    clear_progress(tmp_path)

    assert total_counts(tmp_path) == {}
