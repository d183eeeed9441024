"""Looking ahead in batches: the same faces as one by one, whatever the size of a batch."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from facevid import assets
from pipeline.faces import ahead as ahead_module
from pipeline.faces import tracks as tracks_module
from pipeline.faces.ahead import BatchedDetector, LookAhead
from pipeline.faces.follow import FaceFollower
from pipeline.faces.landmarks import FaceLandmarks, LandmarkDetector, MediapipeDetector
from pipeline.faces.options import FacesOptions
from pipeline.faces.picture import Picture
from pipeline.faces.regions import FaceBox, FaceRegion
from pipeline.faces.register import TEMPLATE68_PX
from pipeline.faces.shot_frames import ShotFrame
from pipeline.faces.tracks import track_faces
from pipeline.faces.video import VideoFrame

OPTIONS = FacesOptions(max_misses=2, min_face_px=10.0, margin=0.25, max_faces=4)
Face = tuple[float, float, float]


@dataclass
class Scripted:
    """Sees the faces (x, y, side) of the n-th entry of its script in the picture whose first sample is n."""

    script: list[list[Face]]
    scheme: str = "mediapipe68"
    name: str = "scripted"
    weights_sha256: str = "0"
    batches: list[int] = field(default_factory=list)
    pictures_in_batch: list[int] = field(default_factory=list)
    alone: list[int] = field(default_factory=list)
    blind_to: tuple[int, ...] = ()

    def find_faces(self, picture, window=None):
        if number(picture) in self.blind_to:
            return []
        return [
            FaceBox(x0=x, y0=y, x1=x + s, y1=y + s, score=0.9, right_eye_px=(x, y), left_eye_px=(x + s, y))
            for x, y, s in sorted(self.script[number(picture)], key=lambda face: -face[2])
        ]

    def region_of(self, box):
        return region(box.x0, box.y0, box.side_px)

    def landmarks(self, picture, region):
        self.alone.append(number(picture))
        return self._seen(picture, region)

    def landmarks_of(self, looks):
        self.batches.append(len(looks))
        self.pictures_in_batch.append(len({id(picture) for picture, _ in looks}))
        return [self._seen(picture, region) for picture, region in looks]

    def _seen(self, picture, at):
        def far(face):
            own = region(*face)
            return np.hypot(own.x - at.x, own.y - at.y)

        near = [face for face in self.script[number(picture)] if far(face) < at.side_px / 2]
        if not near:
            return None
        x, y, s = min(near, key=far)
        points = TEMPLATE68_PX * np.float32(s / 224) + np.array([x, y], dtype=np.float32)
        return FaceLandmarks(
            scheme=self.scheme,
            points_px=points.astype(np.float32),
            confidence=0.9,
            box_px=np.array([x, y, x + s, y + s], dtype=np.float32),
            region=region(x, y, s),
        )


def region(x: float, y: float, side: float) -> FaceRegion:
    return FaceRegion(x=x + side / 2, y=y + side / 2, side_px=2 * side, angle_rad=0.0)


def number(picture: Picture) -> int:
    return int(picture.rgb[0, 0, 0])


def shown(frames: int, cuts: tuple[int, ...] = ()):
    """Frames with their number in the first sample, all in one buffer as a decoder's."""
    buffer = np.zeros((120, 160, 3), dtype=np.uint8)
    for index in range(frames):
        buffer[0, 0, 0] = index
        yield ShotFrame(VideoFrame(index, index / 30, Picture(buffer)), index == 0 or index in cuts, (), index)


def followed(detector, options=OPTIONS, *, batch=None, cuts=()):
    """What each frame showed, by number: where its face was, or that it was missed or given up."""
    frames = shown(len(detector.script), cuts)
    looks = detector
    if batch is not None:
        looks = LookAhead(detector, replace(options, batch_faces=batch))
        frames = looks.frames(frames)
    follow = FaceFollower(looks, options)
    seen, indices = [], []
    for one in frames:
        assert number(one.frame.picture) == one.frame.index
        saw = follow(one.frame.picture, looks_new=one.looks_new)
        seen.append(({n: tuple(f.box_px.tolist()) for n, f in saw.found.items()}, saw.missed, saw.stopped))
        indices.append(one.frame.index)
    assert indices == list(range(len(detector.script)))
    return seen


def moving(frames, *, x=20.0, y=30.0, side=40.0, step=1.5) -> list[list[Face]]:
    return [[(x + step * k, y, side)] for k in range(frames)]


def both(first, second):
    return [one + other for one, other in zip(first, second, strict=True)]


A, B = moving(40), moving(40, x=110.0, y=70.0, side=45.0, step=-1.0)
SCRIPTS = {
    "one face": (A, ()),
    "two faces": (both(A, B), ()),
    "nothing": ([[]] * 23, ()),
    "a face that is lost and found": (A[:11] + [[]] * 2 + A[13:30], ()),
    "a face that is given up, and another": (A[:11] + [[]] * 6 + B[:20], ()),
    "a cut between key frames": (A[:13] + B[:20], (13,)),
    "a cut right after a key frame, and one right before": (A[:11] + B[:13] + A[:9], (11, 24)),
    "a face that comes in": (A[:12] + both(A[12:], B[12:]), ()),
    "faces that cross": ([[(10.0 + 3 * k, 20.0, 40.0), (110.0 - 3 * k, 62.0, 40.0)] for k in range(33)], ()),
    "one frame": (A[:1], ()),
    "a face that leaps within a key interval": (A[:7] + moving(20, x=36.0), ()),
}


