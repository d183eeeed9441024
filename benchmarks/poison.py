"""Files that have broken other people's pipelines, made with our own ffmpeg or byte by byte, and how each must end.

The tests read them with a detector that finds a face everywhere; `benchmarks.acquisition` sends them through a real
build. `ok` is for videos that are unusual and nothing else; made from a source without faces, they end as `no_face`.
"""

import os
import struct
import subprocess
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.faces.probe import ffmpeg_program

_H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-threads", "1")
_VP8 = ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-threads", "1")
_HOURS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Poison:
    """One file.

    Attributes:
        name: File name, which is part of some of the poisons.
        expected: `ok`, or the failure code that it must end with.
        make: Writes it, given its path and a source video that is at least 2 s long.
        slow: Making or reading it takes more than a second or two.
    """

    name: str
    expected: str
    make: Callable[[Path, Path], object]
    slow: bool = False


def make_source(path: Path) -> Path:
    """Two seconds of a moving test pattern with sound, to make poison from where there is no better video."""
    _ffmpeg(path, "-f", "lavfi", "-i", "testsrc2=size=160x120:rate=25:duration=2", "-f", "lavfi", "-i",
            "sine=duration=2", *_H264, "-c:a", "aac")
    return path


def _ffmpeg(path: Path, *arguments: str) -> None:
    command = [ffmpeg_program(), "-nostdin", "-v", "error", "-y", *arguments, f"file:{path}"]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def _from_source(*arguments: str, seconds: float = 2.0) -> Callable[[Path, Path], None]:
    def make(path: Path, source: Path) -> None:
        _ffmpeg(path, "-i", str(source), "-t", f"{seconds}", *arguments)

    return make


def _from_pattern(pattern: str, *arguments: str) -> Callable[[Path, Path], None]:
    def make(path: Path, _: Path) -> None:
        _ffmpeg(path, "-f", "lavfi", "-i", pattern, *arguments)

    return make


def _bytes(data: bytes) -> Callable[[Path, Path], object]:
    return lambda path, _: path.write_bytes(data)


def _cut(share: float) -> Callable[[Path, Path], None]:
    def make(path: Path, source: Path) -> None:
        _ffmpeg(path, "-i", str(source), "-t", "2", "-an", *_H264)
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])

    return make


def _without_index(path: Path, source: Path) -> None:
    _ffmpeg(path, "-i", str(source), "-t", "2", *_H264)
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"moov") - 4])


def _damaged_middle(path: Path, source: Path) -> None:
    _ffmpeg(path, "-i", str(source), "-t", "2", "-an", *_H264)
    data = bytearray(path.read_bytes())
    begin, end = int(0.4 * len(data)), int(0.6 * len(data))
    data[begin:end] = bytes(255 - byte for byte in data[begin:end])
    path.write_bytes(data)


def _no_frames(path: Path, source: Path) -> None:
    # The head of a Matroska file, up to where its first frames would be.
    _ffmpeg(path, "-i", str(source), "-an", *_H264)
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"\x1f\x43\xb6\x75")])


def _two_sizes(path: Path, source: Path) -> None:
    small, large = path.with_suffix(".small.h264"), path.with_suffix(".large.h264")
    _ffmpeg(small, "-i", str(source), "-t", "1", "-an", *_H264)
    _ffmpeg(large, "-i", str(source), "-t", "1", "-an", "-vf", "scale=iw*2:ih*2", *_H264)
    path.write_bytes(small.read_bytes() + large.read_bytes())
    small.unlink()
    large.unlink()


def _two_streams(path: Path, source: Path) -> None:
    _ffmpeg(path, "-i", str(source), "-f", "lavfi", "-i", "color=red:s=64x64:d=2", "-t", "2", "-map", "0:v", "-map",
            "1:v", *_H264)


def _rotated(path: Path, source: Path) -> None:
    upright = path.with_suffix(".upright.mp4")
    # The pictures lie on their side, and the metadata put them upright.
    _ffmpeg(upright, "-i", str(source), "-t", "2", "-an", "-vf", "transpose=1", *_H264)
    _ffmpeg(path, "-display_rotation", "90", "-i", str(upright), "-c", "copy")
    upright.unlink()


