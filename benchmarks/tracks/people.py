"""Several people: side by side, one after the other, and one in the place of another without a cut."""

from pathlib import Path

import numpy as np

from benchmarks.tracks.composites import CLIPS, Box, one_after_the_other, replaced, side_by_side
from benchmarks.tracks.setting import Setting, counted, print_table
from benchmarks.tracks.tracked import ALL, FIRST, detector, tracks_of
from pipeline.faces.follow import face_in_image
from pipeline.faces.landmark_track import LandmarkTrack
from pipeline.faces.video import open_video

_FRAMES, _QUICK_FRAMES = 100, 40
_MIDDLE_PX = 512
PAIRS = (
    ("talk_512_30fps.mp4", "face_480_30fps.mp4"),
    ("face_480_30fps.mp4", "face_512_25fps.mp4"),
    ("single_face_640x360.mp4", "talk_512_30fps.mp4"),
    ("face_480_25fps.mp4", "single_face_640x360.mp4"),
    ("face_512_25fps.mp4", "face_480_25fps.mp4"),
    ("single_face_640x360.mp4", "face_480_30fps.mp4"),
)


def measure(setting: Setting) -> dict[str, float]:
    frames = _QUICK_FRAMES if setting.quick else _FRAMES
    both = side_by_side(setting.videos, setting.work, frames=frames)
    beside, first = tracks_of(both), tracks_of(both, FIRST)
    swaps = sum(_changes_of_side(track) for track in beside)
    stays = len(first) == 1 and not _changes_of_side(first[0])
    after = one_after_the_other(setting.videos, setting.work, frames=frames)
    across = sum(_crosses(track, frames) for track in tracks_of(after))
    print_table(
        ("composite", "tracks", "wrong"),
        [
            ("side by side", str(len(beside)), f"{swaps} swaps"),
            ("the same, first face only", str(len(first)), "none" if stays else "left the first face"),
            ("one after the other", str(len(tracks_of(after))), f"{across} over the cut"),
        ],
    )
    print()
    caught = _replacements(setting)
    print(f"\nfaces replaced without a cut: {caught} of {len(PAIRS)} seen; one person parted: {_parted(setting)} times")
    return {"two_faces_tracks": float(len(beside)), "identity_swaps": float(swaps)}


def _replacements(setting: Setting) -> int:
    caught, rows, frames = 0, [], 35
    for names in counted(PAIRS, "replaced faces"):
        boxes = tuple(_first_box(setting.videos / name) for name in names)
        path = replaced(setting.videos, setting.work, names, (boxes[0], boxes[1]), frames=frames)
        tracks = tracks_of(path)
        over = sum(_crosses(track, frames) for track in tracks)
        caught += not over
        spans = ", ".join(f"{track.frame[0]}-{track.frame[-1]}" for track in tracks)
        rows.append((" then ".join(Path(name).stem for name in names), str(len(tracks)), str(over), spans))
    print_table((f"replaced at frame {frames}", "tracks", "over it", "frames"), rows)
    return caught


def _parted(setting: Setting) -> int:
    """Tracks beyond one for each of the videos that show one person in one shot."""
    names = [name for name in CLIPS if not name.startswith("no_face")]
    return sum(len(tracks_of(setting.videos / name)) - 1 for name in counted(names, "one person"))


def _changes_of_side(track: LandmarkTrack) -> int:
    middle = (track.box_px[:, 0] + track.box_px[:, 2]) / 2
    return int(np.count_nonzero(np.diff(middle > _MIDDLE_PX)))


def _crosses(track: LandmarkTrack, frame: int) -> bool:
    return bool(track.frame[0] < frame <= track.frame[-1])


def _first_box(path: Path) -> Box:
    with open_video(path) as video:
        face = face_in_image(next(iter(video)).picture, detector(), ALL)
    assert face is not None, f"{path.name} begins without a face"
    x0, y0, x1, y1 = face.box_px.tolist()
    return (x0, y0, x1, y1)
