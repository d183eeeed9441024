"""Contact sheets to look at: frames of every video and composite with what was found in them."""

from pathlib import Path

import cv2
import numpy as np

from benchmarks.tracks.setting import Setting, counted
from benchmarks.tracks.tracked import tracks_of
from pipeline.faces.draw import draw_landmarks
from pipeline.faces.landmark_track import LandmarkTrack
from pipeline.faces.video import open_video

_PICTURES, _ACROSS, _WIDE_PX = 8, 4, 400
_SMALL_PX, _INSET_PX, _AROUND = 70, 130, 1.4
"""A face smaller than the first in the sheet is drawn on in a close-up of the second size, which shows it and what is
around it: the third times as much."""
_COLOURS = ((255, 80, 80), (90, 255, 90), (90, 160, 255), (255, 220, 60), (255, 90, 255), (60, 255, 255))
_VIDEOS = {".mp4", ".mov", ".webm", ".mkv"}


def measure(setting: Setting) -> dict[str, float]:
    if setting.sheets is None:
        print("no contact sheets: --sheets FOLDER writes them")
        return {}
    paths = [path for folder in (setting.videos, setting.work) for path in sorted(folder.iterdir())]
    # Long ones are made for timing, and show nothing new.
    paths = [path for path in paths if path.suffix in _VIDEOS and "min" not in path.stem]
    for path in counted(paths, "contact sheets"):
        sheet = contact_sheet(path, tracks_of(path))
        cv2.imwrite(str(setting.sheets / f"{path.stem}.jpg"), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    print(f"{len(paths)} contact sheets in {setting.sheets}")
    return {}


def contact_sheet(path: Path, tracks: tuple[LandmarkTrack, ...]) -> np.ndarray:
    """Eight frames at even steps; each face has its track's colour, number and smoothed landmarks."""
    with open_video(path) as video:
        count = sum(1 for _ in video)
    wanted = set(np.linspace(0, count - 1, _PICTURES).astype(int).tolist())
    pictures = []
    with open_video(path) as video:
        pictures = [_drawn(frame.rgb, frame.index, tracks) for frame in video if frame.index in wanted]
    pictures += [np.zeros_like(pictures[0])] * (-len(pictures) % _ACROSS)
    return np.vstack([np.hstack(pictures[k : k + _ACROSS]) for k in range(0, len(pictures), _ACROSS)])


def _drawn(rgb: np.ndarray, index: int, tracks: tuple[LandmarkTrack, ...]) -> np.ndarray:
    scale = _WIDE_PX / rgb.shape[1]
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    small = cv2.resize(rgb, (_WIDE_PX, round(rgb.shape[0] * scale)), interpolation=how)
    insets = []
    for number, track in enumerate(tracks):
        if not track.frame[0] <= index <= track.frame[-1]:
            continue
        at = index - int(track.frame[0])
        colour, seen = _COLOURS[number % len(_COLOURS)], bool(track.confidence[at] > 0)
        box = (track.box_px[at].astype(np.float64) + 0.5) * scale - 0.5
        points = (track.smoothed_px[at, :68] + np.float32(0.5)) * np.float32(scale) - np.float32(0.5)
        if box[2] - box[0] < _SMALL_PX:
            insets.append((_close_up(rgb, track, at), colour))
        else:
            small = draw_landmarks(small, points, dots=False)
        x0, y0, x1, y1 = box.round().astype(int).tolist()
        cv2.rectangle(small, (x0, y0), (x1, y1), colour, 2 if seen else 1)
        _write(small, f"{number}" if seen else f"({number})", (x0, max(y0 - 5, 12)), colour)
    for place, (inset, colour) in enumerate(insets):
        # Side by side along the top, as the number of the frame is below.
        x = place * (_INSET_PX + 4)
        if x + _INSET_PX <= _WIDE_PX and small.shape[0] >= _INSET_PX:
            small[:_INSET_PX, x : x + _INSET_PX] = inset
            cv2.rectangle(small, (x, 0), (x + _INSET_PX - 1, _INSET_PX - 1), colour, 2)
    _write(small, str(index), (6, small.shape[0] - 8), (255, 255, 255))
    return np.asarray(small)


def _close_up(rgb: np.ndarray, track: LandmarkTrack, at: int) -> np.ndarray:
    """A face that is too small to be drawn on, enlarged, with its landmarks."""
    x0, y0, x1, y1 = track.box_px[at].tolist()
    scale = _INSET_PX / (_AROUND * max(x1 - x0, y1 - y0))
    shift = _INSET_PX / 2 - scale * np.array([(x0 + x1) / 2, (y0 + y1) / 2])
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    inset = cv2.warpAffine(rgb, matrix, (_INSET_PX, _INSET_PX), flags=cv2.INTER_CUBIC)
    return draw_landmarks(inset, (track.smoothed_px[at, :68] * scale + shift).astype(np.float32), dots=False)


def _write(rgb: np.ndarray, text: str, place: tuple[int, int], colour: tuple[int, int, int]) -> None:
    for own, thick in (((0, 0, 0), 3), (colour, 1)):
        cv2.putText(rgb, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, own, thick, cv2.LINE_AA)