def _subtitles(path: Path, _: Path) -> None:
    text = path.with_suffix(".srt")
    text.write_text("1\n00:00:00,000 --> 00:00:01,000\nhello\n")
    _ffmpeg(path, "-i", str(text), "-c:s", "srt")
    text.unlink()


def _cover_only(path: Path, _: Path) -> None:
    _ffmpeg(path, "-f", "lavfi", "-i", "sine=duration=1", "-f", "lavfi", "-i", "color=red:s=64x64:d=0.04", "-map", "0",
            "-map", "1", "-c:v", "mjpeg", "-frames:v", "1", "-disposition:v:0", "attached_pic")


def _link(target: str | None) -> Callable[[Path, Path], None]:
    return lambda path, source: path.symlink_to(target or source)


def _patched(
    make: Callable[[Path, Path], object], marker: bytes, write: Callable[[bytearray, int], None]
) -> Callable[[Path, Path], None]:
    def patched(path: Path, source: Path) -> None:
        make(path, source)
        data = bytearray(path.read_bytes())
        at, found = data.find(marker), 0
        while at >= 0:
            write(data, at)
            at, found = data.find(marker, at + len(marker)), found + 1
        if not found:
            raise ValueError(f"{path} holds no {marker!r}")
        path.write_bytes(data)

    return patched


def _declare(size: int, at: int, layout: str) -> Callable[[bytearray, int], None]:
    def write(data: bytearray, marker_at: int) -> None:
        struct.pack_into(layout, data, marker_at + at, size, size)

    return write


def _declare_png(data: bytearray, at: int) -> None:
    struct.pack_into(">II", data, at + 4, 60_000, 60_000)
    struct.pack_into(">I", data, at + 17, zlib.crc32(bytes(data[at : at + 17])))


_SMALL = "testsrc2=size=64x64:rate=10:duration=1"

