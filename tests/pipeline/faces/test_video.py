import itertools
import subprocess

import numpy as np
import pytest

from pipeline.faces import video as video_module
from pipeline.faces.decoding import Decoding, decode_command
from pipeline.faces.errors import (
    CorruptVideoError,
    NoVideoStreamError,
    OutsideVideoError,
    UnsupportedFormatError,
)
from pipeline.faces.probe import ffmpeg_program, probe
from pipeline.faces.video import open_video

H264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-preset", "ultrafast")
TEST = "testsrc=size=128x96:rate=30:duration=1"
RED_LEFT_BLUE_RIGHT = "color=red:s=64x96:r=10:d=0.5[a];color=blue:s=64x96:r=10:d=0.5[b];[a][b]hstack"
RED, BLUE = (255, 0, 0), (0, 0, 255)


def read(path, **part):
    with open_video(path, **part) as video:
        return video.info, [(frame.index, frame.pts_s, frame.rgb) for frame in video]


def is_colour(pixels, colour, within=29):
    return bool(np.abs(pixels.reshape(-1, 3).astype(int) - colour).max() <= within)


def test_frames_come_in_order_with_their_times_and_size(make_clip):
    info, frames = read(make_clip("a.mp4", TEST, *H264))
    assert (info.width_px, info.height_px, info.codec, info.rotation_deg) == (128, 96, "h264", 0.0)
    assert (info.fps, info.duration_s) == (30.0, 1.0)
    assert [index for index, _, _ in frames] == list(range(30))
    assert np.allclose([pts for _, pts, _ in frames], np.arange(30) / 30, atol=1e-4)
    assert all(rgb.shape == (96, 128, 3) for _, _, rgb in frames)
    assert any((rgb != frames[0][2]).any() for _, _, rgb in frames)


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.mov"])
def test_a_variable_frame_rate_keeps_its_times(make_clip, name):
    kept = [n for n in range(30) if n % 5 != 2 and not 10 <= n < 16]
    choose = "select='not(eq(mod(n,5),2)+between(n,10,15))'"
    _, frames = read(make_clip(name, TEST, "-vf", choose, "-fps_mode", "passthrough", *H264))
    assert np.allclose([pts for _, pts, _ in frames], np.array(kept) / 30, atol=1e-3)


def test_pictures_that_start_after_the_sound_keep_the_files_clock(make_clip, tmp_path):
    silent, late = make_clip("s.mp4", TEST, *H264), tmp_path / "late.mp4"
    command = [ffmpeg_program(), "-v", "error", "-f", "lavfi", "-i", "sine=d=2", "-itsoffset", "0.5", "-i", str(silent)]
    subprocess.run([*command, "-map", "0:a", "-map", "1:v", "-c:v", "copy", str(late)], check=True)
    _, frames = read(late)
    assert np.allclose([pts for _, pts, _ in frames], 0.5 + np.arange(30) / 30, atol=1e-3)


def test_frames_without_times_in_the_container_get_increasing_ones(make_clip):
    # AVI stores no presentation times; with B-frames half of the decoder's times are unknown.
    _, frames = read(make_clip("b.avi", TEST, "-c:v", "mpeg4", "-bf", "2"))
    assert len(frames) == 30
    assert np.allclose(np.diff([pts for _, pts, _ in frames]), 1 / 30, atol=1e-6)


@pytest.mark.parametrize(("turn", "clockwise", "top"), [("90", 270.0, BLUE), ("-90", 90.0, RED)])
def test_rotation_by_metadata_is_applied(make_clip, tmp_path, turn, clockwise, top):
    upright, turned = make_clip("u.mp4", RED_LEFT_BLUE_RIGHT, *H264), tmp_path / "t.mp4"
    command = [ffmpeg_program(), "-v", "error", "-display_rotation", turn, "-i", str(upright), "-c", "copy"]
    subprocess.run([*command, str(turned)], check=True, capture_output=True)
    info, frames = read(turned)
    assert (info.width_px, info.height_px, info.rotation_deg) == (96, 128, clockwise)
    assert is_colour(frames[0][2][:56], top)
    assert is_colour(frames[0][2][72:], RED if top == BLUE else BLUE)


