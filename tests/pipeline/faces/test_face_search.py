"""When pictures are searched, by a detector that only notes where it was asked to look."""

import numpy as np
import pytest

from pipeline.faces.face_search import FaceSearch, SearchSeconds
from pipeline.faces.picture import Picture

SMALL = Picture(np.zeros((360, 640, 3), np.uint8))
LARGE = Picture(np.zeros((1080, 1920, 3), np.uint8))
WHOLE = "whole"


class Notes:
    """A detector that finds nothing, and keeps the sides of the squares in which it has looked, frame by frame."""

    name, scheme, weights_sha256 = "notes", "mediapipe68", "0" * 64

    def __init__(self):
        self.frames = []

    def find_faces(self, picture, window=None):
        self.frames[-1].append(WHOLE if window is None else round(window.side_px))
        return []

    def region_of(self, box):
        raise AssertionError("a search has nothing to do with landmarks")

    landmarks = region_of


def looks(picture, frames, *, anew=True, **how):
    """Where a search looks in so many frames after a first one."""
    notes = Notes()
    search = FaceSearch(notes, min_face_px=40.0, seconds=SearchSeconds())
    if anew:
        notes.frames.append([])
        search.everywhere(picture)
    for _ in range(frames):
        notes.frames.append([])
        search.where_due(picture, **{"followed": True, "room": True, "lost_px": [], "newly_lost": False} | how)
    return notes.frames


def test_a_picture_that_looks_new_is_searched_whole_and_in_all_its_parts():
    (first,) = looks(LARGE, 0)

    assert first[:2] == [WHOLE, 1920]
    assert len(first) > 4
    assert len(set(first[2:])) == 1


def test_while_a_face_is_followed_the_whole_is_searched_once_a_second_and_parts_in_between():
    frames = looks(LARGE, 50)[1:]

    assert [number for number, own in enumerate(frames, 1) if WHOLE in own] == [13, 38]
    parts = [number for number, own in enumerate(frames, 1) if any(side != WHOLE for side in own)]
    assert parts == [8, 16, 24, 32, 40, 48]
    # A small picture has one part, which is all of it.
    assert [number for number, own in enumerate(looks(SMALL, 50)[1:], 1) if 640 in own] == [25, 50]


def test_where_there_is_no_room_for_another_face_nothing_is_searched():
    assert not any(looks(LARGE, 100, room=False)[1:])


def test_while_nobody_is_seen_every_frame_is_searched_at_first_and_then_every_fifth():
    searched = [number for number, own in enumerate(looks(SMALL, 60, anew=False, followed=False)) if WHOLE in own]

    assert searched[:4] == [0, 1, 2, 3]
    assert np.diff(searched[-5:]).tolist() == [5] * 4


@pytest.mark.parametrize("room", [False, True])
def test_a_face_that_was_just_lost_is_looked_for_everywhere_and_near_its_place(room):
    box = np.array([100.0, 100.0, 150.0, 140.0], np.float32)

    (once,) = looks(SMALL, 1, anew=False, room=room, lost_px=[box], newly_lost=True)
    (later,) = looks(SMALL, 1, anew=False, room=room, lost_px=[box])

    assert once == [WHOLE, 200]
    assert later == [200]
