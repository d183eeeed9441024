from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from pipeline.faces.crop_times import CropTimes
from pipeline.faces.errors import NoFaceError, TrackTooShortError
from pipeline.faces.follow import FaceFollower
from pipeline.faces.landmarks import FaceLandmarks
from pipeline.faces.options import FacesOptions
from pipeline.faces.picture import Picture
from pipeline.faces.regions import FaceBox, FaceRegion
from pipeline.faces.register import TEMPLATE68_PX
from pipeline.faces.tracks import track_faces

# What moves in test pictures is no face, and leaps.
OPTIONS = FacesOptions(max_misses=2, min_track_s=0.3, min_face_px=10.0, margin=0.25, max_appearance_jump=10.0)
FIRST = replace(OPTIONS, faces="first")
H264 = ("-c:v", "libx264", "-qp", "0", "-pix_fmt", "yuv444p")
BLANK = Picture(np.zeros((120, 160, 3), dtype=np.uint8))


@dataclass
class ScriptedDetector:
    """Sees in its n-th picture the faces (x, y, side, confidence) of the n-th entry of its script."""

    script: list[list[tuple[float, float, float, float]]]
    scheme: str = "mediapipe68"
    name: str = "scripted"
    weights_sha256: str = ""
    looked: int = field(default=-1)
    searched: list[tuple[int, bool]] = field(default_factory=list)

    def _faces(self):
        return self.script[min(self.looked, len(self.script) - 1)]

    def next(self):
        self.looked += 1

    def find_faces(self, picture, window=None):
        self.searched.append((self.looked, window is None))
        boxes = [
            FaceBox(x0=x, y0=y, x1=x + s, y1=y + s, score=c, right_eye_px=(x, y), left_eye_px=(x + s, y))
            for x, y, s, c in self._faces()
        ]
        return sorted(boxes, key=lambda box: -box.side_px)

    def region_of(self, box):
        return FaceRegion(x=(box.x0 + box.x1) / 2, y=(box.y0 + box.y1) / 2, side_px=box.side_px, angle_rad=0.0)

    def landmarks(self, picture, region):
        faces = self._faces()
        near = [f for f in faces if np.hypot(f[0] + f[2] / 2 - region.x, f[1] + f[2] / 2 - region.y) < region.side_px]
        if not near:
            return None
        x, y, s, c = min(near, key=lambda f: np.hypot(f[0] + f[2] / 2 - region.x, f[1] + f[2] / 2 - region.y))
        return FaceLandmarks(
            scheme=self.scheme,
            points_px=(TEMPLATE68_PX * np.float32(s / 224) + np.array([x, y], dtype=np.float32)).astype(np.float32),
            confidence=c,
            box_px=np.array([x, y, x + s, y + s], dtype=np.float32),
            region=FaceRegion(x=x + s / 2, y=y + s / 2, side_px=s, angle_rad=0.0),
        )


def followed(script, options=OPTIONS, detector=None):
    """What each frame showed: a letter per face in the order of their numbers, x where missed, X where given up."""
    detector = detector or ScriptedDetector(script)
    follower = FaceFollower(detector, options)
    seen = []
    for index in range(len(script)):
        detector.next()
        seen.append(follower(BLANK, looks_new=index == 0))
    return seen


def names(seen):
    letters = []
    for one in seen:
        states = {n: chr(ord("a") + n) for n in one.found} | dict.fromkeys(one.missed, "x")
        states |= dict.fromkeys(one.stopped, "X")
        letters.append("".join(states[n] for n in sorted(states)) or "-")
    return " ".join(letters)


FACE = (40.0, 30.0, 40.0, 0.9)
FAR = (110.0, 70.0, 50.0, 0.9)
NONE: list[tuple[float, float, float, float]] = []


class NearSightedDetector(ScriptedDetector):
    """Sees a face only near the middle of its region, and then half-way between the two."""

    def landmarks(self, picture, region):
        x, y, s, _ = self._faces()[0]
        if np.hypot(x + s / 2 - region.x, y + s / 2 - region.y) > 0.8 * s:
            return None
        seen = ((x + region.x - s / 2) / 2, (y + region.y - s / 2) / 2, s, 0.9)
        return ScriptedDetector([[seen]], looked=0).landmarks(picture, region)


def test_a_face_whose_box_was_off_is_looked_at_until_it_stays_where_it_is():
    class Askew(NearSightedDetector):
        def region_of(self, box):
            return replace(super().region_of(box), x=box.x0 + box.side_px)

    seen = followed([[FACE]], detector=Askew([[FACE]]))

    assert seen[0].found[0].box_px[0] == pytest.approx(FACE[0], abs=1.5)


