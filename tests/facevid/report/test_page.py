"""The report is one closed file that shows what the dataset holds, whatever strangers wrote into it."""

import base64
import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest

from facevid import storage
from facevid.dataset import Dataset, open_dataset
from facevid.description import DatasetDescription, DatasetError, FunnelStep
from facevid.report.choice import Choice
from facevid.report.page import write_report
from facevid.report.pictures import moments
from facevid.schema import failures_schema, frames_schema, tracks_schema
from facevid.shards import ShardInfo, write_shard
from fitting.face_model import ArkitMap, FaceModel, LandmarkEmbedding
from pipeline.faces.probe import ffmpeg_program

HOSTILE = '<script>alert("x")</script><img src=http://evil.example/a onerror=alert(1)>'
POINTS, FRAMES, N_EXPRESSION, N_IDENTITY = 68, 12, 5, 3
SCALE, CENTRE = 0.8, (80.0, 60.0)
OPEN_MOUTH, CLOSED_EYES = 7, 9


@pytest.fixture(scope="module")
def model() -> FaceModel:
    """A flat disc, 100 mm across, with 68 landmarks on it."""
    rng = np.random.default_rng(0)
    angle = np.linspace(0, 2 * np.pi, POINTS, endpoint=False)
    rim = np.stack([50 * np.cos(angle), 50 * np.sin(angle), np.zeros(POINTS)], axis=1)
    vertices = np.concatenate([[[0, 0, 10.0]], rim]).astype(np.float32)
    around = np.arange(POINTS)
    triangles = np.stack([np.zeros(POINTS, int), 1 + around, 1 + (around + 1) % POINTS], axis=1).astype(np.int32)
    return FaceModel(
        name="disc",
        mean_mm=vertices,
        identity_basis_mm=rng.normal(size=(N_IDENTITY, POINTS + 1, 3)).astype(np.float32),
        expression_basis_mm=rng.normal(size=(N_EXPRESSION, POINTS + 1, 3)).astype(np.float32),
        triangles=triangles,
        landmarks={
            "mediapipe68": LandmarkEmbedding(
                vertex_ids=np.repeat((1 + around)[:, None], 3, axis=1).astype(np.int32),
                weights=np.tile(np.array([1, 0, 0], np.float32), (POINTS, 1)),
            )
        },
        mirror_vertex=None,
        neutral_expression=np.zeros(N_EXPRESSION, np.float32),
        arkit=ArkitMap(
            names=("jawOpen", "mouthSmileLeft", "mouthSmileRight"),
            offset=np.full(3, 0.2, np.float32),
            matrix=np.eye(3, N_EXPRESSION, dtype=np.float32) * 0.1,
        ),
        licence="CC0-1.0",
        source="made in a test",
    )


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 frames of 160x120; frame k is grey of 20 k, so that a tile tells which frame it is of."""
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    grey = b"".join(np.full((120, 160), 20 * k, np.uint8).tobytes() for k in range(FRAMES))
    subprocess.run(
        [ffmpeg_program(), "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "gray", "-s", "160x120", "-r", "10",
         "-i", "pipe:0", "-pix_fmt", "yuv420p", "-crf", "5", str(path)],
        input=grey, check=True,
    )
    return path


def landmarks(model: FaceModel) -> np.ndarray:
    face = model.mean_mm[1:, :2] * np.array([SCALE, -SCALE]) + CENTRE
    frames = np.tile(face[None], (FRAMES, 1, 1)).astype(np.float32)
    eye = np.array([[0, 0], [1, -1], [2, -1], [3, 0], [2, 1], [1, 1]], np.float32)
    frames[:, 36:42], frames[:, 42:48] = eye * 4 + (60, 50), eye * 4 + (90, 50)
    frames[:, 62], frames[:, 66] = (80, 80), (80, 82)
    frames[OPEN_MOUTH, 66] = (80, 100)
    frames[CLOSED_EYES, 36:42] = eye * (4, 0.1) + (60, 50)
    frames[CLOSED_EYES, 42:48] = eye * (4, 0.1) + (90, 50)
    return frames


def make_dataset(root: Path, model: FaceModel, video: Path, **track: Any) -> Dataset:
    points = landmarks(model).reshape(FRAMES, -1)
    frame = {
        "video_id": "v1", "track": 0, "box_px": [40, 20, 120, 100], "landmark_confidence": 0.9,
        "scale_px_per_mm": SCALE, "rotation_wxyz": [0, 1, 0, 0], "translation_px": list(CENTRE),
        "expression": [0.0] * N_EXPRESSION, "expression_sigma": [0.5] * N_EXPRESSION, "reprojection_error": 0.012,
        "face_size_px": 40.0, "sharpness": 1.0, "brightness": 0.5, "yaw_deg": 0.0, "pitch_deg": 0.0, "roll_deg": 0.0,
        "in_frame": 1.0, "occlusion": 0.1, "motion_per_s": 0.1, "jitter": 0.001, "kept": True,
    }
    rows = [
        frame | {"frame": k, "pts_s": k / 10, "landmarks_px": points[k].tolist(), "smoothed_px": points[k].tolist()}
        for k in range(FRAMES)
    ]
    row = {
        "video_id": "v1", "track": 0, "split": "train", "subject_id": None, "frames": FRAMES, "first_frame": 0,
        "last_frame": FRAMES - 1, "start_s": 0.0, "end_s": 1.1, "identity": [0.0] * N_IDENTITY, "identity_norm": 0.0,
        "fit_status": "converged", "fit_iterations": 9, "reprojection_error": 0.012, "holdout_error": 0.02,
        "jitter": 0.001, "appearance_similarity": 0.9, "appearance_jump": 0.1,
        "kept": True, "filtered_reason": None, "url": str(video), "title": None, "uploader": None,
        "licence": "CC0-1.0", "attribution": None, "upload_date": None, "format_id": None,
        "fetched_at": None, "source_sha256": storage.sha256(video),
        "width_px": 160, "height_px": 120, "fps": 10.0, "codec": "h264", "landmark_scheme": "mediapipe68",
        "detector": "mediapipe", "detector_sha256": "d" * 64, "face_model": "disc", "face_model_sha256": "f" * 64,
    } | track
    failures = [
        {"video_id": name, "track": None, "url": "https://x.example", "stage": "fetch", "code": code,
         "retryable": False, "attempt": 1, "message": message}
        for name, code, message in (("a", "not_found", HOSTILE), ("b", "not_found", "404"), ("c", "corrupt", "cut off"))
    ]
    root.mkdir()
    sha256 = model.save(root / "face_model.npz")
    tables = {
        "frames": pa.Table.from_pylist(rows, frames_schema(points=POINTS, n_expression=N_EXPRESSION)),
        "tracks": pa.Table.from_pylist([row], tracks_schema(n_identity=N_IDENTITY)),
        "failures": pa.Table.from_pylist(failures, failures_schema()),
    }
    shards = tuple(write_shard(str(root), name, 0, 1, table) for name, table in tables.items())
    write_description(root, sha256, shards)
    return open_dataset(root)


def write_description(root: Path, face_model_sha256: str, shards: tuple[ShardInfo, ...]) -> None:
    description = DatasetDescription(
        program_version="0.0.test", config={}, config_hash="c" * 64, face_model="disc",
        face_model_sha256=face_model_sha256, face_model_licence="CC0-1.0",
        n_identity=N_IDENTITY, n_expression=N_EXPRESSION, detector="mediapipe",
        detector_sha256="d" * 64, landmark_scheme="mediapipe68", points=POINTS,
        funnel=(
            FunnelStep(step="manifest", unit="rows", entered=4, ok=4, failed=0, filtered=0),
            FunnelStep(step="fetch", unit="videos", entered=4, ok=1, failed=3, filtered=0),
            FunnelStep(step="frames", unit="frames", entered=12, ok=11, failed=0, filtered=1),
        ),
        shards=shards,
    )
    (root / "facevid.json").write_text(description.to_json(), encoding="utf-8")


def make_empty_dataset(root: Path, model: FaceModel) -> None:
    """A dataset of which nothing came."""
    root.mkdir()
    write_description(root, model.save(root / "face_model.npz"), ())


def page_of(root: Path, **options: Any) -> str:
    defaults: dict[str, Any] = {"store": None, "report": lambda _: None}
    return write_report(root, root / "report.html", **defaults | options).read_text("utf-8")


def pictures(page: str) -> list[np.ndarray]:
    found = re.findall(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)", page)
    return [cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR) for data in found]


def test_the_page_holds_numbers_funnel_failures_and_pictures(tmp_path: Path, model: FaceModel, video: Path) -> None:
    make_dataset(tmp_path / "data", model, video)
    page = page_of(tmp_path / "data")
    assert re.search(r"<td>fetch</td><td>videos</td>(<td class=\"n\">[^<]*</td>){4}", page)
    assert '<td class="n">4</td><td class="n">1</td><td class="n">3</td><td class="n">0</td>' in page
    assert re.search(r"<td>not_found</td><td>fetch</td><td class=\"n\">2</td>", page)
    assert "onerror=alert(1)&gt;<br>b: 404</td>" in page
    assert "1.20 %" in page  # re-projection
    assert "2.00 %" in page  # hold-out
    assert "mouth most open" in page
    assert "eyes most closed" in page
    assert "what anybody feels" in page
    assert page.count("<svg") == 2
    # Tile pairs, in order of time: frame k is grey of 20 k, seen at the edge, which neither dots nor mesh cover.
    shown = [round(float(picture[96:104, :8].mean()) / 20) for picture in pictures(page)]
    assert shown[0::2] == shown[1::2] == sorted(shown[0::2])
    assert {OPEN_MOUTH, CLOSED_EYES} <= set(shown)


def test_the_mesh_is_painted_where_the_face_is(tmp_path: Path, model: FaceModel, video: Path) -> None:
    make_dataset(tmp_path / "data", model, video)
    with_mesh = pictures(page_of(tmp_path / "data"))[1]
    # The disc is 80 px across in the frame, and the tile 1.75 times that, so it fills 57 % of the tile's width.
    painted = np.ptp(with_mesh.astype(int), axis=2) > 12
    columns = np.flatnonzero(painted.any(axis=0))
    assert columns[0] == pytest.approx(200 * (0.5 - 0.5 / 1.75), abs=4)
    assert columns[-1] == pytest.approx(200 * (0.5 + 0.5 / 1.75), abs=4)


def test_what_strangers_wrote_stays_text(tmp_path: Path, model: FaceModel, video: Path) -> None:
    make_dataset(
        tmp_path / "data", model, video, title=HOSTILE, uploader=HOSTILE, licence=HOSTILE, codec=HOSTILE,
        filtered_reason=HOSTILE, kept=False, url=f"javascript:{HOSTILE}",
    )
    page = page_of(tmp_path / "data")
    assert "<script" not in page
    assert "onerror=alert" in page  # it is shown ...
    assert "<img src=http" not in page  # ... but as text
    assert "&lt;script&gt;alert(&#34;x&#34;)" in page
    assert "href" not in page.replace("xlink:href=\"#", "").replace("xlink:href", "")
    assert "Content-Security-Policy" in page


def test_the_page_asks_for_nothing_from_outside(tmp_path: Path, model: FaceModel, video: Path) -> None:
    make_dataset(tmp_path / "data", model, video)
    page = page_of(tmp_path / "data")
    assert not re.search(r"<(link|script|iframe|object|embed)\b", page)
    assert all(source.startswith("data:image/jpeg;base64,") for source in re.findall(r'src="([^"]*)"', page))


def test_a_video_that_is_gone_is_said_and_not_shown(tmp_path: Path, model: FaceModel, video: Path) -> None:
    make_dataset(tmp_path / "data", model, video, url=str(tmp_path / "gone.mp4"))
    page = page_of(tmp_path / "data")
    assert "No pictures: the video is no longer in the store." in page
    assert not pictures(page)
    assert page.count("<svg") == 2


def test_another_file_under_the_old_name_is_not_shown(tmp_path: Path, model: FaceModel, video: Path) -> None:
    make_dataset(tmp_path / "data", model, video, source_sha256="0" * 64)
    assert "No pictures: the video is no longer in the store." in page_of(tmp_path / "data")


def test_the_store_is_looked_at_first_and_a_damaged_file_is_said(tmp_path: Path, model: FaceModel, video: Path) -> None:
    sha256 = storage.sha256(video)
    make_dataset(tmp_path / "data", model, video, url="https://x.example/v", fetched_at="2026-01-01T00:00:00Z")
    stored = tmp_path / "store" / "videos" / sha256[:2] / sha256
    stored.parent.mkdir(parents=True)
    stored.write_bytes(video.read_bytes())
    assert len(pictures(page_of(tmp_path / "data", store=tmp_path / "store"))) >= 12
    stored.write_bytes(b"no video")
    assert "the video cannot be decoded any more" in page_of(tmp_path / "data", store=tmp_path / "store")


def test_how_the_build_went_is_shown_where_it_is_known(tmp_path: Path, model: FaceModel, video: Path) -> None:
    make_dataset(tmp_path / "data", model, video)
    assert "last build" not in page_of(tmp_path / "data")
    run = {"wall_s": 61.4, "workers": 2, "machine": {"cpus": 8}, "faces_frames_per_s": None}
    (tmp_path / "data" / "run.json").write_text(json.dumps(run))
    page = page_of(tmp_path / "data")
    assert "<dt>last build</dt><dd>61 s</dd>" in page
    assert "<dt>processor cores</dt><dd>8</dd>" in page
    assert "faces stage" not in page
    (tmp_path / "data" / "run.json").write_text(json.dumps(run | {"faces_ms_per_frame": {"decode": 1.25, "eyes": 0.5}}))
    line = '<div class="wide"><dt>faces stage, ms per frame</dt><dd>decode 1.25, eyes 0.50</dd></div>'
    assert line in page_of(tmp_path / "data")


def test_the_page_says_which_videos_it_shows(tmp_path: Path, model: FaceModel, video: Path) -> None:
    make_dataset(tmp_path / "data", model, video)
    assert "are shown" not in page_of(tmp_path / "data")
    worst = page_of(tmp_path / "data", choice=Choice(worst=3))
    assert "Of 1 videos with a kept track, the 1 whose hold-out error is the largest are shown" in worst
    assert "<h3>v1" in worst


def test_the_same_dataset_gives_the_same_page(tmp_path: Path, model: FaceModel, video: Path) -> None:
    make_dataset(tmp_path / "data", model, video)
    assert page_of(tmp_path / "data") == page_of(tmp_path / "data")


def test_no_dataset_is_no_report(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is no FaceVid dataset"):
        page_of(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_a_page_that_cannot_be_written_is_told_before_the_work(tmp_path: Path, model: FaceModel, video: Path) -> None:
    make_dataset(tmp_path / "data", model, video)
    said: list[str] = []
    with pytest.raises(IsADirectoryError, match=r"data is a folder; name a file"):
        write_report(tmp_path / "data", tmp_path / "data", store=None, report=said.append)
    assert said == []


def test_a_track_of_one_frame_has_one_moment(tmp_path: Path, model: FaceModel, video: Path) -> None:
    (track,) = make_dataset(tmp_path / "data", model, video).tracks()
    short = replace(
        track, frame=track.frame[:1], pts_s=track.pts_s[:1], expression=track.expression[:1],
        expression_sigma=track.expression_sigma[:1], rotation_wxyz=track.rotation_wxyz[:1],
        scale_px_per_mm=track.scale_px_per_mm[:1], translation_px=track.translation_px[:1],
        landmarks_px=track.landmarks_px[:1], smoothed_px=track.smoothed_px[:1],
        reprojection_error=track.reprojection_error[:1], landmark_confidence=track.landmark_confidence[:1],
    )
    (moment,) = moments(short)
    assert moment.index == 0
    assert moment.why == "mouth most open, eyes most closed"


SCORES = {"precision": 1.0, "recall": 0.5, "f1": 0.667, "n": 2}
SPREAD = {f"{name}_fold_{kind}": 0.75 if kind == "mean" else 0.1
          for name in ("accuracy", "balanced_accuracy", "macro_f1") for kind in ("mean", "sd")}
CLASSIFIER = SPREAD | {
    "images_without_face": 0, "samples": 4, "folds": 2, "expected_calibration_error": 0.05, "classes": ["fear", "<b>"],
    "confusion_matrix": [[1, 1], [0, 2]], "per_class": {"fear": SCORES, "<b>": SCORES},
}
LEARNED = {
    "vertex_error_mm": 0.5, "vertex_error_mean_expression_mm": 1.0, "mean_pearson": None, "crops": 3, "videos": 1,
    "remark": "",
}
NETWORK = {
    "steps": 9, "shipped_steps": 9, "train_loss_mean_expression_mm2": 3.0,
    "final": {"train": LEARNED, "val": None, "test": None},
    "history": [{"epoch": 0, "steps": 9, "train_loss_mm2": 2.5, "val": LEARNED}],
}


@pytest.mark.parametrize(
    ("config", "metrics", "wanted"),
    [
        (
            {"format": "facevid-expression", "trained_on": "prototypes"},
            CLASSIFIER,
            ("no person&#39;s face was used for the labels", "0.750 ± 0.100", "<th>fear</th>", "&lt;b&gt;", ">50 %<"),
        ),
        (
            {"format": "facevid-deepexp3d", "preset": "fast", "training": {"batch_size": 16}},
            NETWORK,
            ("0.500 mm; baseline", "1.000 mm; correlation of the coefficients -", "No val split", "held-out videos"),
        ),
        (  # the axis reaches up to the error of the weights that the training began with
            {"format": "facevid-deepexp3d", "preset": "fast", "training": {"batch_size": 16}},
            NETWORK | {"shipped_steps": 0, "before": LEARNED | {"vertex_error_mm": 40.0}},
            (">40</text>",),
        ),
        ({"format": "other"}, {}, ("Unknown kind of model: other.",)),
        ({"format": "facevid-deepexp3d"}, {}, ("The metrics cannot be read: KeyError",)),
        ([], {}, ("The metrics cannot be read: TypeError",)),
    ],
)
def test_models_are_shown_as_far_as_their_folders_tell(
    tmp_path: Path, model: FaceModel, config: object, metrics: object, wanted: tuple[str, ...]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    shown = shown_models(tmp_path, model)
    for text in wanted:
        assert text in shown


@pytest.mark.parametrize(("steps", "toy"), [(9, True), (3_000, True), (20_000, False)])
def test_a_network_that_was_trained_for_seconds_is_called_a_toy(
    tmp_path: Path, model: FaceModel, steps: int, toy: bool
) -> None:
    config = {"format": "facevid-deepexp3d", "preset": "fast", "training": {"batch_size": 16}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "metrics.json").write_text(json.dumps(NETWORK | {"steps": steps}))
    shown = shown_models(tmp_path, model)
    assert (f"A toy: it saw {16 * steps:,} crops in {steps} steps" in shown) == toy
    assert "0.500 mm; baseline" in shown


def shown_models(folder: Path, model: FaceModel) -> str:
    """The part of the page that is about models, of a dataset without a single video."""
    make_empty_dataset(folder / "data", model)
    page = page_of(folder / "data", models=[folder])
    assert "No video has a fitted face track." in page
    return page
