from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from synthetic import landmark_track

from pipeline import seams
from pipeline.faces.landmark_track import LandmarkTrack
from pipeline.items import TrackBoxes, TrackPart
from pipeline.seams import SpanBoxes, join_tracks, whole_track

HERE, THERE = (10.0, 10.0, 50.0, 50.0), (200.0, 10.0, 240.0, 50.0)
SPAN, LEAD = 100, 20
Shown = tuple[int, int, tuple[float, float, float, float]]


def span(number: int, *shown: Shown, late_s: float = 0.0, shot_ends: tuple[int, ...] = ()) -> SpanBoxes:
    """Spans of 100 frames with a lead of 20; faces by their frames in the video."""
    lead = LEAD if number else 0
    first = SPAN * number - lead
    tracks = tuple(
        TrackBoxes(
            frame=np.arange(begin - first, end - first, dtype=np.int32),
            pts_s=np.arange(begin, end) / 25 + late_s,
            box_px=np.tile(np.array(box, np.float32), (end - begin, 1)),
        )
        for begin, end, box in shown
    )
    ends = tuple(end - first for end in shot_ends)
    return SpanBoxes(number=number, first_frame=first, lead_frames=lead, lead_shot_ends=ends, tracks=tracks)


def whole(*spans: SpanBoxes) -> list[list[tuple[int, int, int]]]:
    """Each track's parts: the span, and begin and end in the video."""
    firsts = {each.number: each.first_frame for each in spans}
    return [
        [(part.span, part.begin + firsts[part.span], part.end + firsts[part.span]) for part in parts]
        for _, tracks in sorted(join_tracks(spans).items()) for parts in tracks
    ]  # fmt: skip


def test_a_face_that_shows_on_both_sides_of_borders_is_one_track() -> None:
    found = whole(span(0, (30, 100, HERE)), span(1, (80, 200, HERE)), span(2, (180, 240, HERE)))

    assert found == [[(0, 30, 100), (1, 100, 200), (2, 200, 240)]]


def test_two_faces_at_a_border_stay_two_whatever_their_order() -> None:
    found = whole(span(0, (0, 100, HERE), (0, 100, THERE)), span(1, (80, 150, THERE), (80, 130, HERE)))

    assert found == [[(0, 0, 100), (1, 100, 130)], [(0, 0, 100), (1, 100, 150)]]


def test_a_face_that_began_too_late_for_the_span_before_is_whole_in_the_next() -> None:
    assert whole(span(0, (0, 60, HERE)), span(1, (95, 150, HERE))) == [[(0, 0, 60)], [(1, 95, 150)]]


def test_a_face_that_ends_in_the_lead_is_there_once() -> None:
    assert whole(span(0, (0, 95, HERE)), span(1, (80, 95, HERE), (120, 150, HERE))) == [[(0, 0, 95)], [(1, 120, 150)]]


def test_what_only_the_later_span_has_found_in_its_lead_is_kept() -> None:
    assert whole(span(0, (0, 50, HERE)), span(1, (80, 96, THERE))) == [[(0, 0, 50)], [(1, 80, 96)]]


def test_a_face_that_the_later_span_finds_late_goes_on() -> None:
    assert whole(span(0, (0, 100, HERE)), span(1, (97, 150, HERE))) == [[(0, 0, 100), (1, 100, 150)]]


@pytest.mark.parametrize(
    ("after", "shot_ends", "end"),
    [
        ([(80, 90, HERE), (120, 150, HERE)], (), 100),
        ([(80, 90, HERE), (92, 150, THERE)], (), 100),
        ([(80, 90, HERE), (94, 98, HERE)], (), 94),
        ([(80, 90, HERE), (97, 150, HERE)], (), 97),
        ([(80, 90, HERE), (85, 150, HERE)], (), 90),
        ([(80, 90, HERE)], (84, 92, 96), 92),
        ([(80, 90, HERE)], (90,), 90),
        ([(80, 150, HERE)], (92,), 100),
    ],
    ids=[
        "nobody else", "a face elsewhere", "a face in its place", "found again", "another one already there",
        "a dissolve", "a cut", "not lost",
    ],
)
def test_a_face_that_the_later_span_loses_goes_on_in_the_earlier_until_a_shot_ends_or_another_has_its_place(
    after: list[Shown], shot_ends: tuple[int, ...], end: int
) -> None:
    first, *_ = whole(span(0, (0, 100, HERE)), span(1, *after, shot_ends=shot_ends))

    assert first[0] == (0, 0, end)