@pytest.mark.parametrize("options", [OPTIONS, FIRST])
def test_a_guess_from_a_whole_large_picture_gives_way_to_what_a_part_of_it_shows(options):
    class Guessing(NearSightedDetector):
        def find_faces(self, picture, window=None):
            boxes = super().find_faces(picture, window)
            if window is None:
                return [replace(box, x0=box.x0 - 45, x1=box.x1 + 5, score=0.5) for box in boxes]
            return boxes

    detector = Guessing([[(600.0, 300.0, 60.0, 0.9)]])
    detector.next()
    picture = Picture(np.zeros((720, 1280, 3), dtype=np.uint8))

    seen = FaceFollower(detector, options)(picture, looks_new=True)

    assert [face.box_px[0] for face in seen.found.values()] == [pytest.approx(600, abs=1)]


def test_all_faces_are_followed_each_under_its_own_number():
    seen = followed([[FACE, FAR]] * 3)
    assert names(seen) == "ab ab ab"
    assert [float(seen[2].found[n].box_px[0]) for n in (0, 1)] == [110, 40]


def test_a_face_that_comes_in_later_is_found_by_the_next_search():
    seen = followed([[FACE]] * 10 + [[FACE, FAR]] * 20)
    assert names(seen).endswith("ab ab ab")
    begun = next(k for k, one in enumerate(seen) if len(one.found) == 2)
    assert begun - 10 <= 13


def test_no_more_faces_are_followed_than_asked_for_and_these_are_the_largest():
    seen = followed([[FACE, FAR]] * 20, replace(OPTIONS, max_faces=1))
    assert names(seen) == " ".join(["a"] * 20)
    assert seen[-1].found[0].box_px[0] == 110


def test_first_mode_follows_the_first_face_though_a_larger_one_comes_in():
    larger = (100.0, 20.0, 59.0, 1.0)
    seen = followed([NONE] * 3 + [[FACE]] * 10 + [[FACE, larger]] * 40, FIRST)
    assert set(names(seen).split()) == {"-", "a"}
    assert seen[-1].found[0].box_px[0] == 40


def test_first_mode_takes_the_largest_of_several_faces_at_once():
    [seen] = followed([[FACE, FAR]], FIRST)
    assert [float(face.box_px[0]) for face in seen.found.values()] == [110]


def test_a_face_missed_for_k_frames_is_the_same_face():
    assert names(followed([[FACE], [], [], [FACE]])) == "a x x a"


def test_misses_are_counted_anew_after_a_sighting():
    assert names(followed([[FACE], [], [], [FACE], [], [], [FACE]])) == "a x x a x x a"


def test_after_more_than_k_misses_the_track_stops_and_another_may_start():
    assert names(followed([[FACE], [], [], [], [], [FACE]])) == "a x x X - b"


def test_the_frame_that_gives_a_face_up_looks_for_another_at_once():
    assert names(followed([[FACE], [FAR], [FAR], [FAR]], FIRST)) == "a x x Xb"


def test_another_face_elsewhere_is_another_one_and_is_followed_at_once():
    assert names(followed([[FACE], [FAR], [FAR], [FAR], [FAR]])) == "a xb xb Xb b"


def test_two_followed_faces_never_become_one():
    # The left one leaves behind the right one's place.
    left, right = (30.0, 30.0, 40.0, 0.9), (80.0, 30.0, 40.0, 0.9)
    closing = [[(30.0 + 5 * k, 30.0, 40.0, 0.9), right] for k in range(8)]
    seen = followed([[left, right], *closing, *[[right]] * 4])
    boxes = [{n: float(face.box_px[0]) for n, face in one.found.items()} for one in seen]
    number = next(n for n, x in boxes[0].items() if x == 80)
    assert all(one[number] == 80 for one in boxes)
    assert [len(one) for one in boxes[-4:]] == [1, 1, 1, 1]


def test_faces_that_cross_keep_their_numbers_or_are_given_up():
    def crossing(k):
        return [(20.0 + 6 * k, 20.0, 40.0, 0.9), (110.0 - 6 * k, 50.0, 40.0, 0.9)]

    seen = followed([crossing(k) for k in range(15)])
    rows = {0: set(), 1: set()}
    for one in seen:
        for n, face in one.found.items():
            rows.setdefault(n, set()).add(float(face.box_px[1]))
    assert all(len(row) <= 1 for row in rows.values())


def test_the_margin_says_how_far_a_face_may_move():
    moved = (40.0 + 16, 30.0, 40.0, 0.9)  # overlap 24 / 56 = 0.43
    assert names(followed([[FACE], [moved]], FIRST)) == "a a"
    assert names(followed([[FACE], [moved]], replace(FIRST, margin=0.5))) == "a x"