def test_non_square_pixels_become_square(make_clip):
    info, frames = read(make_clip("s.mp4", "testsrc=size=176x144:d=0.2", "-vf", "setsar=128/117", *H264))
    assert (info.width_px, info.height_px) == (192, 144)
    assert frames[0][2].shape == (144, 192, 3)


def test_odd_sizes_of_square_pixels_stay_as_they_are(make_clip):
    info, frames = read(make_clip("o.mkv", "testsrc=size=125x93:d=0.2", "-c:v", "ffv1"))
    assert (info.width_px, info.height_px) == (125, 93)
    assert frames[0][2].shape == (93, 125, 3)


def test_colours_are_right(make_clip):
    _, frames = read(make_clip("c.mp4", RED_LEFT_BLUE_RIGHT, *H264))
    assert is_colour(frames[0][2][:, :56], RED)
    assert is_colour(frames[0][2][:, 72:], BLUE)


@pytest.mark.parametrize(("levels", "shown"), [("unknown", 98), ("tv:colorspace=bt709", 98), ("pc", 100)])
def test_levels_are_those_that_the_file_names_and_limited_where_it_names_none(make_clip, levels, shown):
    grey = f"color=gray:size=64x48:d=0.2,format=yuv420p,lutyuv=y=100:u=128:v=128,setparams=range={levels}"
    path = make_clip("r.mp4", grey, *H264)
    info, frames = read(path)
    assert info.range_named is (levels != "unknown")
    assert is_colour(frames[0][2], (shown, shown, shown), within=1)
    # Where nothing is to be converted ffmpeg must see so: else it copies each picture.
    command = decode_command(path, info, Decoding(), times_pipe=9)
    assert ("setparams=range=tv" in command[command.index("-vf") + 1]) is (levels == "unknown")


@pytest.mark.parametrize("name", ["-x.mp4", "concat:a.mp4", "pipe:0.mp4", "a b'c\"$(d).mp4", "%03d.mp4"])
def test_strange_names_are_only_names(make_clip, name):
    _, frames = read(make_clip(name, "testsrc=size=64x48:d=0.2", *H264))
    assert len(frames) == 5


