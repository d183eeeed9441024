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
    zoom = max(1, round(2 * _WIDE_PX / rgb.shape[1]))
    rgb = cv2.resize(rgb, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
    for number, track in enumerate(tracks):
        if not track.frame[0] <= index <= track.frame[-1]:
            continue
        at = index - int(track.frame[0])
        rgb = draw_landmarks(rgb, (track.smoothed_px[at, :68] + 0.5) * zoom - 0.5, dots=False)
        x0, y0, x1, y1 = (round(zoom * float(value)) for value in track.box_px[at])
        colour = _COLOURS[number % len(_COLOURS)]
        seen = track.confidence[at] > 0
        cv2.rectangle(rgb, (x0, y0), (x1, y1), colour, 3 if seen else 1)
        cv2.putText(rgb, f"{number}" if seen else f"({number})", (x0, y0 - 8), cv2.FONT_HERSHEY_SIMPLEX, 1.0, colour, 2)
    high = round(rgb.shape[0] * _WIDE_PX / rgb.shape[1])
    small = cv2.resize(rgb, (_WIDE_PX, high), interpolation=cv2.INTER_AREA)
    cv2.putText(small, str(index), (6, high - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 2)
    return np.asarray(small)