def test_unsure_and_small_faces_do_not_count():
    assert names(followed([[(40.0, 30.0, 40.0, 0.4)], [(40.0, 30.0, 9.0, 0.9)]])) == "- -"
    assert names(followed([[FACE], [(40.0, 30.0, 40.0, 0.4)]])) == "a x"


def test_pictures_are_searched_seldom_while_nothing_happens():
    for script, most in (([[FACE]] * 100, 9), ([NONE] * 100, 40)):
        detector = ScriptedDetector(script)
        followed(script, detector=detector)
        assert len({looked for looked, _ in detector.searched}) < most


class KeptCrops:
    def __init__(self):
        self.seen = []

    def add(self, track, frame, jpeg, crop_from_frame):
        assert jpeg[:2] == b"\xff\xd8"
        assert crop_from_frame.shape == (2, 3)
        self.seen.append((track, frame))


class ScriptFollower(FaceFollower):
    """Turns its detector's script over to the next picture before it looks."""

    def find(self, picture, *, looks_new):
        self._detector.next()
        return super().find(picture, looks_new=looks_new)


@pytest.fixture
def track(make_clip, monkeypatch):
    monkeypatch.setattr("pipeline.faces.tracks.FaceFollower", ScriptFollower)

    def run(script, source="testsrc2=s=160x120:r=30", options=OPTIONS, **part):
        path = make_clip("t.mp4", f"{source},trim=duration={len(script) / 30}", *H264)
        crops = KeptCrops()
        return track_faces(path, ScriptedDetector(script), options, crops, **part), crops.seen

    return run


def test_a_track_is_every_frame_from_its_first_to_its_last_sighting(track):
    script = [[], []] + [[FACE]] * 12 + [[], []] + [[(44.0, 33.0, 40.0, 0.8)]] * 4 + [[]] * 6
    result, crops = track(script)
    [one] = result.tracks
    assert result.frames_read == len(script)
    assert one.frame.tolist() == list(range(2, 20))
    assert np.allclose(one.pts_s, np.arange(2, 20) / 30, atol=1e-3)
    assert one.confidence.tolist() == pytest.approx([0.9] * 12 + [0] * 2 + [0.8] * 4)
    assert one.observed_px.shape == one.smoothed_px.shape == (18, 68, 2)
    assert (one.in_frame == 1).all()
    # Bridged: a third and two thirds of the way from 40 to 44.
    assert one.box_px[12:14, 0].tolist() == pytest.approx([40 + 4 / 3, 40 + 8 / 3], abs=1e-3)
    assert crops == [(0, frame) for frame in one.frame.tolist() if frame not in {14, 15}]


@pytest.mark.parametrize(
    ("times_s", "crops_per_s", "kept"),
    [
        ([0.0, 0.04, 0.08, 0.12, 0.16, 0.2, 0.24], 12.5, [0, 2, 4, 6]),
        ([0.0, 0.04, 0.08, 0.12, 0.16, 0.2, 0.24], 100.0, [0, 1, 2, 3, 4, 5, 6]),
        ([0.0, 0.04, 0.08, 0.12, 0.16, 0.2, 0.24], None, [0, 1, 2, 3, 4, 5, 6]),
        # Seldom frames are kept, and many after them are not: no interval gets what another has left over.
        ([0.0, 0.9, 2.5, 2.6, 2.7, 2.91, 3.2], 1.0, [0, 1, 2, 5]),
    ],
)
def test_of_each_interval_of_the_clock_the_first_frame_keeps_its_crops(times_s, crops_per_s, kept):
    times = CropTimes(crops_per_s)
    assert [place for place, pts_s in enumerate(times_s) if times.keeps(pts_s)] == kept


