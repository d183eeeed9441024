"""Landmarks of a changed picture beside those of the original, mapped: what a detector owes to a fit."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from benchmarks.tracks.setting import Setting, counted, print_table
from facevid import assets
from pipeline.faces.follow import face_in_image
from pipeline.faces.landmarks import LandmarkDetector, open_detector
from pipeline.faces.options import FacesOptions
from pipeline.faces.picture import Picture
from pipeline.faces.probe import ffmpeg_program
from pipeline.faces.video import open_video

VIDEOS = (
    "face_480_25fps.mp4", "face_480_30fps.mp4", "face_512_25fps.mp4", "single_face_640x360.mp4", "talk_512_30fps.mp4"
)  # fmt: skip
FRAMES, QUICK_FRAMES = 12, 2
_OUTER_EYES = (36, 45)
_CRF = "re-encoded at CRF 40"

Change = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""A picture to a changed one, and the 2x3 map from places in the first to places in the second."""


def _turned(degrees: float, scale: float = 1.0) -> Change:
    def change(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        height, width = rgb.shape[:2]
        turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, scale)
        return cv2.warpAffine(rgb, turn, (width, height), flags=cv2.INTER_LINEAR), turn

    return change


def _resized(factor: float) -> Change:
    def change(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        small = cv2.resize(rgb, None, fx=factor, fy=factor, interpolation=how)
        fx, fy = small.shape[1] / rgb.shape[1], small.shape[0] / rgb.shape[0]
        return small, np.array([[fx, 0, (fx - 1) / 2], [0, fy, (fy - 1) / 2]])

    return change


def _painted(change: Callable[[np.ndarray], np.ndarray]) -> Change:
    return lambda rgb: (change(rgb), np.eye(2, 3))


def _brightness(gain: float) -> Change:
    return _painted(lambda rgb: np.clip(rgb * gain, 0, 255).astype(np.uint8))


def _blur(sigma_px: float) -> Change:
    return _painted(lambda rgb: cv2.GaussianBlur(rgb, (0, 0), sigma_px))


MODERATE: dict[str, Change] = {
    "scaled to 1/2": _resized(0.5),
    "scaled to 3/4": _resized(0.75),
    "scaled to 3/2": _resized(1.5),
    "turned by 15 degrees": _turned(15),
    "turned by -30 degrees": _turned(-30),
    "brightness x 0.6": _brightness(0.6),
    "brightness x 1.4": _brightness(1.4),
    "blurred by 1.5 px": _blur(1.5),
}
HARD: dict[str, Change] = {
    "scaled to 1/4": _resized(0.25),
    "turned by 45 degrees": _turned(45, 0.8),
    "turned by 90 degrees": _turned(90),
    "brightness x 0.25": _brightness(0.25),
    "blurred by 4 px": _blur(4),
}


def measure(setting: Setting) -> dict[str, float]:
    options = FacesOptions()
    detector = open_detector(options, assets.fetch_landmark_networks())
    errors: dict[str, list[float]] = {name: [] for name in (*MODERATE, _CRF, *HARD)}
    lost = dict.fromkeys(errors, 0)
    for name in counted(VIDEOS, "videos"):
        video = setting.videos / name
        pictures = _pictures(video, QUICK_FRAMES if setting.quick else FRAMES)
        coded = _pictures(_encoded(video, setting.work), QUICK_FRAMES if setting.quick else FRAMES)
        for picture, again in zip(pictures, coded, strict=True):
            truth = _landmarks(picture, detector, options)
            if truth is None:
                continue
            changed = {what: change(picture) for what, change in (MODERATE | HARD).items()}
            changed[_CRF] = (again, np.eye(2, 3))
            for what, (other, there) in changed.items():
                found = _landmarks(other, detector, options)
                if found is None:
                    lost[what] += 1
                    continue
                place = truth @ there[:, :2].T + there[:, 2]
                eyes = np.linalg.norm(place[_OUTER_EYES[0]] - place[_OUTER_EYES[1]])
                errors[what].extend((np.linalg.norm(found - place, axis=1) / eyes).tolist())
    rows = []
    medians = {}
    for what, values in errors.items():
        medians[what] = float(np.median(values)) if values else float("inf")
        ninetieth = f"{np.quantile(values, 0.9):.2%}" if values else "-"
        kind = "hard" if what in HARD else "moderate"
        rows.append((what, kind, f"{medians[what]:.2%}", ninetieth, str(lost[what])))
    print_table(("change", "", "median error", "90th percentile", "faces lost"), rows)
    print("errors over the outer-eye distance, all 68 points")
    return {"landmark_stability": max(medians[what] for what in (*MODERATE, _CRF))}


def _pictures(video: Path, count: int) -> list[np.ndarray]:
    with open_video(video) as opened:
        every = [frame.rgb for frame in opened]
    return [every[k] for k in np.linspace(0, len(every) - 1, count + 2).round().astype(int)[1:-1]]


def _landmarks(rgb: np.ndarray, detector: LandmarkDetector, options: FacesOptions) -> np.ndarray | None:
    face = face_in_image(Picture(np.ascontiguousarray(rgb)), detector, options)
    return None if face is None else face.points_px


def _encoded(video: Path, folder: Path) -> Path:
    path = folder / f"{video.stem}-crf40.mp4"
    if not path.exists():
        command = [ffmpeg_program(), "-v", "error", "-nostdin", "-y", "-i", str(video), "-an", "-c:v", "libx264"]
        partial = path.with_suffix(".partial.mp4")
        subprocess.run([*command, "-crf", "40", "-fps_mode", "passthrough", str(partial)], check=True)
        partial.rename(path)
    return path
