"""What the decoder may cost, and that it is the kernel that sees to it."""

import io
import math
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.faces import video as video_module
from pipeline.faces.errors import (
    CorruptVideoError,
    DecoderInterruptedError,
    DecoderMemoryError,
    DecoderTimeoutError,
    NoFaceError,
    OutsideVideoError,
    VideoTooLargeError,
)
from pipeline.faces.ffmpeg_process import PatientReader, how_it_ended, start_ffmpeg
from pipeline.faces.limits import DecodeLimits
from pipeline.faces.options import FacesOptions
from pipeline.faces.probe import ffmpeg_program, probe
from pipeline.faces.tracks import track_faces
from pipeline.faces.video import open_video

H264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-preset", "ultrafast")
SMALL = "testsrc2=size=64x48:rate=10:duration=2"


def frames(path: Path, limits: DecodeLimits) -> int:
    with open_video(path, limits=limits) as video:
        return sum(1 for _ in video)


def python(code: str, limits: DecodeLimits) -> "subprocess.Popen[bytes]":
    return start_ffmpeg([sys.executable, "-c", code], limits, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (DecodeLimits(max_duration_s=1.9), r"lasts 2 s; the most is max_duration_s=1\.9"),
        (DecodeLimits(max_pixels=64 * 48 - 1), "has pictures of 64x48; the most is max_pixels=3071"),
        (DecodeLimits(max_frames=18), "has 20 frames; the most is max_frames=18"),
    ],
)
def test_videos_beyond_a_limit_are_too_large(make_clip, limits, message):
    path = make_clip("a.mp4", SMALL, *H264)
    with pytest.raises(VideoTooLargeError, match=message) as caught:
        frames(path, limits)
    assert caught.value.code == "too_large"


def test_a_part_that_begins_in_a_hundred_years_is_outside_the_video(make_clip):
    path = make_clip("a.h264", SMALL, *H264)
    with pytest.raises(OutsideVideoError, match="has no frame from 3e"), open_video(path, start_s=3e9) as video:
        list(video)


@pytest.mark.parametrize("name", ["decoder_stall_s", "decoder_cpu_s"])
def test_the_decoder_gets_no_time_without_end(name):
    with pytest.raises(ValueError, match=f"{name}=inf must be finite"):
        DecodeLimits(**{name: math.inf})


def test_videos_that_just_fit_are_read(make_clip):
    limits = DecodeLimits(max_duration_s=2.0, max_pixels=64 * 48, max_frames=20)
    assert frames(make_clip("a.mp4", SMALL, *H264), limits) == 20


def test_a_file_that_promises_no_duration_is_stopped_where_it_gets_too_long(make_clip):
    path = make_clip("a.h264", SMALL, *H264)
    assert probe(path).duration_s is None
    with pytest.raises(VideoTooLargeError, match=r"lasts longer than max_duration_s=1"):
        frames(path, DecodeLimits(max_duration_s=1.0))
    with pytest.raises(VideoTooLargeError, match=r"has more frames than max_frames=19"):
        frames(path, DecodeLimits(max_frames=19))


def test_the_decoders_bounds_are_the_kernels(make_clip):
    limits = DecodeLimits(decoder_memory_bytes=1 << 31, decoder_cpu_s=77.0)
    with open_video(make_clip("a.mp4", "testsrc2=size=640x480:rate=30:duration=4", *H264), limits=limits) as video:
        bounds = {name: resource.prlimit(video._process.pid, getattr(resource, f"RLIMIT_{name}")) for name in
                  ("AS", "CPU", "FSIZE", "CORE", "NOFILE")}
    assert bounds == {"AS": (1 << 31, 1 << 31), "CPU": (77, 82), "FSIZE": (0, 0), "CORE": (0, 0), "NOFILE": (64, 64)}