def test_fewer_crops_are_kept_and_the_tracks_are_the_same(track):
    script = [[]] * 2 + [[FACE, FAR]] * 20 + [[FACE]] * 8
    (every, _), (some, crops) = (track(script, options=replace(OPTIONS, crops_per_s=rate)) for rate in (None, 10.0))
    # Frame 0 is the first of its interval, and shows no face.
    assert sorted(crops) == [
        (number, frame) for number, one in enumerate(some.tracks) for frame in one.frame.tolist() if frame % 3 == 0
    ]
    assert sorted(len(one.frame) for one in some.tracks) == [20, 28]
    for one, other in zip(every.tracks, some.tracks, strict=True):
        for name in ("frame", "observed_px", "sharpness", "brightness", "similarity"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_which_frames_keep_crops_does_not_depend_on_where_a_part_begins(track):
    options = replace(OPTIONS, crops_per_s=8.0)
    _, whole = track([[FACE]] * 60, options=options)
    kept = [frame for _, frame in whole]
    assert 14 <= len(kept) <= 17
    for begin in (7, 20, 31):
        _, part = track([[FACE]] * 60, options=options, start_s=begin / 30 - 0.001)
        # Its very first frame is the first of an interval as far as this part knows.
        assert [begin + frame for _, frame in part if frame] == [frame for frame in kept if frame > begin]


def test_short_tracks_are_counted_and_left_out_with_their_crops(track):
    result, crops = track([[FACE]] * 5 + [[]] * 4 + [[FAR]] * 12 + [[]] * 4 + [[FACE]] * 11)
    assert [(one.frame[0], one.frame[-1]) for one in result.tracks] == [(9, 20), (25, 35)]
    assert len(result.short_tracks) == 1
    assert crops == [(0, n) for n in range(9, 21)] + [(1, n) for n in range(25, 36)]


def test_no_track_crosses_a_cut(track):
    source = "testsrc2=s=160x120:r=30:d=0.5[a];gradients=s=160x120:r=30:d=2:seed=3[b];[a][b]concat"
    result, _ = track([[FACE]] * 30, source)
    assert [(one.begin, one.end) for one in result.transitions] == [(15, 15)]
    assert [(one.frame[0], one.frame[-1]) for one in result.tracks] == [(0, 14), (15, 29)]


def test_after_a_cut_another_face_is_followed_at_once(track):
    source = "testsrc2=s=160x120:r=30:d=0.5[a];gradients=s=160x120:r=30:d=2:seed=3[b];[a][b]concat"
    result, _ = track([[FACE]] * 15 + [[FAR]] * 15, source)
    assert [(one.frame[0], one.frame[-1]) for one in result.tracks] == [(0, 14), (15, 29)]


def test_a_video_without_a_face_says_so(track):
    with pytest.raises(NoFaceError, match=r"t\.mp4 shows no face in any of its 10 frames"):
        track([[]] * 10)


def test_a_face_that_shows_too_briefly_says_so(track):
    with pytest.raises(TrackTooShortError, match=r"the longest of 1 tracks lasts 0\.13 s, but min_track_s is 0\.3"):
        track([[FACE]] * 5 + [[]] * 5)


def test_what_looks_like_a_face_for_a_frame_or_two_is_none(track):
    with pytest.raises(NoFaceError, match=r"no face in its 10 frames: .* at most 2 frames at a time") as caught:
        track([[FACE]] * 2 + [[]] * 8)
    assert not isinstance(caught.value, TrackTooShortError)


def test_faces_partly_outside_the_picture_are_measured(track):
    result, _ = track([[(-20.0, 30.0, 40.0, 0.9)]] * 12)
    assert 0.3 < result.tracks[0].in_frame[0] < 0.7


def test_a_detector_of_another_scheme_is_refused(tmp_path):
    detector = ScriptedDetector([], scheme="ibug68")
    with pytest.raises(ValueError, match=r"detector gives scheme='ibug68', but options.scheme='mediapipe68'"):
        track_faces(tmp_path / "a.mp4", detector, OPTIONS)


def test_faces_seen_at_the_same_time_give_tracks_that_run_at_the_same_time(track):
    result, crops = track([[FACE, FAR]] * 12)
    assert [(one.frame[0], one.frame[-1]) for one in result.tracks] == [(0, 11), (0, 11)]
    assert [float(one.box_px[0, 0]) for one in result.tracks] == [110, 40]
    for number in (0, 1):
        assert [frame for own, frame in crops if own == number] == list(range(12))


def test_a_track_ends_where_another_face_takes_its_place_without_a_cut(track):
    source = (
        "color=gray:s=160x120:r=30:d=2[b];smptebars=s=40x40:r=30:d=0.5[p];rgbtestsrc=s=40x40:r=30:d=2[q];"
        "[p][q]concat[f];[b][f]overlay=40:30"
    )
    result, crops = track([[FACE]] * 30, source, replace(OPTIONS, max_appearance_jump=0.57))
    assert [(one.frame[0], one.frame[-1]) for one in result.tracks] == [(0, 14), (15, 29)]
    assert (result.person_changes_s, result.transitions) == ((pytest.approx(0.5),), ())
    assert crops == [(0, n) for n in range(15)] + [(1, n) for n in range(15, 30)]
    [whole] = track([[FACE]] * 30, source, replace(OPTIONS, max_appearance_jump=1e6))[0].tracks
    assert whole.jump.argmax() == 15
