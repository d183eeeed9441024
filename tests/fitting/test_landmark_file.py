"""Landmarks files: what is read is what stands there, and every mistake is named with its place."""

import math
from pathlib import Path

import numpy as np
import pytest

from fitting.landmark_file import read_landmarks, write_landmarks
from fitting.mediapipe_mesh import MESH_POINTS, mesh_ids
from fitting.tracks import LandmarkSequence
from pipeline.faces.schemes import points_of


def points(frames: int = 3, count: int = 4) -> np.ndarray:
    return np.random.default_rng(5).uniform(0, 400, (frames, count, 2)).astype(np.float32)


def text_file(tmp_path: Path, *lines: str, name: str = "face.csv") -> Path:
    (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path / name


def npz_file(tmp_path: Path, **arrays: object) -> Path:
    np.savez(tmp_path / "face.npz", **arrays)  # type: ignore[arg-type]
    return tmp_path / "face.npz"


def test_an_npz_gives_its_points_times_and_confidences(tmp_path: Path) -> None:
    landmarks = points()
    landmarks[1, 2, 0] = np.nan
    confidence = np.full((3, 4), 0.5)
    path = npz_file(
        tmp_path, landmarks=landmarks, confidence=confidence, pts_s=[0.0, 0.1, 0.3], scheme="ibug68", frame=[4, 5, 9]
    )
    read = read_landmarks(path)
    assert read.sequence.scheme == "ibug68"
    assert read.assumed_fps is None
    np.testing.assert_array_equal(read.frame, [4, 5, 9])
    np.testing.assert_array_equal(read.sequence.pts_s, [0.0, 0.1, 0.3])
    expected = landmarks.copy()
    expected[1, 2] = np.nan  # half a point is no point
    np.testing.assert_array_equal(read.sequence.observed_px, expected)
    np.testing.assert_array_equal(read.sequence.smoothed_px, expected)
    assert read.sequence.weight[1, 2] == 0
    assert (np.delete(read.sequence.weight.ravel(), 6) == 0.5).all()


def test_landmarks_that_were_written_are_read_back_bit_for_bit(tmp_path: Path) -> None:
    seen_px, weight = points(), np.full((3, 4), 0.5, np.float32)
    sequence = LandmarkSequence(
        scheme="ibug68", observed_px=seen_px, smoothed_px=seen_px + np.float32(0.1), weight=weight,
        pts_s=np.array([0.1, 0.2, 0.4]), picture_px=(640, 480),
    )  # fmt: skip
    write_landmarks(tmp_path / "out.npz", sequence, frame=np.array([3, 4, 6]))
    read = read_landmarks(tmp_path / "out.npz")
    for name in ("scheme", "observed_px", "smoothed_px", "weight", "pts_s", "picture_px"):
        np.testing.assert_array_equal(getattr(read.sequence, name), getattr(sequence, name))
    assert read.frame.tolist() == [3, 4, 6]


def test_a_smoothed_point_is_there_where_its_landmark_is(tmp_path: Path) -> None:
    landmarks, smoothed = points(), points()
    landmarks[0, 1] = smoothed[0, 1] = smoothed[2, 3] = np.nan
    path = npz_file(tmp_path, landmarks=landmarks, smoothed=smoothed, scheme="ibug68")
    with pytest.raises(ValueError, match=r"frames\[2\]: smoothed point 3 is not finite, but its landmark is"):
        read_landmarks(path)
    path = npz_file(tmp_path, landmarks=landmarks, smoothed=smoothed[:2], scheme="ibug68")
    with pytest.raises(ValueError, match="smoothed has shape"):
        read_landmarks(path)


def test_wide_tidy_and_npz_say_the_same(tmp_path: Path) -> None:
    landmarks = points()
    landmarks[2, 1] = np.nan
    wide = ["frame,pts_s,x0,y0,x1,y1,x2,y2,x3,y3"]
    tidy = ["x,y,frame,point,pts_s"]
    for frame, row in enumerate(landmarks.tolist()):
        cells = ["" if math.isnan(value) else repr(value) for point in row for value in point]
        wide.append(",".join([str(frame), repr(frame / 25), *cells]))
        tidy += [f"{x!r},{y!r},{frame},{point},{frame / 25!r}" for point, (x, y) in enumerate(row) if not math.isnan(x)]
    tidy[1:] = tidy[:0:-1]  # any order will do
    files = [
        npz_file(tmp_path, landmarks=landmarks, fps=25),
        text_file(tmp_path, *wide, name="wide.csv"),
        text_file(tmp_path, "\ufeff" + tidy[0], *tidy[1:], name="tidy.CSV"),
    ]
    reads = [read_landmarks(path, scheme="toy4") for path in files]
    for read in reads:
        np.testing.assert_array_equal(read.sequence.observed_px, landmarks)
        np.testing.assert_allclose(read.sequence.pts_s, [0.0, 0.04, 0.08])
        np.testing.assert_array_equal(read.sequence.weight, reads[0].sequence.weight)
        np.testing.assert_array_equal(read.frame, [0, 1, 2])


def test_frames_left_out_leave_their_time(tmp_path: Path) -> None:
    read = read_landmarks(text_file(tmp_path, "frame,x0,y0", "10,1,2", "11,1,2", "14,1,2"), scheme="s", fps=10.0)
    np.testing.assert_array_equal(read.frame, [10, 11, 14])
    np.testing.assert_allclose(read.sequence.pts_s, [0.0, 0.1, 0.4])
    assert read.assumed_fps == 10


def test_without_times_the_assumed_rate_is_told(tmp_path: Path) -> None:
    read = read_landmarks(npz_file(tmp_path, landmarks=points()), scheme="s")
    assert read.assumed_fps == 30
    np.testing.assert_allclose(read.sequence.pts_s, [0, 1 / 30, 2 / 30])


def test_a_tidy_file_keeps_confidences(tmp_path: Path) -> None:
    path = text_file(tmp_path, "frame,point,x,y,confidence", "0,0,1,2,0.25", "0,1,3,4,1", "1,1,,,")
    np.testing.assert_array_equal(read_landmarks(path, scheme="s").sequence.weight, [[0.25, 1], [0, 0]])


def test_all_x_may_stand_before_all_y(tmp_path: Path) -> None:
    read = read_landmarks(text_file(tmp_path, "frame,x0,x1,y0,y1", "0,1,2,3,4"), scheme="s")
    np.testing.assert_array_equal(read.sequence.observed_px, [[[1, 3], [2, 4]]])


@pytest.mark.parametrize("separator", [",", ", "])
@pytest.mark.parametrize("face_id", [["face_id"], []])
def test_a_table_of_openface_is_read_as_it_is(tmp_path: Path, separator: str, face_id: list[str]) -> None:
    landmarks = np.random.default_rng(6).uniform(0, 400, (3, 68, 2)).round(1)
    names = ["frame", *face_id, "timestamp", "confidence", "success", "gaze_0_x", "AU01_r"]
    names += [f"{axis}_{point}" for axis in "xyXYZ" for point in range(68)]
    rows = [names]
    for number, points in enumerate(landmarks):
        head = [str(number + 4), *("0" for _ in face_id), f"{number / 25:.3f}", "0.75", str(int(number != 1))]
        rows.append([*head, "-nan(ind)", "0.2", *map(str, points.T.ravel()), *["1e9"] * 3 * 68])
    read = read_landmarks(text_file(tmp_path, *(separator.join(row) for row in rows)))
    assert read.sequence.scheme == "ibug68"
    assert read.assumed_fps is None
    np.testing.assert_array_equal(read.frame, [4, 5, 6])
    assert read.first_frame == 1
    np.testing.assert_array_equal(read.sequence.pts_s, [0, 0.04, 0.08])
    np.testing.assert_array_equal(read.sequence.observed_px[[0, 2]], landmarks[[0, 2]].astype(np.float32))
    assert np.isnan(read.sequence.observed_px[1]).all()  # no success
    assert np.unique(read.sequence.weight, axis=1).ravel().tolist() == [0.75, 0, 0.75]


def openface(*rows: str, points: int = 68) -> list[str]:
    names = [f"{axis}_{point}" for axis in "xy" for point in range(points)]
    return [f"frame,face_id,timestamp,confidence,success,{','.join(names)}", *(row + ",1" * 136 for row in rows)]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (openface("1,0,0,1,1", "1,1,0,1,1"), r"face.csv has 2 faces, with face_id 0, 1...: keep the rows of one"),
        (openface("0,0,0,1,1"), r"face.csv, line 2, frame: 0, but OpenFace counts frames from 1"),
        (openface("1,0,0,1,1", "x,0,1,1,1"), r"face.csv, line 3, frame: 'x' is no number"),
        (openface(points=67), r"face.csv, line 1: no column 'x_67', though it looks like a table of OpenFace"),
        (openface(), r"face.csv holds no frames"),
    ],
)
def test_a_mistake_in_a_table_of_openface_is_named(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_landmarks(text_file(tmp_path, *lines))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["frame,x0,y0", "0,1,2", "1,one,2"], r"face.csv, line 3, x0: 'one' is no number"),
        (["frame,x0,y0", "0,1,2,3"], r"face.csv, line 2: 4 cells, but the first line names 3"),
        (["frame,x0,y0", "0,1,inf"], r"face.csv, line 2: y of point 0 is not a finite float32"),
        (["frame,x0,y0", "0,1e99,1"], r"face.csv, line 2: x of point 0 is not a finite float32"),
        (["frame,x0,y0", "1,1,2", "1,1,2"], r"face.csv, line 3: frame 1 comes after 1; frames must increase"),
        (["frame,x0,y0", "1.5,1,2"], r"face.csv, line 2, frame: 1.5 is no whole number"),
        (["frame,x0,y0", ",1,2"], r"face.csv, line 2, frame: nan is no whole number"),
        (["frame,pts_s,x0,y0", "0,1,1,2", "1,1,1,2"], r"face.csv, line 3: pts_s 1.0 comes after 1.0; times must inc"),
        (["frame,pts_s,x0,y0", "0,,1,2"], r"face.csv, line 2: pts_s is nan, expected seconds"),
        (["frame,x0,y0,x2,y2", "0,1,2,3,4"], r"face.csv, line 1: 'x2' where x0,y0,x1,y1,... go on"),
        (["frame,x0,y0,x1", "0,1,2,3"], r"face.csv, line 1: 'x1' where x0,y0"),
        (["frame,x0,x0", "0,1,2"], r"face.csv, line 1: the column 'x0' is there twice"),
        (["frame;x0;y0", "0;1;2"], r"face.csv, line 1: cells are separated by ';', but must be by ','"),
        (["frame\tx0\ty0", "0\t1\t2"], r"face.csv, line 1: cells are separated by tabs"),
        (["frame,x1,y1", "0,1,2"], r"face.csv, line 1: 'x1' where x0,y0,x1,y1,... go on; points count from 0"),
        (["frame", "0"], r"face.csv, line 1: 'nothing' where x0"),
        (["time,x0,y0", "0,1,2"], r"face.csv, line 1: no column 'frame'; expected frame,x0"),
        (["frame,x0,y0"], r"face.csv holds no frames"),
        (["frame,point,x,y"], r"face.csv holds no frames"),
        (["frame,point,x", "0,0,1"], r"face.csv, line 1: no column 'y' beside 'point'"),
        (["frame,point,x,y,z", "0,0,1,2,3"], r"face.csv, line 1: unknown column 'z'"),
        (["frame,point,x,y", "0,0,1,2", "0,0,1,2"], r"face.csv, line 3: frame 0 point 0 stands on line 2 too"),
        (["frame,point,x,y", "0,-1,1,2"], r"face.csv, line 2, point: -1.0 is no whole number from 0 on"),
        (["frame,point,x,y", "0,9000000,1,2"], r"face.csv, line 2, point: 9000000 is above 9999"),
        (["frame,point,x,y,confidence", "0,0,1,2,7"], r"face.csv, line 2: confidence of point 0 is 7.0, expected 0 to"),
        (["frame,point,x,y,pts_s", "0,0,1,2,0", "0,1,1,2,1"], r"face.csv, line 3: pts_s 1.0 of frame 0 is 0.0 on"),
        (['frame,x0,y0', '0,"1,2'], r"face.csv, line 2: unexpected end of data"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_csv_is_named_with_its_line(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_landmarks(text_file(tmp_path, *lines), scheme="s")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"points": points()}, r"face.npz holds an array 'points'; known are: landmarks, confidence"),
        ({"fps": 30}, r"face.npz lacks the array 'landmarks'"),
        ({"landmarks": points()[0]}, r"landmarks has shape \(4, 2\), expected frames x points x 2"),
        ({"landmarks": points().astype(str)}, r"landmarks has type <U\d+, expected numbers"),
        ({"landmarks": points(), "confidence": np.ones((3, 5))}, r"confidence has shape \(3, 5\), expected \(3, 4\)"),
        ({"landmarks": points(), "confidence": np.full((3, 4), -1)}, r"frames\[0\]: confidence of point 0 is -1"),
        ({"landmarks": points(), "pts_s": [0, 1, 2], "fps": 30}, r"holds both 'pts_s' and 'fps'"),
        ({"landmarks": points(), "pts_s": [0, 2, 1]}, r"frames\[2\]: pts_s 1.0 comes after 2.0"),
        ({"landmarks": points(), "frame": [0.0, 1.0, 2.0]}, r"frame has type float64, expected whole numbers"),
        ({"landmarks": points(), "fps": -1}, r"fps is -1.0, expected a positive number"),
        ({"landmarks": points(), "scheme": ["a", "b"]}, r"scheme is <U1 of shape \(2,\), expected one text"),
        ({"landmarks": points(0)}, r"face.npz holds no frames"),
    ],
)
def test_a_mistake_in_an_npz_is_named(tmp_path: Path, arrays: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_landmarks(npz_file(tmp_path, **arrays), scheme="s" if "scheme" not in arrays else None)


class _Trap:
    """An object whose unpickling leaves a trace."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, (f"import pathlib; pathlib.Path({str(self.path)!r}).touch()",)


def test_a_pickle_in_an_npz_is_refused_and_not_run(tmp_path: Path) -> None:
    np.savez(tmp_path / "face.npz", landmarks=np.array([_Trap(tmp_path / "ran")], dtype=object))
    with pytest.raises(ValueError, match=r"face\.npz is no \.npz file of plain arrays: .* holds Python objects"):
        read_landmarks(tmp_path / "face.npz", scheme="s")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 broken", b"\x93NUMPY\x01\x00", b"text"])
def test_a_file_that_is_no_npz_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "face.npz").write_bytes(data)
    with pytest.raises(ValueError, match=r"face\.npz is no \.npz file of plain arrays"):
        read_landmarks(tmp_path / "face.npz", scheme="s")


def test_arguments_that_do_not_suit_the_file_are_named(tmp_path: Path) -> None:
    path = npz_file(tmp_path, landmarks=points(), fps=30, scheme="ibug68")
    with pytest.raises(ValueError, match=r"scheme='mediapipe68', but .*face.npz says scheme 'ibug68'"):
        read_landmarks(path, scheme="mediapipe68")
    with pytest.raises(ValueError, match=r"fps=25.0, but .*face.npz has its own fps; give one"):
        read_landmarks(path, fps=25.0)
    with pytest.raises(ValueError, match=r"fps=0\.0 must be positive and finite"):
        read_landmarks(path, fps=0.0)
    with pytest.raises(ValueError, match=r"names no landmark scheme: give it, such as --scheme ibug68 "):
        read_landmarks(npz_file(tmp_path, landmarks=points()))
    with pytest.raises(ValueError, match=r"read from .npz and .csv files, this is '.txt'"):
        read_landmarks(tmp_path / "face.txt", scheme="s")


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (1000, r"face\.npz: pts_s rises by 33 from frame to frame: milliseconds\? .* divide them by 1,000\. If "),
        (1000, r"If the frames do lie 33 s apart, leave the times out and give --fps 0\.030303 \(from Python, fps=\)$"),
        (1e6, r"rises by 33000 from frame to frame: microseconds\? .* divide them by 1,000,000\."),
        (1e9, r"nanoseconds\?"),
        (90000, r"rises by 2970 from frame to frame: ticks of 1/90000 s\?"),
        (1 / 60, r"minutes\? Times must be seconds: multiply them by 60\."),
        (1 / 0.033, r"rises by 1 from frame to frame: frame numbers\? .* give the rate instead, such as --fps 30\."),
        (20, r"rises by 0\.66 from frame to frame: are they seconds\?"),
    ],
)  # fmt: skip
def test_times_that_can_hardly_be_seconds_are_refused_and_what_they_look_like_is_said(
    tmp_path: Path, factor: float, message: str
) -> None:
    frame = np.arange(7, 10)
    pts_s = frame if factor == 1 / 0.033 else frame * 0.033 * factor
    with pytest.raises(ValueError, match=message):
        read_landmarks(npz_file(tmp_path, landmarks=points(), pts_s=pts_s, frame=frame), scheme="s")


@pytest.mark.parametrize(
    ("frame", "pts_s"),
    [
        ([0, 1, 2], [0, 0.5, 1]), ([0, 1, 2], [0, 0.001, 0.002]), ([0, 100, 200], [0, 4, 8]),
        ([0, 1, 3000], [0, 0.04, 120]), ([0], [86400]),
    ],
)  # fmt: skip
def test_slow_and_fast_videos_are_taken_and_single_frames_out_of_long_ones(
    tmp_path: Path, frame: list[int], pts_s: list[float]
) -> None:
    path = npz_file(tmp_path, landmarks=points(len(frame)), pts_s=pts_s, frame=np.array(frame))
    assert read_landmarks(path, scheme="s").sequence.pts_s.tolist() == pts_s


def test_a_time_lapse_is_taken_by_its_rate(tmp_path: Path) -> None:
    path = npz_file(tmp_path, landmarks=points())
    assert read_landmarks(path, scheme="s", fps=0.025).sequence.pts_s.tolist() == [0, 40, 80]


def test_a_csv_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "face.csv").write_bytes(b"frame,x0,y0\n\xff\xfe")
    with pytest.raises(ValueError, match=r"face\.csv is no UTF-8 text"):
        read_landmarks(tmp_path / "face.csv", scheme="s")


@pytest.mark.parametrize("scheme", ["mediapipe68", "mediapipe_dense"])
def test_the_points_that_are_taken_of_mediapipes_mesh_are_those_of_the_detector(scheme: str) -> None:
    np.testing.assert_array_equal(mesh_ids(scheme), points_of(scheme))


@pytest.mark.parametrize("count", MESH_POINTS)
@pytest.mark.parametrize("form", ["npz", "wide", "tidy"])
def test_of_mediapipes_whole_mesh_the_schemes_points_are_fitted_and_its_depth_is_left_out(
    tmp_path: Path, count: int, form: str
) -> None:
    mesh = np.random.default_rng(count).uniform(0, 400, (2, count, 3)).astype(np.float32)
    mesh[1, 33] = np.nan  # the outer corner of the right eye, point 36 of the 68
    if form == "npz":
        path = npz_file(tmp_path, landmarks=mesh, confidence=np.linspace(0, 1, 2 * count).reshape(2, count), fps=25)
    elif form == "wide":
        names = [f"{axis}{point}" for point in range(count) for axis in "xyz"]
        rows = [[frame, *("" if math.isnan(v) else repr(v) for v in face.ravel().tolist())]
                for frame, face in enumerate(mesh)]  # fmt: skip
        path = text_file(tmp_path, ",".join(["frame", *names]), *(",".join(map(str, row)) for row in rows))
    else:
        rows = [[frame, point, *("" if math.isnan(v) else repr(v) for v in place.tolist())]
                for frame, face in enumerate(mesh) for point, place in enumerate(face)]  # fmt: skip
        path = text_file(tmp_path, "frame,point,x,y,z", *(",".join(map(str, row)) for row in rows))
    for scheme in (None, "mediapipe68", "mediapipe_dense"):
        sequence = read_landmarks(path, scheme=scheme).sequence
        ids = points_of(scheme or "mediapipe68")
        assert sequence.scheme == (scheme or "mediapipe68")
        np.testing.assert_array_equal(sequence.observed_px, mesh[:, ids, :2])
        assert sequence.weight[1, 36] == 0
        if form == "npz":
            confidence = np.linspace(0, 1, 2 * count).reshape(2, count)[0, ids]
            np.testing.assert_allclose(sequence.weight[0], confidence, atol=1e-6)


def test_a_depth_belongs_to_the_mesh_alone(tmp_path: Path) -> None:
    path = text_file(tmp_path, "frame,point,x,y,z", *(f"0,{point},1,2,3" for point in range(68)))
    with pytest.raises(ValueError, match="column 'z' with 68 points; only MediaPipe's mesh, of 468 or 478"):
        read_landmarks(path, scheme="ibug68")
    with pytest.raises(ValueError, match=r"shape \(2, 68, 3\), expected frames x points x 2"):
        read_landmarks(npz_file(tmp_path, landmarks=np.zeros((2, 68, 3))), scheme="ibug68")
    with pytest.raises(ValueError, match=r"'z0' where x0,y0,x1,y1,\.\.\. go on"):
        read_landmarks(text_file(tmp_path, "frame,x0,y0,z0", "0,1,2,3"), scheme="ibug68")