def test_a_decoder_that_needs_too_much_memory_is_told_from_a_damaged_file(make_clip):
    path = make_clip("a.mp4", "testsrc2=size=7680x4320:rate=5:duration=1", *H264)
    with pytest.raises(DecoderMemoryError, match="needs more memory than it may have, decoder_memory_bytes"):
        frames(path, DecodeLimits(decoder_memory_bytes=1 << 29, max_pixels=10**8))


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("Error encoding a frame: Cannot allocate memory", DecoderMemoryError),
        ("Failed to allocate packet of size 49766400", DecoderMemoryError),
        ("pthread_create() failed: Resource temporarily unavailable", DecoderMemoryError),
        ("ff_frame_thread_encoder_init failed", DecoderMemoryError),
        ("get_buffer() failed\nno frame!", DecoderMemoryError),
        ("Picture size 9000x9000 exceeds specified max pixel count 100\nget_buffer() failed", type(None)),
        ("video_get_buffer: image parameters invalid\nget_buffer() failed", type(None)),
        ("Error submitting packet to decoder: Invalid data found when processing input", type(None)),
    ],
)
def test_what_it_said_tells_lack_of_memory_from_pictures_that_may_not_be(said, kind):
    with python("raise SystemExit(69)", DecodeLimits()) as process:
        process.wait(60.0)
    assert type(how_it_ended(process, said.splitlines(), name="a")) is kind


@pytest.mark.parametrize(
    ("said", "kind"),
    [("", DecoderInterruptedError), ("Error opening input: Operation not permitted", type(None))],
)
def test_what_it_ends_with_when_asked_to_is_no_fault_of_the_video(said, kind):
    with python("raise SystemExit(255)", DecodeLimits()) as process:
        process.wait(60.0)
    assert type(how_it_ended(process, said.splitlines(), name="a")) is kind


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_decoder_that_a_scheduler_ends_first_is_interrupted(make_clip, number):
    path = make_clip("a.mp4", "testsrc2=size=640x480:rate=30:duration=4", *H264)
    stopped = pytest.raises(DecoderInterruptedError, match=r"a\.mp4: .* ended from outside")
    with open_video(path) as video, stopped:
        for frame in video:
            if frame.index == 0:
                os.kill(video._process.pid, number)


def test_a_decoder_that_stands_still_is_given_up(make_clip):
    path = make_clip("a.mp4", "testsrc2=size=640x480:rate=30:duration=4", *H264)
    with open_video(path, limits=DecodeLimits(decoder_stall_s=2.0)) as video:
        os.kill(video._process.pid, signal.SIGSTOP)
        with pytest.raises(DecoderTimeoutError, match=r"a\.mp4: the decoder gave nothing for 2 s"):
            for _ in video:
                pass


class Blind:
    """Finds no face."""

    scheme = "mediapipe68"
    name = "blind"
    weights_sha256 = ""

    def find_faces(self, picture, window=None):
        return []

    def region_of(self, box):
        raise AssertionError(box)

    def landmarks(self, picture, region):
        raise AssertionError(region)


