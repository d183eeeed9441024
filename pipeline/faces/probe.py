"""What a video file says about itself, read off ffmpeg's own report (imageio-ffmpeg brings no ffprobe)."""

import functools
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import ffmpeg
import imageio_ffmpeg

from pipeline.faces.errors import (
    CorruptVideoError,
    DecoderTimeoutError,
    NoVideoStreamError,
    UnsupportedFormatError,
    VideoTooLargeError,
)
from pipeline.faces.ffmpeg_process import PatientReader, how_it_ended, start_ffmpeg
from pipeline.faces.limits import DecodeLimits
from pipeline.faces.planes import ColourMatrix

# Containers of videos. Everything else that ffmpeg could read (playlists, concat scripts, text as terminal output,
# pictures) is refused: some of them name further files or addresses.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpegtsraw,mpeg,mpegvideo,flv,asf,ogg,nut,mxf,wtv,dv,rm,"
    "h264,hevc,m4v,obu,ivf,yuv4mpegpipe"
)
_YUV = ("yuv", "nv", "p0", "y2", "gray", "uyvy", "vuy", "xv")
_LONGEST_REPORT_BYTES = 1 << 22
INDEXED_TAG = "FACEVID_INDEXED"
"""In the metadata of a copy that `indexed` made."""

_CUT_SHORT = re.compile(r"moov atom not found|EBML header parsing failed|File ended prematurely")
_REFUSED = re.compile(r"Picture size (\d+)x(\d+) (?:is invalid|exceeds specified max pixel count)")
_STREAM = re.compile(r"^  Stream #0:\d+.*?: (Video|Audio|Subtitle|Data|Attachment): (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """A video as it is displayed: rotation and pixel aspect applied.

    Attributes:
        width_px: Picture width, pixels.
        height_px: Picture height, pixels.
        fps: Mean frame rate as the container tells, frames per second; 0 where it does not.
        duration_s: Duration as the container tells, seconds; None where it does not.
        codec: Codec of the video stream.
        rotation_deg: Clockwise turn that the metadata ask for and that was applied, in [0, 360).
        matrix: Matrix of its colours (BT.601 where the file names none); None where it is RGB.
        range_named: Whether the file says how far its levels reach; luma and chroma planes of which it does not are
            taken for limited range.
        seekable: Whether the container has an index by time, so that decoding may start in the middle.
        plain_times: Times are taken as they stand in the container, see `indexed`; others count from its first moment.
    """

    width_px: int
    height_px: int
    fps: float
    duration_s: float | None
    codec: str
    rotation_deg: float
    matrix: ColourMatrix | None = "bt601"
    range_named: bool = True
    seekable: bool = False
    plain_times: bool = False


@functools.cache
def ffmpeg_program() -> str:
    """Path of ffmpeg: imageio-ffmpeg's (which `IMAGEIO_FFMPEG_EXE` moves), else one on PATH."""
    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError:
        if found := shutil.which("ffmpeg"):
            return found
        raise


def input_arguments(
    path: Path, *, limits: DecodeLimits, **more: str | None
) -> "ffmpeg.nodes.FilterableStream":
    """How ffmpeg is told of an input file.

    The name is absolute and prefixed, so that no name is taken for an option or a protocol; only local files and
    video containers are opened. Pictures beyond the limits are refused by the decoder before it asks for memory: what a
    frame declares may be more than what the container does. `more` are further options of the input.
    """
    return ffmpeg.input(
        f"file:{path.absolute()}", protocol_whitelist="file,pipe", format_whitelist=_FORMATS, threads=1,
        max_pixels=limits.max_pixels, **more,
    )


def probe(path: Path, limits: DecodeLimits | None = None) -> VideoInfo:
    """What a video file says about itself. Nothing is decoded beyond what ffmpeg needs to name the streams.

    Args:
        path: A local file.
        limits: What it may cost; the defaults where none are given.

    Raises:
        FileNotFoundError: There is no such file.
        UnsupportedFormatError: It is no video container.
        VideoTooLargeError: It says itself that it goes beyond the limits.
        DecoderTimeoutError: ffmpeg cannot tell in time.
        CorruptVideoError: It is empty or its index is missing.
        NoVideoStreamError: It has no video stream (cover pictures do not count).
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no video file {path}")
    if not path.stat().st_size:
        raise CorruptVideoError(f"{path.name} is empty")
    limits = limits or DecodeLimits()
    report = _report(path, limits)
    if "Input #0" not in report:
        raise _unreadable(path, report)
    info = _parsed(path, _without_levels(report))
    if info.width_px * info.height_px > limits.max_pixels:
        size = f"{info.width_px}x{info.height_px}"
        raise VideoTooLargeError(f"{path.name} has pictures of {size}; the most is max_pixels={limits.max_pixels}")
    duration_s = info.duration_s or 0.0
    if duration_s > limits.max_duration_s:
        raise VideoTooLargeError(
            f"{path.name} lasts {duration_s:.0f} s; the most is max_duration_s={limits.max_duration_s:g}"
        )
    if (frames := duration_s * info.fps) > limits.max_frames + 1:
        raise VideoTooLargeError(f"{path.name} has {frames:.0f} frames; the most is max_frames={limits.max_frames}")
    return info


def _report(path: Path, limits: DecodeLimits) -> str:
    command = [ffmpeg_program(), "-nostdin", "-hide_banner", "-loglevel", "repeat+level+info",
               *memory_arguments(limits), *_input_only(path, limits)]
    # Its report may be as long as the file wants, and hold whatever the file says.
    with start_ffmpeg(command, limits, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, bufsize=0) as process:
        assert process.stderr is not None  # noqa: S101  # asked for above
        try:
            said = PatientReader(process.stderr, stall_s=limits.decoder_stall_s, name=path.name).read_up_to(
                _LONGEST_REPORT_BYTES
            )
            if len(said) < _LONGEST_REPORT_BYTES:
                process.wait(limits.decoder_stall_s)
        except subprocess.TimeoutExpired as error:
            raise DecoderTimeoutError(f"{path.name}: the decoder does not end") from error
        finally:
            process.kill()
    report = said.decode("utf-8", "replace")
    complaints = [line for line in report.splitlines() if "[error]" in line or "[fatal]" in line]
    if len(said) < _LONGEST_REPORT_BYTES and (broken := how_it_ended(process, complaints, name=path.name)):
        raise broken
    if refused := max((refused_picture(line, limits) for line in complaints), key=len, default=""):
        raise VideoTooLargeError(f"{path.name} {refused}")
    return report


def refused_picture(complaint: str, limits: DecodeLimits) -> str:
    """What is too large about a picture that ffmpeg refused, in words; empty where it complains of something else."""
    size = _REFUSED.search(complaint)
    if size is None or int(size[1]) * int(size[2]) <= limits.max_pixels:
        return ""
    return f"has pictures of {size[1]}x{size[2]}; the most is max_pixels={limits.max_pixels}"


def memory_arguments(limits: DecodeLimits) -> list[str]:
    """No single piece of memory may be larger than this, whatever a file declares."""
    return ["-max_alloc", str(limits.decoder_memory_bytes // 4)]


def _input_only(path: Path, limits: DecodeLimits) -> list[str]:
    # ffmpeg-python builds whole commands; without an output ffmpeg prints its report and stops.
    arguments: list[str] = input_arguments(path, limits=limits).output("unused").get_args()
    return arguments[: arguments.index("-i") + 2]


def _without_levels(report: str) -> str:
    return re.sub(r"^(\[[^\]]* @ 0x[0-9a-f]+\] )?\[info\] ?", "", report, flags=re.MULTILINE)


def _unreadable(path: Path, report: str) -> CorruptVideoError | UnsupportedFormatError:
    recognised = "low score" not in report and _CUT_SHORT.search(report)
    if recognised:
        return CorruptVideoError(f"{path.name} is cut short or damaged: its index is missing")
    return UnsupportedFormatError(f"{path.name} is no video file that ffmpeg can read")


def _parsed(path: Path, report: str) -> VideoInfo:
    streams = list(_STREAM.finditer(report))
    number = next(
        (k for k, s in enumerate(streams) if s[1] == "Video" and "(attached pic)" not in s[2]), None
    )
    if number is None:
        raise NoVideoStreamError(f"{path.name} has no video stream")
    start = streams[number].start()
    end = streams[number + 1].start() if number + 1 < len(streams) else len(report)
    line, block = streams[number][2], report[start:end]
    # The first "WxH" after a comma or space; codec tags are hexadecimal (0x31637661) and must not match.
    size = re.search(r"(?<![\w])([1-9]\d*)x([1-9]\d*)(?![\w])", line)
    if size is None:
        raise CorruptVideoError(f"{path.name}: ffmpeg cannot tell the size of its pictures")
    width, height = int(size[1]), int(size[2])
    # The last one is the container's, and goes before the codec's.
    aspects = [(int(a), int(b)) for a, b in re.findall(r"SAR (\d+):(\d+)", line)]
    across, down = aspects[-1] if aspects and all(aspects[-1]) else (1, 1)
    turn = re.search(r"display ?matrix: rotation of (-?[\d.]+) degrees", block, re.IGNORECASE)
    rotation = -float(turn[1]) % 360.0 if turn else 0.0
    if round(rotation / 90) % 2:
        width, height, across, down = height, width, down, across
    if across != down:
        width = max(2, 2 * round(width * across / down / 2))
    rate = re.search(r"([\d.]+)(k?) fps", line) or re.search(r"([\d.]+)(k?) tbr", line)
    clock = re.search(r"Duration: (\d+):(\d+):([\d.]+)", report)
    return VideoInfo(
        width_px=width,
        height_px=height,
        fps=float(rate[1]) * (1000 if rate[2] else 1) if rate else 0.0,
        duration_s=int(clock[1]) * 3600 + int(clock[2]) * 60 + float(clock[3]) if clock else None,
        codec=line.split()[0].rstrip(","),
        rotation_deg=rotation,
        matrix=_matrix(line),
        range_named=_range_named(line),
        seekable=bool(re.search(r"^Input #0, (mov|matroska),", report, re.MULTILINE)),
        plain_times=bool(re.search(rf"^    {INDEXED_TAG} *: 1$", report, re.MULTILINE)),
    )


def _matrix(line: str) -> ColourMatrix | None:
    pixels, names = _pixels(line)
    if not pixels.startswith(_YUV):
        return None
    if "bt2020nc" in names or "bt2020c" in names:
        return "bt2020"
    return "bt709" if "bt709" in names or "smpte240m" in names else "bt601"


def _range_named(line: str) -> bool:
    pixels, names = _pixels(line)
    # "yuvj420p" is full range by its very name.
    return "tv" in names or "pc" in names or not pixels.startswith("yuv") or pixels.startswith("yuvj")


def _pixels(line: str) -> tuple[str, list[str]]:
    """The pixel format, and what is said of it; empty where there is none."""
    # As "yuv420p(tv, bt709, progressive)", or "yuv420p(pc, bt470bg/unknown/unknown)" where the three names differ.
    pixels = re.search(r", (\w+)(?:\(([^)]*)\))?(?:, |$)", line)
    return (pixels[1], [name.split("/")[0] for name in (pixels[2] or "").split(", ")]) if pixels else ("", [])