@pytest.mark.parametrize(
    ("before", "after", "joined"),
    [
        # A dissolve that is over in the next span only: the first shot's track ends where it begins.
        ([(0, 100, HERE)], [(80, 90, HERE), (94, 150, HERE)], [[(0, 0, 90)], [(1, 94, 150)]]),
        # A dissolve that began before the next span did.
        ([(0, 84, HERE), (88, 100, HERE)], [(80, 150, HERE)], [[(0, 0, 84)], [(0, 88, 100), (1, 100, 150)]]),
        # A cut that both have seen, two frames apart.
        (
            [(0, 90, HERE), (90, 100, HERE)], [(80, 92, HERE), (92, 150, HERE)],
            [[(0, 0, 90), (1, 90, 92)], [(0, 90, 100), (1, 100, 150)]],
        ),
    ],
    ids=["parted later", "parted earlier", "parted by both"],
)  # fmt: skip
def test_what_either_span_has_parted_stays_parted(
    before: list[Shown], after: list[Shown], joined: list[list[tuple[int, int, int]]]
) -> None:
    dissolve = (90,) if len(before) == 1 < len(after) else ()
    assert whole(span(0, *before), span(1, *after, shot_ends=dissolve)) == joined


def test_another_face_or_other_frames_in_the_lead_begin_a_new_track() -> None:
    beside = (35.0, 10.0, 75.0, 50.0)

    assert len(whole(span(0, (0, 100, HERE)), span(1, (80, 150, beside)))) == 2
    assert len(whole(span(0, (0, 100, HERE)), span(1, (80, 150, HERE), late_s=0.001))) == 2


def test_spans_that_are_not_neighbours_share_nothing() -> None:
    assert len(whole(span(0, (0, 100, HERE)), span(2, (180, 250, HERE)))) == 2


def test_tracks_that_are_fitted_together_do_not_grow_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seams, "MOST_FRAMES", 450)
    spans = [span(k, (max(0, 100 * k - 20), 100 * k + 100, HERE), (max(0, 100 * k - 20), 100 * k + 100, THERE))
             for k in range(5)]  # fmt: skip

    found = whole(*spans)

    assert [(parts[0][1], parts[-1][2]) for parts in found] == [(0, 200)] * 2 + [(200, 400)] * 2 + [(400, 500)] * 2
    # What begins at a border begins after it.
    assert [parts[0] for parts in found[2:4]] == [(2, 200, 300)] * 2


def two_parts(*, apart_px: float) -> tuple[Sequence[TrackPart], dict[int, int], dict[int, LandmarkTrack]]:
    one = landmark_track(160)
    early = {"frame": one.frame[:100], "pts_s": one.pts_s[:100]}
    late = {"frame": one.frame[80:] - np.int32(80), "pts_s": one.pts_s[80:]}
    for name in ("box_px", "observed_px", "smoothed_px", "confidence", "sharpness", "brightness", "in_frame",
                 "similarity", "jump", "occlusion"):  # fmt: skip
        early[name], late[name] = getattr(one, name)[:100].copy(), getattr(one, name)[80:].copy()
    late["smoothed_px"] += np.float32(apart_px)
    parts = (TrackPart(span=0, track=0, begin=0, end=100), TrackPart(span=1, track=3, begin=20, end=80))
    return parts, {0: 0, 1: 80}, {0: replace(one, **early), 3: replace(one, **late)}


def test_a_track_of_two_parts_is_the_track_that_was_cut() -> None:
    parts, firsts, tracks = two_parts(apart_px=0.0)

    joined = whole_track(parts, firsts, lambda part: tracks[part.track])

    one = landmark_track(160)
    for name in ("frame", "pts_s", "box_px", "observed_px", "confidence"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(one, name))
    np.testing.assert_allclose(joined.smoothed_px, one.smoothed_px, atol=1e-5)


def test_smoothed_landmarks_pass_over_from_one_part_to_the_next() -> None:
    parts, firsts, tracks = two_parts(apart_px=2.1)

    change = whole_track(parts, firsts, lambda part: tracks[part.track]).smoothed_px - landmark_track(160).smoothed_px

    assert np.abs(change[:80]).max() == 0
    np.testing.assert_allclose(change[100:], 2.1, atol=1e-4)
    np.testing.assert_allclose(np.diff(change[79:101, 0, 0]), 0.1, atol=1e-4)