def test_a_missing_file_is_the_callers_mistake(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no video file .*gone\.mp4"):
        probe(tmp_path / "gone.mp4")


def test_an_empty_file_is_corrupt(tmp_path):
    (tmp_path / "e.mp4").touch()
    with pytest.raises(CorruptVideoError, match=r"e\.mp4 is empty"):
        probe(tmp_path / "e.mp4")


@pytest.mark.parametrize("name", ["t.mp4", "t.txt", "t"])
def test_a_text_is_no_video(tmp_path, name):
    (tmp_path / name).write_text("There once was a file that was only text.\n" * 50)
    with pytest.raises(UnsupportedFormatError, match="is no video file that ffmpeg can read"):
        probe(tmp_path / name)


@pytest.mark.parametrize(
    "script", ["ffconcat version 1.0\nfile a.mp4\n", "#EXTM3U\n#EXTINF:1,\na.mp4\n#EXT-X-ENDLIST\n"]
)
def test_a_script_that_names_other_files_is_not_followed(make_clip, tmp_path, script):
    make_clip("a.mp4", "testsrc=size=64x48:d=0.2", *H264)
    (tmp_path / "list.m3u8").write_text(script)
    with pytest.raises(UnsupportedFormatError, match="is no video file that ffmpeg can read"):
        probe(tmp_path / "list.m3u8")


def test_sound_alone_has_no_video_stream(make_clip):
    with pytest.raises(NoVideoStreamError, match=r"s\.m4a has no video stream"):
        probe(make_clip("s.m4a", "sine=d=0.5"))


def test_a_file_without_its_index_is_corrupt(make_clip):
    path = make_clip("i.mp4", TEST, *H264)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(CorruptVideoError, match=r"i\.mp4 is cut short or damaged: its index is missing"):
        probe(path)


@pytest.mark.parametrize(("name", "extra"), [("h.mp4", ("-movflags", "+faststart")), ("h.mkv", ())])
def test_half_a_file_gives_its_frames_and_then_is_corrupt(make_clip, name, extra):
    path = make_clip(name, "testsrc2=size=320x240:rate=30:duration=2", *H264, *extra)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    seen = []
    with open_video(path) as video, pytest.raises(CorruptVideoError, match=r"h\.m.* ends after .* s of 2\.0 s"):
        seen.extend(frame.index for frame in video)
    assert len(seen) > 10


def test_a_file_damaged_all_over_is_corrupt_and_says_the_same_each_time(make_clip):
    path = make_clip("d.mkv", "testsrc2=size=320x240:rate=30:duration=2", *H264)
    data, rng = bytearray(path.read_bytes()), np.random.default_rng(0)
    for at in rng.integers(len(data) // 10, len(data), 60):
        data[at : at + 40] = rng.bytes(40)
    path.write_bytes(data)
    messages = set()
    for _ in range(2):
        with open_video(path) as video, pytest.raises(CorruptVideoError, match=r"d\.mkv") as caught:
            for _ in video:
                pass
        messages.add(str(caught.value))
    assert len(messages) == 1
    assert "0x" not in messages.pop()


def test_one_damaged_frame_costs_only_itself(make_clip):
    path = make_clip("k.mkv", "testsrc2=size=320x240:rate=30:duration=4", "-c:v", "libx264", "-g", "1", "-bf", "0")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 60] = bytes(60)
    path.write_bytes(data)
    with open_video(path) as video:
        frames = sum(1 for _ in video)
    assert frames >= 118
    assert 1 <= video.damaged_frames <= 2


def test_ffmpeg_ends_with_the_block(make_clip):
    path = make_clip("l.mp4", "testsrc2=size=640x480:rate=30:duration=4", *H264)
    with open_video(path) as video:
        next(iter(video))
        assert video._process.returncode is None
    assert video._process.returncode is not None
    assert not video._complaints._listener.is_alive()


def test_all_frames_share_one_buffer_and_their_colours_do_not(make_clip):
    with open_video(make_clip("m.mp4", TEST, *H264)) as video:
        frames = [(frame.picture.samples.luma.ctypes.data, frame.rgb) for frame in video]
    assert len({address for address, _ in frames}) == 1
    assert (frames[0][1] != frames[1][1]).any()


def test_blocks_hold_the_same_frames_all_at_once(make_clip):
    path = make_clip("n.mp4", "testsrc2=size=64x48:rate=10:duration=2.5", *H264)
    with open_video(path) as video:
        alone = [(frame.index, frame.pts_s, frame.rgb) for frame in video]
    with open_video(path) as video:
        blocks = [[(f.index, f.pts_s, f.picture.rgb) for f in list(block)] for block in video.blocks(8)]
    assert [len(block) for block in blocks] == [8, 8, 8, 1]
    for one, other in zip(alone, [frame for block in blocks for frame in block], strict=True):
        assert one[:2] == other[:2]
        np.testing.assert_array_equal(one[2], other[2])


def test_a_block_of_large_pictures_has_fewer_of_them(make_clip, monkeypatch):
    monkeypatch.setattr(video_module, "BLOCK_BYTES", 3 * 64 * 48 * 3 // 2)
    path = make_clip("o.mp4", "testsrc2=size=64x48:rate=10:duration=0.7", *H264)
    with open_video(path) as video:
        assert [len(block) for block in video.blocks()] == [3, 3, 1]
    monkeypatch.setattr(video_module, "BLOCK_BYTES", 1)
    with open_video(path) as video:
        assert [len(block) for block in video.blocks()] == [1] * 7


def test_a_part_in_the_middle_of_a_file_without_an_index_comes_in_blocks(make_clip):
    path = make_clip("p.ts", "testsrc2=size=64x48:rate=10:duration=4", *H264)
    with open_video(path, start_s=2.0, end_s=3.0) as video:
        alone = [(frame.index, frame.pts_s) for frame in video]
    with open_video(path, start_s=2.0, end_s=3.0) as video:
        together = [(frame.index, frame.pts_s) for block in video.blocks(6) for frame in block]
    assert len(alone) == 10
    assert together == alone


MOVING = "testsrc2=size=160x120:rate=25:duration=8"
OPEN_GOP = ("-x264-params", "open-gop=1:keyint=20:min-keyint=20:bframes=3:scenecut=0")
IRREGULAR = ("-vf", "select='not(eq(mod(n,7),3)+between(n,90,140))'", "-fps_mode", "passthrough")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("b.mp4", OPEN_GOP),
        ("b.mkv", OPEN_GOP),
        ("v.mp4", IRREGULAR),
        ("t.ts", OPEN_GOP),
        ("d.mov", ("-g", "300", "-output_ts_offset", "0.3")),
    ],
)
def test_parts_of_a_video_have_the_frames_of_the_whole_each_once(make_clip, name, arguments):
    path = make_clip(name, MOVING, "-c:v", "libx264", "-pix_fmt", "yuv420p", *arguments)
    _, whole = read(path)
    # A frame of the border's very time belongs to what follows.
    borders = [None, 1.7, whole[70][1], whole[71][1] + 1e-9, 6.5, None]
    parts = []
    for start_s, end_s in itertools.pairwise(borders):
        _, part = read(path, start_s=start_s, end_s=end_s)
        assert [index for index, _, _ in part] == list(range(len(part)))
        parts += part
    assert [pts_s for _, pts_s, _ in parts] == [pts_s for _, pts_s, _ in whole]
    assert all((mine[2] == theirs[2]).all() for mine, theirs in zip(parts, whole, strict=True))