def test_every_frame_is_told_of_before_more_is_awaited(make_clip, monkeypatch):
    # Who watches from outside ends what gives no sign of life, and a decoder may be slow with each frame of a block.
    told, awaited = [], []

    class NotingPipe(io.FileIO):
        read_bytes = 0

        def readinto(self, target):
            awaited.append((len(told), self.read_bytes // (64 * 48 * 3 // 2)))
            self.read_bytes += (got := super().readinto(target))
            return got

    def noting(pipe, **options):
        return PatientReader(NotingPipe(pipe.fileno(), closefd=False), **options)

    monkeypatch.setattr(video_module, "PatientReader", noting)
    with pytest.raises(NoFaceError):
        track_faces(make_clip("a.mp4", SMALL, *H264), Blind(), FacesOptions(crops=False), on_frame=told.append)

    assert told == [pytest.approx(n / 10) for n in range(20)]
    assert [known for known, _ in awaited] == [frames for _, frames in awaited]


def test_a_decoder_that_uses_up_its_cpu_time_has_timed_out():
    with python("while True: pass", DecodeLimits(decoder_cpu_s=1.0)) as process:
        process.wait(60.0)
    assert isinstance(how_it_ended(process, [], name="a"), DecoderTimeoutError)


def test_ffmpeg_which_catches_the_kernels_signal_has_timed_out_all_the_same():
    endless = ["-f", "lavfi", "-i", "testsrc2=size=640x480:rate=30", "-f", "null", "-"]
    command = [ffmpeg_program(), "-nostdin", "-loglevel", "fatal", *endless]
    with start_ffmpeg(command, DecodeLimits(decoder_cpu_s=1.9), stderr=subprocess.PIPE) as process:
        process.wait(100.0)
        said = process.stderr.read()
    assert (process.returncode, said) == (255, b"")
    broken = how_it_ended(process, [], name="a")
    assert isinstance(broken, DecoderTimeoutError)
    assert "used up its CPU time, decoder_cpu_s" in str(broken)


def test_a_video_that_needs_more_cpu_time_than_it_may_have_fails_as_timeout(make_clip):
    path = make_clip("a.mp4", "testsrc2=size=1280x720:rate=30:duration=30", *H264)
    with pytest.raises(DecoderTimeoutError, match=r"a\.mp4: the decoder used up its CPU time"):
        frames(path, DecodeLimits(decoder_cpu_s=1.0))


@pytest.mark.parametrize(
    ("code", "cpu_s", "kind"),
    [
        (123, 78.0, DecoderTimeoutError),  # asked every second, it ends the hard way
        (-signal.SIGKILL, 82.0, DecoderTimeoutError),
        (255, 69.0, DecoderInterruptedError),
        (-signal.SIGKILL, 69.0, DecoderMemoryError),
        (69, 78.0, type(None)),
    ],
)
def test_only_ends_that_the_kernels_limit_may_bring_tell_of_cpu_time(code, cpu_s, kind):
    with python("pass", DecodeLimits(decoder_cpu_s=77.9)) as process:
        process.wait(60.0)
    process.returncode, process.cpu_s = code, cpu_s
    assert type(how_it_ended(process, [], name="a")) is kind


def test_what_is_waited_for_too_long_is_told():
    with python("import time; time.sleep(100)", DecodeLimits()) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)
        process.kill()
        assert process.wait() == -signal.SIGKILL


def test_a_decoder_may_not_write_files(tmp_path):
    with python(f"import sys; open({str(tmp_path / 'x')!r}, 'w').write('x')", DecodeLimits()) as process:
        process.wait(60.0)
    assert not (tmp_path / "x").stat().st_size


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (signal.SIGKILL, DecoderMemoryError), (signal.SIGSEGV, CorruptVideoError),
        (signal.SIGTERM, DecoderInterruptedError), (signal.SIGHUP, DecoderInterruptedError), (0, type(None)),
    ],
)
def test_the_way_it_ended_tells_why(number, kind):
    with python(f"import os; os.kill(os.getpid(), {int(number)})", DecodeLimits()) as process:
        process.wait(60.0)
    assert type(how_it_ended(process, [], name="a")) is kind


def test_a_report_of_any_length_is_read_only_up_to_a_point():
    endless = "import sys\nwhile True: sys.stdout.write('x' * 4096)"
    with python(endless, DecodeLimits()) as process:
        assert len(PatientReader(process.stdout, stall_s=30.0, name="a").read_up_to(100_000)) == 100_000
        process.kill()


@pytest.mark.parametrize("name", ["max_duration_s", "max_frames", "max_pixels", "decoder_stall_s", "decoder_cpu_s"])
def test_limits_that_permit_nothing_are_refused(name):
    kind = int if name in {"max_frames", "max_pixels"} else float
    with pytest.raises(ValueError, match=f"{name}=-1"):
        DecodeLimits(**{name: kind(-1)})
