"""What ffmpeg is asked to decode: which part of a file, how large, how often, and in which form."""

import math
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.faces.limits import DecodeLimits
from pipeline.faces.probe import VideoInfo, ffmpeg_program, input_arguments, memory_arguments

_BEFORE_S = 1.0
"""Decoding starts this much before the first frame that is asked for: rounding in the container's clock, and frames
that are shown before the key frame that they follow in the file, stay outside."""
_AFTER_S = 0.01
PHASE = 0.11
"""Where frames of a thinned video fall within their interval: far from its ends for the usual ratios of rates, so that
times rounded to milliseconds choose the same frames."""
_SAME_RATE = 0.99


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """A part of a video, in a size and at a rate.

    Attributes:
        start_s: First presentation time on the file's clock, or None for the beginning.
        end_s: First presentation time that is left out, or None for the end.
        height_px: Larger pictures are made smaller while they are decoded; None leaves them as they are.
        fps: More frames a second than this are thinned out, the first one of each interval stays; None keeps all.
        limits: What it may cost.
    """

    start_s: float | None = None
    end_s: float | None = None
    height_px: int | None = None
    fps: float | None = None
    limits: DecodeLimits = field(default_factory=DecodeLimits)

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            ValueError: Naming the argument and its value.
        """
        if self.start_s is not None and not (math.isfinite(self.start_s) and self.start_s >= 0):
            raise ValueError(f"start_s={self.start_s!r} must be a time in the video, 0 or later")
        if self.end_s is not None and not (math.isfinite(self.end_s) and self.end_s > (self.start_s or 0)):
            raise ValueError(f"end_s={self.end_s!r} must come after start_s={self.start_s or 0.0!r}")
        if self.height_px is not None and self.height_px < 2:
            raise ValueError(f"height_px={self.height_px!r} must be at least 2")
        if self.fps is not None and not (math.isfinite(self.fps) and self.fps > 0):
            raise ValueError(f"fps={self.fps!r} must be a positive rate")

    def samples(self, info: VideoInfo) -> tuple[int, int]:
        """Width and height of the decoded pictures."""
        if self.height_px is None or self.height_px >= info.height_px:
            return info.width_px, info.height_px
        return max(2, 2 * round(info.width_px * self.height_px / info.height_px / 2)), self.height_px

    def part(self) -> str:
        """Which part of a video it is, in words; empty for all of it."""
        if self.end_s is None:
            return "" if self.start_s is None else f"from {self.start_s:g} s on"
        return f"from {self.start_s or 0.0:g} s to {self.end_s:g} s"


def decode_command(path: Path, info: VideoInfo, decoding: Decoding, *, times_pipe: int) -> list[str]:
    """The command that writes planes of 4:2:0 in limited range to standard output, and times to another pipe.

    A little more than `Decoding` asks for comes on both sides; the times say what is part of it.
    """
    start = max(0.0, (decoding.start_s or 0.0) - _BEFORE_S)
    jump = start > 0 and info.seekable
    output = input_arguments(
        path, limits=decoding.limits, **(_jump_to(start, info) if jump else {})
    ).output(
        "pipe:1",
        **{
            "map": "0:V:0",
            "vf": ",".join(_filters(info, decoding, start)),
            "filter_threads": 1,
            "threads": 1,  # of the copy to the pipe: more of them take memory, by the number of processors
            "fps_mode": "passthrough",
            "enc_time_base:v:0": "demux",
            "stats_enc_pre:v:0": f"pipe:{times_pipe}",
            "stats_enc_pre_fmt:v:0": "{pts} {tb}",
            "f": "rawvideo",
        },
    )
    arguments: list[str] = output.get_args()
    # After a jump ffmpeg would count from there.
    keep_times = ["-copyts"] if info.plain_times else ["-copyts", "-start_at_zero"] if jump else []
    return [
        ffmpeg_program(), "-nostdin", "-hide_banner", "-loglevel", "repeat+level+warning",
        *memory_arguments(decoding.limits), *keep_times, *arguments,
    ]  # fmt: skip


def _jump_to(start: float, info: VideoInfo) -> dict[str, str | None]:
    # To the key frame before; ffmpeg drops the frames between, as far as it knows which these are.
    plain: dict[str, str | None] = {"seek_timestamp": "1", "noaccurate_seek": None} if info.plain_times else {}
    return plain | {"ss": f"{start:.6f}"}


def _filters(info: VideoInfo, decoding: Decoding, start: float) -> list[str]:
    filters = []
    if start or decoding.end_s is not None:
        end = "" if decoding.end_s is None else f":end={decoding.end_s + _AFTER_S:.6f}"
        filters.append(f"trim=start={start:.6f}{end}")
    if decoding.fps is not None and not 0 < info.fps * _SAME_RATE <= decoding.fps:
        # The first frame of each interval of the file's clock, so that every part of a video has the same frames.
        now, before = (f"floor({time}*{decoding.fps!r}+{PHASE})" for time in ("t", "prev_t"))
        filters.append(f"select=isnan(prev_t)+not(eq({now}\\,{before}))")
    if not info.range_named:
        # It is taken for that anyway; but now ffmpeg sees that there is nothing to convert, and copies no picture.
        filters.append("setparams=range=tv")
    wide, high = decoding.samples(info)
    # Only where the file is not 4:2:0 in limited range does this touch a pixel.
    scale = f"scale={wide}:{high}:out_range=tv"
    if (wide, high) != (info.width_px, info.height_px):
        scale += ":flags=area"
    if info.matrix is None:
        scale += ":out_color_matrix=bt601"
    return [*filters, scale, "setsar=1", "format=yuv420p"]
