"""Which videos a report shows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from facevid import cli
from facevid.report.choice import MAX_VIDEOS, Choice, chosen_videos


def tracks_of(*errors: float, dropped: Sequence[int] = ()) -> list[dict[str, Any]]:
    return [{"track": n, "holdout_error": error, "kept": n not in dropped} for n, error in enumerate(errors)]


FEW = {"a": tracks_of(0.01), "b": tracks_of(0.02, 0.09, dropped=[1]), "c": tracks_of(0.03, 0.05), "d": tracks_of()}
MANY = {f"v{number:03}": tracks_of(0.01) for number in range(2 * MAX_VIDEOS + 3)}


def test_all_are_shown_where_one_page_holds_them() -> None:
    chosen = chosen_videos(FEW, Choice())
    assert (chosen.video_ids, chosen.told) == (("a", "b", "c", "d"), "")
    assert chosen_videos({}, Choice()).video_ids == ()


def test_the_pages_together_show_every_video_once() -> None:
    shown = [chosen_videos(MANY, Choice(page=page)) for page in (1, 2, 3)]
    assert [video_id for page in shown for video_id in page.video_ids] == sorted(MANY)
    assert shown[2].told.startswith("Page 3 of 3: videos 81 to 83 of 83, by id.")
    assert chosen_videos(MANY, Choice()) == shown[0]
    with pytest.raises(ValueError, match=r"page=4: the last page is 3 \(83 videos, 40 a page\)"):
        chosen_videos(MANY, Choice(page=4))


def test_the_worst_are_those_with_the_largest_hold_out_error_of_a_kept_track() -> None:
    assert chosen_videos(FEW, Choice(worst=2)).video_ids == ("c", "b")  # of b, the worse track is marked already
    everything = chosen_videos(FEW, Choice(worst=9))
    assert everything.video_ids == ("c", "b", "a")
    assert everything.told.startswith("Of 3 videos with a kept track, the 3 whose hold-out error is the largest")


def test_videos_are_shown_by_name_in_the_order_that_was_asked_for() -> None:
    assert chosen_videos(FEW, Choice(videos=("c", "a", "c"))).video_ids == ("c", "a")
    with pytest.raises(ValueError, match=r"videos='ann' has no face track in the dataset; did you mean 'anna'\?"):
        chosen_videos({"anna": [], "bert": []}, Choice(videos=("ann",)))


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--worst", "41"], "worst=41 must lie between 1 and 40"),
        (["--worst", "0"], "worst=0 must lie"),
        (["--page", "0"], "page=0 is below 1"),
        (["--page", "2"], "page=2: the last page is 1 (2 videos, 40 a page)"),
        (["--worst", "3", "--page", "1"], "worst and page each say which videos are shown: give one of them"),
        (["--videos", "a,nobody"], "videos='nobody' has no face track"),
        (["--videos", "a", "nobody"], "videos='nobody' has no face track"),
    ],
)
def test_a_choice_that_cannot_be_made_is_one_line_and_no_page(
    words: list[str], complaint: str, write_dataset: Any, toy_track: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset: Path = write_dataset(toy_track(video_id="a"), toy_track(video_id="b"))
    assert cli.main(["report", str(dataset), *words]) == 2
    assert complaint in capsys.readouterr().err.splitlines()[-1]
    assert not (dataset / "report.html").exists()
