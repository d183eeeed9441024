import numpy as np
import pytest

from pipeline.faces.dissolves import DissolveDetector, Transition
from pipeline.faces.picture import Picture
from pipeline.faces.planes import Planes
from pipeline.faces.shots import ShotDetector, glances
from pipeline.faces.video import open_video

H264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-preset", "ultrafast")
SIZE = "s=320x180:r=30"
SCENES = (f"testsrc2={SIZE}", f"mandelbrot={SIZE}", f"gradients={SIZE}:seed=3", f"smptebars={SIZE}")


def transitions_of(path):
    shots, found = ShotDetector(), []
    with open_video(path) as video:
        for frame in video:
            found += shots(frame.picture, index=frame.index, pts_s=frame.pts_s)
    return [(transition.begin, transition.end) for transition in found + shots.finish()]


def transitions_in(pictures, fps=30.0):
    shots, found = ShotDetector(), []
    for index, rgb in enumerate(pictures):
        found += shots(Picture(rgb), index=index, pts_s=index / fps)
    return [(transition.begin, transition.end) for transition in found + shots.finish()]


def scene(seed):
    """A picture with detail of every size, and its own colours."""
    rng = np.random.default_rng(seed)
    rgb = np.zeros((180, 320, 3))
    for cells in (3, 9, 27):
        coarse = rng.uniform(-60, 60, (cells, 2 * cells, 3))
        y, x = np.arange(180) * cells // 180, np.arange(320) * 2 * cells // 320
        rgb += coarse[y][:, x]
    return np.clip(rgb + rng.uniform(70, 180, 3), 0, 255)


def frames_of(*parts):
    return [np.asarray(picture, dtype=np.uint8) for part in parts for picture in part]


def dissolve(first, second, frames):
    return [first + (second - first) * (k + 1) / (frames + 1) for k in range(frames)]


def joined(scenes, seconds, how):
    clips = ";".join(
        f"{one},trim=duration={seconds},setpts=PTS-STARTPTS,settb=1/30,format=yuv420p[v{k}]"
        for k, one in enumerate(scenes)
    )
    return f"{clips};{how}"


def test_hard_cuts_are_found_where_they_are(make_clip):
    source = joined(SCENES, 0.5, "".join(f"[v{k}]" for k in range(4)) + "concat=n=4")
    assert transitions_of(make_clip("cuts.mp4", source, *H264)) == [(15, 15), (30, 30), (45, 45)]


@pytest.mark.parametrize("frames", [10, 24, 45])
def test_a_dissolve_is_found_from_its_first_to_its_last_mixed_frame(frames):
    first, second = scene(0), scene(1)
    pictures = frames_of([first] * 40, dissolve(first, second, frames), [second] * 40)
    [(begin, end)] = transitions_in(pictures)
    assert abs(begin - 40) <= 2
    assert abs(end - 40 - frames) <= 2 + frames // 10


def test_a_dissolve_between_moving_pictures_is_found(make_clip):
    source = joined(SCENES[1::2], 2, "[v0][v1]xfade=transition=fade:duration=0.8:offset=1.2")
    [(begin, end)] = transitions_of(make_clip("fade.mp4", source, *H264))
    assert 33 <= begin <= 40
    assert 55 <= end <= 63


def test_at_60_frames_a_second_a_dissolve_has_twice_the_frames():
    first, second = scene(2), scene(3)
    pictures = frames_of([first] * 60, dissolve(first, second, 60), [second] * 60)
    [(begin, end)] = transitions_in(pictures, fps=60.0)
    assert abs(begin - 60) <= 4
    assert abs(end - 120) <= 10


@pytest.mark.parametrize("before", [40, 140, 290])
def test_a_dissolve_is_found_wherever_it_lies_in_a_long_shot(before):
    first, second = scene(1), scene(2)
    # What is remembered of it changes: a light goes on slowly.
    lit = [first * min(1.0, 0.2 + 0.8 * k / (before - 10)) for k in range(before)]
    pictures = frames_of(lit, dissolve(first, second, 12), [second] * 60)
    ((begin, end),) = transitions_in(pictures)
    assert abs(begin - before) <= 2
    assert abs(end - before - 12) <= 2


