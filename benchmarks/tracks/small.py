"""Small and turned faces: in how many frames they are found."""

import numpy as np

from benchmarks.tracks.composites import Placed, in_a_picture, rotated
from benchmarks.tracks.setting import Setting, counted, print_table
from benchmarks.tracks.tracked import tracks_of

SOURCES = ("talk_512_30fps.mp4", "face_512_25fps.mp4", "face_480_30fps.mp4")
TURNED = ("face_480_30fps.mp4", "talk_512_30fps.mp4")
DEGREES = (15, 30, 45)
_FRAMES, _QUICK_FRAMES = 75, 25


def measure(setting: Setting) -> dict[str, float]:
    frames = _QUICK_FRAMES if setting.quick else _FRAMES
    rows, values = [], {}
    for one_in in (4, 8):
        placed = [
            in_a_picture(setting.videos, setting.work, name, one_in=one_in, frames=frames, seed=seed)
            for seed, name in enumerate(SOURCES[: 1 if setting.quick else None])
        ]
        shares, sides = [], []
        for one in counted(placed, f"1/{one_in}"):
            share, side = _found(one)
            shares.append(share)
            sides.append(side)
        values[f"pip{one_in}_found"] = float(np.mean(shares))
        rows.append((f"picture in picture, 1/{one_in}", _percents(shares), " ".join(f"{s:.0f}" for s in sides)))
    for degrees in DEGREES:
        shares = []
        for name in counted(TURNED[: 1 if setting.quick else None], f"{degrees} degrees"):
            path = rotated(setting.videos, setting.work, name, degrees=degrees, frames=frames)
            shares.append(sum(int((track.confidence > 0).sum()) for track in tracks_of(path)) / frames)
        rows.append((f"turned by {degrees} degrees", _percents(shares), ""))
    print_table(("composite", "frames in which the face is found", "box side, px"), rows)
    return values


def _found(placed: Placed) -> tuple[float, float]:
    """Share of frames with a face in its place, and the median side of its box."""
    x0, y0, x1, y1 = placed.place_px
    frames, sides = set(), []
    for track in tracks_of(placed.path):
        box = track.box_px
        x, y = (box[:, 0] + box[:, 2]) / 2, (box[:, 1] + box[:, 3]) / 2
        right = (x >= x0) & (x < x1) & (y >= y0) & (y < y1) & (track.confidence > 0)
        frames |= set(track.frame[right].tolist())
        sides += (box[right, 3] - box[right, 1]).tolist()
    return len(frames) / placed.frames, float(np.median(sides)) if sides else 0.0


def _percents(shares: list[float]) -> str:
    return " ".join(f"{share:.0%}" for share in shares)
