"""Videos whose truth follows from how they were made: the test videos cut, dissolved, placed, turned and swapped.

ffmpeg makes them, seeded and in a nearly lossless H.264, so that a file is the same whenever it is made again.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.faces.dissolves import Transition
from pipeline.faces.probe import ffmpeg_program, probe

Box = tuple[float, float, float, float]

FPS = 25
WIDE = (640, 360)
CANVAS = (1280, 720)
"""The picture in which a face is placed."""
CLIPS = (
    "carphone_176x144.mp4",
    "face_480_25fps.mp4",
    "face_480_30fps.mp4",
    "face_512_25fps.mp4",
    "no_face_960x540.mp4",
    "single_face_640x360.mp4",
    "talk_512_30fps.mp4",
)
"""The videos of one shot each."""
_TRANSITIONS = 30
_PER_FILE = 5
_CLIP_S = (1.2, 2.4)
_DISSOLVE_S = (0.4, 1.6)
_COVER_FRAMES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeShots:
    """One file and the transitions in it, in order."""

    path: Path
    transitions: tuple[Transition, ...]


def make(path: Path, inputs: list[Path], graph: str) -> Path:
    """One video from others by a filter graph whose result is called [v]."""
    if path.exists():
        return path
    sources = [word for source in inputs for word in ("-i", f"file:{source}")]
    unfinished = path.with_suffix(".unfinished.mp4")
    subprocess.run(
        [ffmpeg_program(), "-nostdin", "-v", "error", "-y", *sources, "-filter_complex", graph, "-map", "[v]",
         "-an", "-c:v", "libx264", "-preset", "ultrafast", "-crf", "12", "-threads", "1",
         "-pix_fmt", "yuv420p", f"file:{unfinished}"],
        check=True,
    )  # fmt: skip
    unfinished.rename(path)
    return path


def cuts_and_dissolves(videos: Path, out: Path, *, seed: int = 0) -> list[MadeShots]:
    """Half hard cuts, half dissolves of 0.4 to 1.6 s, between clips of 1.2 to 2.4 s of neighbouring videos."""
    rng = np.random.default_rng(seed)
    dissolve = rng.permutation(np.arange(_TRANSITIONS) % 2 == 1)
    made = []
    for first in range(0, _TRANSITIONS, _PER_FILE):
        kinds = dissolve[first : first + _PER_FILE]
        names = [str(name) for name in rng.permutation(CLIPS)[: len(kinds) + 1]]
        made.append(_joined(videos, out / f"shots_{seed}_{first:02d}.mp4", names, kinds.tolist(), rng))
    return made


def _joined(
    videos: Path, path: Path, names: list[str], kinds: list[bool], rng: np.random.Generator
) -> MadeShots:
    fades = [round(float(rng.uniform(*_DISSOLVE_S)) * FPS) if soft else 0 for soft in kinds]
    graph, truth, shown = [], [], 0
    for k, name in enumerate(names):
        # A clip shows alone for a while between the dissolves at its two ends.
        alone = round(float(rng.uniform(*_CLIP_S)) * FPS)
        frames = alone + sum(fades[max(0, k - 1) : k + 1])
        # Where a video is too short for that, it is played more slowly.
        slower = max(1.0, (frames + 2) / FPS / (probe(videos / name).duration_s or 1.0))
        graph.append(
            f"[{k}:v]setpts={slower:.4f}*(PTS-STARTPTS),fps={FPS},scale={WIDE[0]}:{WIDE[1]}:"
            f"force_original_aspect_ratio=increase,crop={WIDE[0]}:{WIDE[1]},setsar=1,format=yuv420p,"
            f"trim=end_frame={frames},settb=1/{FPS},setpts=PTS-STARTPTS[c{k}]"
        )
        if k == 0:
            joined, shown = "c0", frames
            continue
        fade = fades[k - 1]
        if fade:
            start = shown - fade
            graph.append(f"[{joined}][c{k}]xfade=transition=fade:duration={fade / FPS:g}:offset={start / FPS:g}[j{k}]")
            truth.append(Transition(begin=start, end=shown))
            shown += frames - fade
        else:
            graph.append(f"[{joined}][c{k}]concat=n=2:v=1:a=0,settb=1/{FPS},setpts=N[j{k}]")
            truth.append(Transition(begin=shown, end=shown))
            shown += frames
        joined = f"j{k}"
    graph.append(f"[{joined}]null[v]")
    return MadeShots(
        path=make(path, [videos / name for name in names], ";".join(graph)), transitions=tuple(truth)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A face video placed in a larger picture.

    Attributes:
        path: The file.
        frames: Its length.
        place_px: Where the smaller picture is: x0, y0, x1, y1.
    """

    path: Path
    frames: int
    place_px: tuple[int, int, int, int]


