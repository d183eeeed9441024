import pytest

from pipeline.faces.shots import CutDetector
from pipeline.faces.video import open_video

H264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-preset", "ultrafast")
SIZE = "s=320x180:r=30"


def cuts_of(path):
    detector = CutDetector()
    with open_video(path) as video:
        return [frame.index for frame in video if detector(frame.picture)]


def test_hard_cuts_are_found_where_they_are(make_clip):
    scenes = [f"testsrc2={SIZE}:d=0.5", f"mandelbrot={SIZE}", f"gradients={SIZE}:seed=3", f"smptebars={SIZE}:d=0.5"]
    source = ";".join(f"{s},trim=duration=0.5,setpts=PTS-STARTPTS,format=yuv420p[v{k}]" for k, s in enumerate(scenes))
    source += ";" + "".join(f"[v{k}]" for k in range(len(scenes))) + f"concat=n={len(scenes)}"
    assert cuts_of(make_clip("cuts.mp4", source, *H264)) == [15, 30, 45]


def test_a_flickering_light_cuts_only_until_it_is_known(make_clip):
    flicker = f"color=gray:{SIZE}:d=1.5,format=gray,geq=lum='if(mod(N,2)*gte(N,20),220,40)'"
    assert all(21 <= cut < 30 for cut in cuts_of(make_clip("flicker.mp4", flicker, *H264)))


@pytest.mark.parametrize(
    "source",
    [
        f"testsrc2={SIZE}:d=1.5",
        f"mandelbrot={SIZE},trim=duration=1.5",
        # A shaking camera: a detailed picture thrown about by a twentieth of its width.
        "mandelbrot=s=400x240:r=30,trim=duration=1.5,crop=320:180:x='40+20*sin(7*n)':y='30+10*cos(9*n)'",
        f"smptebars={SIZE}:d=1.5,fade=out:st=0:d=1.5",
    ],
    ids=["moving", "zooming", "shaking", "fading"],
)
def test_motion_and_fades_cut_nothing(make_clip, source):
    assert cuts_of(make_clip("one.mp4", source, *H264)) == []