@pytest.mark.parametrize(("script", "cuts"), SCRIPTS.values(), ids=SCRIPTS.keys())
@pytest.mark.parametrize("faces", ["all", "first"])
def test_faces_are_followed_as_they_are_one_by_one(script, cuts, faces):
    options = replace(OPTIONS, faces=faces)
    expected = followed(Scripted(script), options, cuts=cuts)
    for batch in (1, 7, 64):
        assert followed(Scripted(script), options, batch=batch, cuts=cuts) == expected


def test_faces_of_many_frames_fill_the_batches_and_none_is_looked_at_alone():
    detector = Scripted(both(A, B))
    followed(detector, batch=16)
    assert detector.batches == [16] * 5
    assert detector.pictures_in_batch == [8] * 5
    assert detector.alone == []


def test_a_face_is_expected_for_a_while_though_the_finder_misses_it():
    detector = Scripted(moving(40, step=0.5), blind_to=(10, 25))
    followed(detector, batch=16)
    assert detector.alone == []


@pytest.mark.parametrize(
    ("script", "cuts"),
    [(moving(31, step=6.0), ()), (moving(13, step=0.0) + moving(13, x=56.0, step=0.0), (13,))],
    ids=["moves along", "leaps with a cut"],
)
def test_one_look_is_enough_where_a_face(script, cuts):
    detector = Scripted(script)
    followed(detector, batch=1, cuts=cuts)
    assert len(detector.batches) == len(script)
    # After a cut the follower also asks, until it gives its face up, whether that is still where it was.
    assert set(detector.alone) <= {cut + k for cut in cuts for k in range(OPTIONS.max_misses + 1)}


def test_a_face_that_was_not_expected_is_looked_at_alone():
    detector = Scripted(A, blind_to=tuple(range(5, 40)))
    seen = followed(detector, batch=16)
    assert all(list(found) == [0] for found, _, _ in seen)
    assert set(detector.alone) >= set(range(20, 40))


def test_landmarks_off_the_middle_are_looked_at_again_and_the_second_look_counts():
    class Shifted(Scripted):
        """Its boxes lie a third of a face beside the face."""

        def region_of(self, box):
            return region(box.x0 + box.side_px / 1.5, box.y0, box.side_px)

    detector = Shifted(A)
    followed(detector, batch=8)
    assert detector.batches == [8] * 10  # two looks at each of 40 faces
    assert detector.alone == []


def test_frames_are_held_back_only_up_to_a_number_of_bytes(monkeypatch):
    monkeypatch.setattr(ahead_module, "HELD_BYTES", 10 * 120 * 160 * 3)
    detector = Scripted(A)
    followed(detector, batch=4096)
    assert detector.batches == [10] * 4


def test_a_picture_that_is_kept_stays_when_the_next_frame_comes():
    [first, *_] = [one.kept() for one in shown(3)]
    assert number(first.frame.picture) == 0


def test_looking_ahead_is_for_batched_detectors_and_is_a_detector_itself():
    assert isinstance(Scripted([]), BatchedDetector)
    assert not isinstance(MediapipeDetector(assets.fetch_landmark_networks()), BatchedDetector)
    assert isinstance(LookAhead(Scripted([]), OPTIONS), LandmarkDetector)


class MeshInBatches(MediapipeDetector):
    """The face mesh, as if it were fast in batches, and sees the upright squares that FAN sees."""

    def region_of(self, box):
        return FaceRegion(x=(box.x0 + box.x1) / 2, y=(box.y0 + box.y1) / 2, side_px=1.5 * box.side_px, angle_rad=0.0)

    def landmarks_of(self, looks):
        return [self.landmarks(picture, region) for picture, region in looks]


def test_a_video_gives_the_tracks_that_it_gives_one_by_one(monkeypatch):
    video, detector = assets.fetch("single_face.mp4"), MeshInBatches(assets.fetch_landmark_networks())
    made = []

    class Watched(LookAhead):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr(tracks_module, "LookAhead", Watched)
    many, few = (
        track_faces(video, detector, FacesOptions(batch_faces=batch), end_s=1.5) for batch in (32, 5)
    )
    monkeypatch.setattr(tracks_module, "BatchedDetector", type("NoDetector", (), {}))
    single = track_faces(video, detector, FacesOptions(), end_s=1.5)
    assert [ahead.alone for ahead in made] == [0, 0]
    assert made[0].looks == made[1].looks == many.frames_read == few.frames_read == single.frames_read
    (one,), (other,), (alone,) = many.tracks, few.tracks, single.tracks
    np.testing.assert_allclose(one.observed_px, other.observed_px, rtol=0, atol=1e-3)
    assert one.frame.tolist() == other.frame.tolist() == alone.frame.tolist()
    # Looked at through squares from boxes instead of from the last landmarks.
    face_px = np.ptp(alone.box_px[0, [0, 2]])
    assert np.median(np.linalg.norm(one.observed_px - alone.observed_px, axis=2)) < 0.02 * face_px
    assert many.seconds.landmarks > 0 < many.seconds.detect