def side_by_side(videos: Path, out: Path, *, frames: int) -> Path:
    """Two people, each in a half of 1024 x 512 pixels."""
    names = ("face_512_25fps.mp4", "talk_512_30fps.mp4")
    graph = ";".join(f"[{k}:v]fps={FPS},scale=512:512,setsar=1[h{k}]" for k in range(2))
    return make(
        out / f"side_by_side_{frames}.mp4", [videos / name for name in names],
        f"{graph};[h0][h1]hstack,trim=end_frame={frames}[v]",
    )  # fmt: skip


def one_after_the_other(videos: Path, out: Path, *, frames: int) -> Path:
    """Two people of much the same place and size, with a hard cut after the first `frames` frames."""
    names = ("face_480_30fps.mp4", "talk_512_30fps.mp4")
    graph = ";".join(
        f"[{k}:v]fps={FPS},scale=480:480,setsar=1,format=yuv420p,trim=end_frame={frames},setpts=PTS-STARTPTS[c{k}]"
        for k in range(2)
    )
    return make(out / f"after_{frames}.mp4", [videos / name for name in names], f"{graph};[c0][c1]concat[v]")


def in_a_picture(videos: Path, out: Path, name: str, *, one_in: int, frames: int, seed: int) -> Placed:
    """A video at 1/`one_in` of 512 pixels somewhere in 1280 x 720."""
    side = 512 // one_in
    rng = np.random.default_rng(seed)
    x, y = (2 * int(rng.integers(0, (length - side) // 2)) for length in CANVAS)
    graph = (
        f"[0:v]fps={FPS},scale={CANVAS[0]}:{CANVAS[1]},setsar=1[b];[1:v]fps={FPS},scale={side}:{side}:flags=area,"
        f"setsar=1[f];[b][f]overlay={x}:{y}:shortest=1,trim=end_frame={frames}[v]"
    )
    path = out / f"in_{one_in}_{seed}_{Path(name).stem}_{frames}.mp4"
    return Placed(
        path=make(path, [videos / "no_face_960x540.mp4", videos / name], graph),
        frames=frames, place_px=(x, y, x + side, y + side),
    )  # fmt: skip


def rotated(videos: Path, out: Path, name: str, *, degrees: int, frames: int) -> Path:
    """A video turned clockwise in its own picture."""
    graph = f"[0:v]fps={FPS},rotate={degrees}*PI/180,trim=end_frame={frames}[v]"
    return make(out / f"rotated_{degrees}_{Path(name).stem}_{frames}.mp4", [videos / name], graph)


@dataclass(frozen=True, slots=True, kw_only=True)
class Covered:
    """A face video in which something comes before the face, and goes again.

    Attributes:
        path: The file.
        clear: Frames in which nothing is before the face.
        covered: Frames in which half of it is covered; in the frames between, the cover moves.
    """

    path: Path
    clear: tuple[int, ...]
    covered: tuple[int, ...]


def covered(
    videos: Path, out: Path, name: str, box_px: Box, *, side: str, picture: str | None, frames: int
) -> Covered:
    """A video with half of its face covered in the middle third of its frames.

    Args:
        videos: Folder of the videos.
        out: Where to write.
        name: The face video.
        box_px: Where its face is in the middle frame.
        side: Which half is covered: left, right, top or bottom. The cover comes in from there within 10 frames.
        picture: The video whose first picture covers the face; a grey box where there is none.
        frames: How many frames to take.
    """
    x0, y0, x1, y1 = box_px
    wide, high = x1 - x0, y1 - y0
    # Half the face, and somewhat more on the outer sides.
    w, h = (0.6 * wide, 1.3 * high) if side in ("left", "right") else (1.3 * wide, 0.65 * high)
    x = {"left": x0 - 0.1 * wide, "right": x0 + 0.5 * wide}.get(side, x0 - 0.15 * wide)
    y = {"top": y0 - 0.15 * high, "bottom": y0 + 0.5 * high}.get(side, y0 - 0.15 * high)
    away = {"left": (-w, 0.0), "right": (w, 0.0), "top": (0.0, -h), "bottom": (0.0, h)}[side]
    first, last = frames // 3, 2 * frames // 3
    part = f"clip((n-{first})/{_COVER_FRAMES},0,1)*clip(({last}-n)/{_COVER_FRAMES},0,1)"
    at = ":".join(f"{axis}='{to:.1f}+({off:.1f})*(1-{part})'" for axis, to, off in zip("xy", (x, y), away, strict=True))
    size = f"{2 * round(w / 2)}:{2 * round(h / 2)}"
    cover = f"[1:v]trim=end_frame=1,scale={size},setsar=1,loop=-1:1[c]"
    if picture is None:
        cover = f"color=gray:s={size.replace(':', 'x')}[c]"
    graph = f"[0:v]trim=end_frame={frames}[f];{cover};[f][c]overlay={at}:eval=frame:shortest=1[v]"
    path = out / f"covered_{Path(name).stem}_{side}_{Path(picture).stem if picture else 'grey'}_{frames}.mp4"
    return Covered(
        path=make(path, [videos / name, *([videos / picture] if picture else [])], graph),
        clear=(*range(first + 1), *range(last, frames)),
        covered=tuple(range(first + _COVER_FRAMES, last - _COVER_FRAMES + 1)),
    )


def replaced(
    videos: Path, out: Path, names: tuple[str, str], boxes_px: tuple[Box, Box], *, frames: int
) -> Path:
    """One person's face in the place of another's from frame `frames` on, in the middle of a picture that goes on.

    Args:
        videos: Folder of the videos.
        out: Where to write.
        names: Who comes first, and who after.
        boxes_px: Their faces' boxes in the first frame, so that both can be brought to the same place and size.
        frames: Of each.
    """
    side, face = 360, 150
    parts = []
    for k, (x0, y0, x1, y1) in enumerate(boxes_px):
        scale = face / max(x1 - x0, y1 - y0)
        width = side / scale
        left, top = (x0 + x1 - width) / 2, (y0 + y1 - width) / 2
        # Room on all sides first: the square around the face may reach beyond the picture.
        parts.append(
            f"[{k + 1}:v]fps={FPS},trim=end_frame={frames},setpts=PTS-STARTPTS,pad=iw*3:ih*3:iw:ih,"
            f"crop={width:.0f}:{width:.0f}:iw/3+{left:.0f}:ih/3+{top:.0f},scale={side}:{side},setsar=1,"
            f"format=yuv420p[p{k}]"
        )
    x, y = (CANVAS[0] - side) // 2, (CANVAS[1] - side) // 2
    graph = ";".join([
        f"[0:v]fps={FPS},scale={CANVAS[0]}:{CANVAS[1]},setsar=1[b]", *parts, "[p0][p1]concat[f]",
        f"[b][f]overlay={x}:{y}:shortest=1,trim=end_frame={2 * frames}[v]",
    ])  # fmt: skip
    stems = "_".join(Path(name).stem for name in names)
    inputs = [videos / "no_face_960x540.mp4", *(videos / name for name in names)]
    return make(out / f"replaced_{stems}_{frames}.mp4", inputs, graph)
