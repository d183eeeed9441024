import subprocess

import numpy as np
import pytest

from pipeline.faces.decoding import Decoding, decode_command
from pipeline.faces.indexed import copy_with_index
from pipeline.faces.limits import DecodeLimits
from pipeline.faces.probe import ffmpeg_program, probe
from pipeline.faces.video import open_video

LIMITS = DecodeLimits()
# 12 s with a key frame every 2.5 s, so that no part begins with one.
TEST = ("testsrc=size=64x48:rate=20:duration=12", "-g", "50", "-bf", "2", "-pix_fmt", "yuv420p", "-preset", "ultrafast")


def read(path, **part):
    with open_video(path, **part) as video:
        return [(frame.pts_s, frame.rgb) for frame in video]


@pytest.mark.parametrize(
    ("name", "codec"), [("a.ts", "libx264"), ("a.flv", "libx264"), ("a.mpg", "mpeg2video"), ("a.nut", "libx264")]
)
def test_any_part_of_the_copy_is_that_of_the_file(make_clip, tmp_path, name, codec):
    silent, file = make_clip("s.mp4", TEST[0], "-c:v", "libx264", *TEST[1:]), tmp_path / name
    # In some containers the sound begins a few milliseconds before the pictures.
    sound = ["-f", "lavfi", "-i", "sine=duration=12", "-map", "0:v", "-map", "1:a", "-c:a", "aac"]
    sound = [] if name == "a.mpg" else sound
    recode = ["-c:v", codec, *TEST[1:5]] if codec == "mpeg2video" else ["-c:v", "copy"]
    command = [ffmpeg_program(), "-v", "error", "-nostdin", "-i", str(silent), *sound, *recode, str(file)]
    subprocess.run(command, check=True, capture_output=True)

    copy = tmp_path / "copy.mkv"
    assert copy_with_index(file, copy, LIMITS)

    assert not probe(file).seekable
    for part in ({}, {"start_s": 7.31, "end_s": 9.0}, {"start_s": 3.0}):
        wanted, found = read(file, **part), read(copy, **part)
        assert len(found) == len(wanted) > 0
        assert np.allclose([pts_s for pts_s, _ in found], [pts_s for pts_s, _ in wanted], atol=1e-3)
        assert all((one == other).all() for (_, one), (_, other) in zip(wanted, found, strict=True))


def test_the_decoder_jumps_in_the_copy_and_not_in_the_file(make_clip, tmp_path):
    file, copy = make_clip("a.ts", TEST[0], "-c:v", "libx264", *TEST[1:]), tmp_path / "copy.mkv"
    copy_with_index(file, copy, LIMITS)

    late = Decoding(start_s=9.0)

    assert "-ss" in decode_command(copy, probe(copy), late, times_pipe=9)
    assert "-ss" not in decode_command(file, probe(file), late, times_pipe=9)


def test_a_file_without_times_has_no_copy(make_clip, tmp_path):
    assert not copy_with_index(make_clip("a.264", TEST[0], "-c:v", "libx264", *TEST[1:]), tmp_path / "c.mkv", LIMITS)


def test_a_header_that_matroska_does_not_take_is_no_sign_that_ffmpeg_was_ended(make_clip, tmp_path):
    # ffmpeg ends with 255 where it is asked to, and where such a header is "not permitted".
    file = make_clip("a.avi", TEST[0], "-c:v", "libtheora")
    content = file.read_bytes()
    damaged = tmp_path / "damaged.avi"
    length_at = content.index(b"\x80theora") - 2
    damaged.write_bytes(content[:length_at] + b"\xff\xff" + content[length_at + 2 :])

    assert not copy_with_index(damaged, tmp_path / "c.mkv", LIMITS)


def test_a_file_that_is_no_video_has_no_copy(tmp_path):
    (tmp_path / "a.ts").write_bytes(bytes(range(256)) * 100)

    assert not copy_with_index(tmp_path / "a.ts", tmp_path / "c.mkv", LIMITS)