def test_what_is_remembered_of_pictures_is_moved_as_one():
    dissolves, draw = DissolveDetector(), np.random.default_rng(0)
    for index in range(200):
        dissolves(draw.integers(0, 10 + index, (36, 64, 3)).astype(np.uint8), index)
    remembered = slice(dissolves._first, dissolves._first + len(dissolves._index))
    assert remembered.stop - remembered.start == 76
    pictures = dissolves._pictures[remembered].reshape(76, -1)
    np.testing.assert_allclose(dissolves._products, pictures @ pictures.T / pictures.shape[1], rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(dissolves._powers[remembered], np.diagonal(dissolves._products))


def test_frames_that_are_glanced_at_together_are_seen_as_one_by_one():
    pictures = [Picture(scene(seed).astype(np.uint8)) for seed in range(5)]
    for glance, picture in zip(glances(pictures), pictures, strict=True):
        (alone,) = glances([picture])
        assert all((one == other).all() for one, other in zip(glance, alone, strict=True))
        assert glance.colours.sum() == pytest.approx(1.0)
        red, green, blue = (glance.small[..., channel].ravel() // 64 for channel in range(3))
        most = np.bincount(16 * red.astype(int) + 4 * green + blue).argmax()
        assert glance.colours.argmax() == most


def test_planes_that_are_glanced_at_together_are_seen_as_one_by_one():
    draw = np.random.default_rng(1)
    luma, blue, red = (draw.integers(16, 236, (4, *size)).astype(np.uint8) for size in ((90, 161), (45, 81), (45, 81)))
    pictures = [
        Picture(Planes(luma=luma[k], blue=blue[k], red=red[k], matrix="bt709")) for k in range(len(luma))
    ]
    for glance, picture in zip(glances(pictures), pictures, strict=True):
        np.testing.assert_array_equal(glance.thumbnail, picture.thumbnail(64, 36, samples_per_pixel=2))
        np.testing.assert_array_equal(glance.small, glances([picture])[0].small)


def test_a_cut_right_before_the_end_is_found():
    assert transitions_in(frames_of([scene(0)] * 20, [scene(1)] * 2)) == [(20, 20)]


@pytest.mark.parametrize("level", [0, 255], ids=["dark", "white"])
def test_a_few_frames_of_flash_or_darkness_cut_nothing(level):
    flash = [np.full((180, 320, 3), level)] * 3
    assert transitions_in(frames_of([scene(0)] * 20, flash, [scene(0)] * 20)) == []


def test_out_of_a_black_picture_comes_another_shot():
    black = [np.zeros((180, 320, 3))] * 12
    dimmed = [scene(0) * (1 - k / 20) for k in range(20)]
    risen = [scene(1) * k / 20 for k in range(20)]
    found = transitions_in(frames_of([scene(0)] * 20, dimmed, black, risen, [scene(1)] * 20))
    assert len(found) == 1
    begin, end = found[0]
    assert 36 <= begin <= 42
    assert 50 <= end <= 56


def test_a_flickering_light_cuts_nothing(make_clip):
    flicker = f"color=gray:{SIZE}:d=1.5,format=gray,geq=lum='if(mod(N,2)*gte(N,20),220,40)'"
    assert transitions_of(make_clip("flicker.mp4", flicker, *H264)) == []


@pytest.mark.parametrize(
    "source",
    [
        f"testsrc2={SIZE}:d=1.5",
        f"mandelbrot={SIZE},trim=duration=1.5",
        # A shaking camera: a detailed picture thrown about by a twentieth of its width.
        "mandelbrot=s=400x240:r=30,trim=duration=1.5,crop=320:180:x='40+20*sin(7*n)':y='30+10*cos(9*n)'",
        f"smptebars={SIZE}:d=1.5,fade=out:st=0:d=1.5",
        # A whip pan over a third of the picture.
        "mandelbrot=s=480x270:r=30,trim=duration=2,crop=320:180:x='min(160,max(0,16*(n-30)))':y=40",
    ],
    ids=["moving", "zooming", "shaking", "fading", "panning"],
)
def test_motion_and_fades_cut_nothing(make_clip, source):
    assert transitions_of(make_clip("one.mp4", source, *H264)) == []


def test_a_first_frame_looks_new_and_the_next_one_does_not():
    shots, looks_new = ShotDetector(), []
    for index, rgb in enumerate(frames_of([scene(0)] * 3, [scene(1)] * 2)):
        shots(Picture(rgb), index=index, pts_s=index / 30)
        looks_new.append(shots.looks_new)
    assert looks_new == [True, False, False, True, False]


def test_what_is_settled_stays_before_the_beginning_of_what_is_found():
    first, second = scene(4), scene(5)
    pictures = frames_of([first] * 100, dissolve(first, second, 50), [second] * 30, [first] * 30)
    shots, settled, found = ShotDetector(), 0, []
    for index, rgb in enumerate(pictures):
        for transition in shots(Picture(rgb), index=index, pts_s=index / 30):
            assert transition.begin >= settled
            found.append(transition)
        assert shots.settled_before(index) >= settled
        settled = shots.settled_before(index)
    assert len(found) == 2
    assert found[1] == Transition(begin=180, end=180)
    assert settled == 180
