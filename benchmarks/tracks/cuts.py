"""Shots: recall and precision of hard cuts and dissolves made of the test videos, and the real cut of one of them."""

from pathlib import Path

from benchmarks.tracks.composites import cuts_and_dissolves
from benchmarks.tracks.setting import Setting, counted, print_table
from pipeline.faces.dissolves import Transition
from pipeline.faces.shots import ShotDetector
from pipeline.faces.video import open_video

REAL = ("noface_face_960x540.mov", (96, 168))
"""Its hard cuts: to a face, and to black."""
_NEAR_FRAMES = 1


def measure(setting: Setting) -> dict[str, float]:
    made = [(shots.path, shots.transitions) for shots in cuts_and_dissolves(setting.videos, setting.work)]
    made = made[:2] if setting.quick else made
    made.append((setting.videos / REAL[0], tuple(Transition(begin=cut, end=cut) for cut in REAL[1])))
    rows, sums = [], [0] * 6
    for path, truth in counted(made, "cuts"):
        found = transitions_of(path)
        hard = [one for one in truth if one.begin == one.end]
        soft = [one for one in truth if one.begin < one.end]
        values = [
            sum(any(_is(one, other) for other in found) for one in hard), len(hard),
            sum(any(_is(one, other) for other in found) for one in soft), len(soft),
            sum(any(_is(other, one) or _is(one, other) for other in truth) for one in found), len(found),
        ]  # fmt: skip
        sums = [a + b for a, b in zip(sums, values, strict=True)]
        rows.append((path.name, *(f"{values[k]} of {values[k + 1]}" for k in (0, 2, 4))))
    print_table(("file", "hard cuts found", "dissolves found", "right of all found"), rows)
    return {
        "cut_recall_hard": sums[0] / sums[1],
        "cut_recall_dissolve": sums[2] / max(sums[3], 1),
        "cut_precision": sums[4] / max(sums[5], 1),
    }


def transitions_of(path: Path) -> list[Transition]:
    shots, found = ShotDetector(), []
    with open_video(path) as video:
        for frame in video:
            found += shots(frame.picture, index=frame.index, pts_s=frame.pts_s)
    return found + shots.finish()


def _is(truth: Transition, found: Transition) -> bool:
    """A hard cut is found where it is; a dissolve where the two stretches have frames in common."""
    if truth.begin == truth.end:
        return truth.begin - _NEAR_FRAMES <= found.end <= truth.end + _NEAR_FRAMES and found.begin <= truth.end
    return found.begin < truth.end and truth.begin < max(found.end, found.begin + 1)
