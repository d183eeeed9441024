"""Which boxes of a large picture count: a small face's box in the whole of it is a guess."""

import numpy as np

from pipeline.faces.detect import surest
from pipeline.faces.key_frames import KEY_EVERY_FRAMES, KeyFrames
from pipeline.faces.options import FacesOptions
from pipeline.faces.picture import Picture
from pipeline.faces.regions import FaceBox
from pipeline.faces.search import around

LARGE = Picture(np.zeros((720, 1280, 3), dtype=np.uint8))


def face(x: float, y: float, side: float, score: float) -> FaceBox:
    return FaceBox(
        x0=x, y0=y, x1=x + side, y1=y + side, score=score, right_eye_px=(x, y), left_eye_px=(x + side, y)
    )


GUESS, SURE, OTHER = face(600.0, 300.0, 46.0, 0.55), face(612.0, 312.0, 30.0, 0.93), face(100.0, 100.0, 40.0, 0.8)


def boxes_on_keys(keys: int, whole, parts) -> list[list[FaceBox]]:
    """What is expected on each key frame of a shot, where `whole` and `parts` find faces."""
    looks = KeyFrames(lambda _, window: list(parts(window) if window else whole()), FacesOptions())
    between = [looks(LARGE, looks_new=key == 0, frames=KEY_EVERY_FRAMES if key else 0) for key in range(keys)]
    return [boxes[0] for boxes in between[1:]] + [looks.rest(1)[0]]


def holds(window, box: FaceBox) -> bool:
    return (
        window.left <= box.x0 and box.x1 <= window.left + window.side_px
        and window.top <= box.y0 and box.y1 <= window.top + window.side_px
    )  # fmt: skip


def test_the_surest_box_of_each_face_is_kept_and_of_faces_next_to_each_other_both():
    beside = face(642.0, 312.0, 30.0, 0.6)
    assert surest([GUESS, OTHER, SURE, beside]) == [SURE, OTHER, beside]
    assert surest([]) == []


def test_a_box_with_the_same_middle_is_of_the_same_face_however_small():
    inner = face(612.0, 312.0, 12.0, 0.7)  # an eighth of the other's area
    assert surest([inner, face(600.0, 300.0, 36.0, 0.9)]) == [face(600.0, 300.0, 36.0, 0.9)]


def test_a_guess_in_the_whole_picture_gives_way_to_a_surer_box_in_a_part():
    [boxes] = boxes_on_keys(1, lambda: [GUESS], lambda window: [box for box in (SURE,) if holds(window, box)])
    assert boxes == [SURE]


def test_a_guess_beside_a_known_face_does_not_stand_for_it():
    astray = face(592.0, 292.0, 29.0, 0.5)  # it touches the face, whose middle is elsewhere
    looked_into = []

    def parts(window):
        looked_into.append(window)
        return [SURE] if holds(window, SURE) else []

    first, _ = boxes_on_keys(2, lambda: [astray], parts)

    assert first == [SURE, astray]
    assert around((SURE.x0, SURE.y0, SURE.x1, SURE.y1), growth=4.0) in looked_into
