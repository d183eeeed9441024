"""Covered faces: how well the column `occlusion` tells them from uncovered ones."""

import numpy as np
from jaxtyping import Float32

from benchmarks.tracks.composites import covered
from benchmarks.tracks.setting import Setting, counted, print_table
from benchmarks.tracks.tracked import tracks_of
from pipeline.faces.landmark_track import LandmarkTrack

SOURCES = (
    "carphone_176x144.mp4",
    "face_480_25fps.mp4",
    "face_480_30fps.mp4",
    "face_512_25fps.mp4",
    "talk_512_30fps.mp4",
)
SIDES = ("left", "right", "top", "bottom")
COVER = "no_face_960x540.mp4"
_FRAMES = 120


def measure(setting: Setting) -> dict[str, float]:
    sources = SOURCES[3:4] if setting.quick else SOURCES
    cases = [
        (name, side, picture)
        for name in sources
        for side, picture in zip(SIDES, (None, COVER, COVER, None), strict=True)
    ]
    rows, clear, hidden = [], [], []
    for name, side, picture in counted(cases, "covered"):
        face, *_ = tracks_of(setting.videos / name)
        middle = face.box_px[min(_FRAMES // 2, len(face.frame) - 1)]
        one = covered(
            setting.videos, setting.work, name, tuple(middle.tolist()), side=side, picture=picture, frames=_FRAMES
        )
        tracks = tracks_of(one.path)
        open_, shut = _occlusions(tracks, one.clear), _occlusions(tracks, one.covered)
        clear.append(open_)
        hidden.append(shut)
        rows.append((
            f"{name}, {side}, {picture or 'grey'}", f"{_auc(open_, shut):.3f}", f"{len(tracks)}",
            f"{len(shut) / len(one.covered):.0%}", f"{np.median(open_):.2f}",
            f"{np.median(shut):.2f}" if len(shut) else "-",
        ))  # fmt: skip
    print_table(("video, half, cover", "AUC", "tracks", "covered and seen", "clear", "covered"), rows)
    pooled = np.concatenate(clear), np.concatenate(hidden)
    for limit in (0.1, 0.5, 0.9):
        open_share, shut_share = ((part > limit).mean() for part in pooled)
        print(f"above {limit:g}: {open_share:.1%} of clear, {shut_share:.1%} of covered")
    return {"occlusion_auc": _auc(*pooled)}


def _occlusions(tracks: tuple[LandmarkTrack, ...], frames: tuple[int, ...]) -> Float32[np.ndarray, " seen"]:
    values = [
        track.occlusion[(track.confidence > 0) & np.isin(track.frame, frames)] for track in tracks
    ]
    return np.concatenate([np.zeros(0, dtype=np.float32), *values])


def _auc(clear: Float32[np.ndarray, " clear"], hidden: Float32[np.ndarray, " hidden"]) -> float:
    """The chance that a covered frame has a higher value than a clear one."""
    if not len(clear) or not len(hidden):
        return float("nan")
    higher = hidden[:, None] > clear[None]
    return float(higher.mean() + (hidden[:, None] == clear[None]).mean() / 2)
