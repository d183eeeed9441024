"""What a card says of where a model comes from."""

from collections.abc import Callable
from pathlib import Path

import facevid
from training.sources import licences_in_words, sources_of


def test_videos_are_counted_by_licence_and_those_of_other_splits_are_not(
    write_dataset: Callable[..., Path], toy_track: type
) -> None:
    dataset = facevid.open(write_dataset(
        toy_track(video_id="a", licence="CC-BY-4.0"), toy_track(video_id="a", track=1, licence="CC-BY-4.0"),
        toy_track(video_id="b", licence="CC0-1.0"), toy_track(video_id="c", licence="CC-BY-4.0"),
        toy_track(video_id="d"), toy_track(video_id="e", split="val", licence="secret"),
    ))
    sources = sources_of([dataset], tuple((0, video_id) for video_id in "abcd"))
    assert (sources.videos, sources.licences) == (4, {"CC-BY-4.0": 2, "CC0-1.0": 1})
    words = licences_in_words(sources.videos, sources.licences)
    assert words == "Licences of the 4 training videos: `CC-BY-4.0` 2, `CC0-1.0` 1, none stated 1."


def test_the_text_of_a_licence_is_a_strangers_and_stays_text() -> None:
    words = licences_in_words(2, {"` <script>\n# Heading": 1, "x" * 500: 1})
    assert words == f"Licences of the 2 training videos: `' <script> # Heading` 1, `{'x' * 77}...` 1."


def test_many_licences_are_counted_together_beyond_the_twentieth() -> None:
    words = licences_in_words(25, {f"L{number:02d}": 1 for number in range(25)})
    assert "`L19` 1, 5 further licences 5." in words