POISONS: tuple[Poison, ...] = (
    Poison(name="empty.mp4", expected="corrupt", make=_bytes(b"")),
    Poison(name="zeros.mp4", expected="unsupported_format", make=_bytes(bytes(100_000))),
    Poison(name="text.txt", expected="unsupported_format", make=_bytes(b"There once was a file of text.\n" * 99)),
    Poison(name="page.mp4", expected="unsupported_format", make=_bytes(b"<html><body>Not found</body></html>" * 99)),
    Poison(name="script.mp4", expected="unsupported_format",
           make=_bytes(b"ffconcat version 1.0\nfile '/etc/passwd'\n")),
    Poison(name="playlist.mp4", expected="unsupported_format",
           make=_bytes(b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n")),
    Poison(name="cut-at-10.mkv", expected="corrupt", make=_cut(0.1)),
    Poison(name="cut-at-50.mkv", expected="corrupt", make=_cut(0.5)),
    Poison(name="cut-at-90.mkv", expected="corrupt", make=_cut(0.9)),
    Poison(name="no-index.mp4", expected="corrupt", make=_without_index),
    Poison(name="damaged-middle.mp4", expected="corrupt", make=_damaged_middle),
    Poison(name="no-frames.mkv", expected="corrupt", make=_no_frames),
    Poison(name="sound.m4a", expected="no_video_stream", make=_from_pattern("sine=duration=1", "-c:a", "aac")),
    Poison(name="cover.m4a", expected="no_video_stream", make=_cover_only),
    Poison(name="subtitles.mkv", expected="no_video_stream", make=_subtitles),
    Poison(name="picture.mp4", expected="unsupported_format",
           make=_from_pattern(_SMALL, "-frames:v", "1", "-f", "image2", "-c:v", "mjpeg")),
    Poison(name="animation.mp4", expected="unsupported_format", make=_from_pattern(_SMALL, "-f", "gif")),
    Poison(name="one-frame.mp4", expected="no_face", make=_from_source("-an", "-frames:v", "1", *_H264)),
    Poison(name="one-pixel.mkv", expected="no_face",
           make=_from_pattern("color=gray:size=1x1:rate=10:duration=1", "-c:v", "ffv1", "-pix_fmt", "gray")),
    Poison(name="8k.mp4", expected="no_face", slow=True,
           make=_from_pattern("color=gray:size=7680x4320:rate=5:duration=1", *_H264)),
    Poison(name="larger-than-8k.mkv", expected="too_large", slow=True,
           make=_from_pattern("color=gray:size=8192x8192:rate=1:duration=1", "-c:v", "ffv1", "-pix_fmt", "gray")),
    Poison(name="bomb-png.mov", expected="too_large",
           make=_patched(_from_pattern(_SMALL, "-c:v", "png"), b"IHDR", _declare_png)),
    Poison(name="bomb-jpeg.avi", expected="too_large",
           make=_patched(_from_pattern(_SMALL, "-c:v", "mjpeg"), b"\xff\xc0", _declare(30_000, 5, ">HH"))),
    Poison(name="bomb-vp8.webm", expected="too_large",
           make=_patched(_from_pattern(_SMALL, "-c:v", "libvpx"), b"\x9d\x01\x2a", _declare(16_383, 3, "<HH"))),
    Poison(name="49-hours.mkv", expected="too_large",
           make=_from_pattern("testsrc2=size=64x64:rate=25:duration=2", "-vf", "setpts=N*3600/TB", "-fps_mode",
                              "passthrough", *_H264)),
    Poison(name="black.mp4", expected="no_face", slow=True,
           make=_from_pattern(f"color=black:size=320x180:rate=1:duration={_HOURS * 3600}", *_H264, "-g", "500")),
    Poison(name="rotated.mp4", expected="ok", make=_rotated),
    Poison(name="rate-varies.mp4", expected="ok",
           make=_from_source("-an", "-vf", "select='not(eq(mod(n,5),2)+between(n,10,13))'", "-fps_mode", "passthrough",
                             *_H264)),
    Poison(name="10-bit.mkv", expected="ok",
           make=_from_source("-an", "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p10le")),
    Poison(name="negative-times.mkv", expected="ok",
           make=_from_source("-an", *_H264, "-bf", "3", "-output_ts_offset", "-0.5", "-avoid_negative_ts", "disabled")),
    Poison(name="video.txt", expected="ok", make=_from_source("-an", *_H264, "-f", "mp4")),
    Poison(name="webm-named.mp4", expected="ok", make=_from_source("-an", *_VP8, "-f", "webm")),
    Poison(name="Ünï漢字 🎬.mp4", expected="ok", make=_from_source("-an", *_H264, seconds=0.8)),
    Poison(name="-i.mp4", expected="ok", make=_from_source("-an", *_H264, seconds=0.8)),
    Poison(name="%03d $(id) 'x\" ;&|.mp4", expected="ok", make=_from_source("-an", *_H264, seconds=0.8)),
    Poison(name="..mp4", expected="ok", make=_from_source("-an", *_H264, seconds=0.8)),
    Poison(name="concat:a|b.mp4", expected="ok", make=_from_source("-an", *_H264, seconds=0.8)),
    Poison(name="link.mp4", expected="ok", make=_link(None)),
    Poison(name="link-to-passwd.mp4", expected="unsupported_format", make=_link("/etc/passwd")),
    Poison(name="link-to-nothing.mp4", expected="not_found", make=_link("/nonexistent/video.mp4")),
    Poison(name="link-to-itself.mp4", expected="not_found", make=_link("link-to-itself.mp4")),
    Poison(name="pipe.mp4", expected="unsupported_format", make=lambda path, _: os.mkfifo(path)),
    Poison(name="folder.mp4", expected="unsupported_format", make=lambda path, _: path.mkdir()),
    Poison(name="two-sizes.h264", expected="ok", make=_two_sizes),
    Poison(name="two-streams.mp4", expected="ok", make=_two_streams),
    Poison(name="alpha.webm", expected="ok",
           make=_from_source("-an", *_VP8, "-pix_fmt", "yuva420p", "-auto-alt-ref", "0")),
    Poison(name="interlaced.mpg", expected="ok",
           make=_from_source("-an", "-vf", "setfield=tff", "-c:v", "mpeg2video", "-flags", "+ildct+ilme")),
    Poison(name="240-fps.mp4", expected="ok", make=_from_source("-an", "-r", "240", *_H264, seconds=0.6)),
    Poison(name="long-title.mkv", expected="ok",
           make=_from_source("-an", *_H264, "-metadata", "comment=" + "Stream #0:0: Video: h264, 9x9, " * 2000)),
)
"""All of them; more than the 25 that anybody asked for."""