def test_a_part_beyond_the_end_is_told_from_a_damaged_file(make_clip):
    path = make_clip("a.mp4", TEST, *H264)
    told = pytest.raises(OutsideVideoError, match=r"a\.mp4 has no frame from 5 s to 9 s; it lasts 1\.0 s")
    with open_video(path, start_s=5.0, end_s=9.0) as video, told:
        next(iter(video))


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"start_s": -1.0}, r"start_s=-1\.0"),
        ({"start_s": 2.0, "end_s": 2.0}, r"end_s=2\.0 must come after start_s=2\.0"),
        ({"height_px": 1}, "height_px=1"),
        ({"fps": 0.0}, r"fps=0\.0"),
    ],
)
def test_what_cannot_be_meant_is_refused(make_clip, part, message):
    path = make_clip("a.mp4", TEST, *H264)
    with pytest.raises(ValueError, match=message), open_video(path, **part):
        pass


@pytest.mark.parametrize(("height_px", "expected"), [(48, (48, 64)), (96, (96, 128)), (500, (96, 128))])
def test_pictures_are_made_smaller_never_larger(make_clip, height_px, expected):
    path = make_clip("a.mp4", TEST, *H264)
    with open_video(path, height_px=height_px) as video:
        frame = next(iter(video))
    assert frame.rgb.shape[:2] == expected
    assert (frame.picture.width_px, frame.picture.height_px) == (128, 96)
    assert is_colour(frame.picture.thumbnail(1, 1), read(path)[1][0][2].mean(axis=(0, 1)))


@pytest.mark.parametrize(("fps", "kept"), [(12.5, 2), (25 / 3, 3), (5.0, 5), (24.0, 1), (30.0, 1)])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_thinned_video_has_the_same_frames_whole_and_in_parts(make_clip, name, fps, kept):
    path = make_clip(name, MOVING, *H264)
    every, thinned = ([pts_s for _, pts_s, _ in read(path, fps=rate)[1]] for rate in (None, fps))
    if fps == 24.0:
        assert len(thinned) == 192
        assert set(thinned) < set(every)
    else:
        assert thinned == every[::kept]
    parts = []
    for start_s, end_s in itertools.pairwise([None, 2.02, 5.5, None]):
        parts += [pts_s for _, pts_s, _ in read(path, start_s=start_s, end_s=end_s, fps=fps)[1]]
    assert parts == thinned
