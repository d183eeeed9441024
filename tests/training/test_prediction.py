"""Prediction on rendered faces: a row for each frame, known coefficients, everything drawn where the face is."""

import csv
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from jaxtyping import Float32, UInt8
from safetensors.torch import save_file

from facevid import assets
from fitting.arkit import arkit_weights
from fitting.face_model import FaceModel, load_face_model
from fitting.paint import paint_of
from fitting.render import look_from, project_head, render_mesh
from pipeline.faces.landmarks import FaceLandmarks, MediapipeDetector
from pipeline.faces.options import FacesOptions
from pipeline.faces.picture import Picture
from pipeline.faces.probe import ffmpeg_program, probe
from pipeline.faces.regions import FaceRegion
from pipeline.faces.register import register
from pipeline.faces.tracks import track_faces
from pipeline.faces.video import open_video
from training.drawings import RECORD, DrawingFolder
from training.export import _export_onnx
from training.expression import train_expression
from training.expression_options import CLASSES, ExpressionOptions
from training.face_reader import FaceReader
from training.image_files import read_image
from training.model_config import CONFIG_FILE, ONNX_FILE, WEIGHTS_FILE, ModelConfig
from training.networks import build_network
from training.predict_options import PredictOptions
from training.prediction import PredictionResult, predict
from training.prediction_progress import PredictionProgress
from training.prototypes import sample_prototypes
from training.seen_frames import batched, seen_frames
from training.video_writer import VideoWriteError, video_writer

BEFORE, FACES = 3, 5
WIDTH, HEIGHT = 320, 240


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Two models, a clip and a picture.

    Attributes:
        deepexp3d: A network without weights in its head: it answers the same happy face to every crop.
        expression: A classifier trained on prototypes.
        happy: What the network answers.
        clip: Three empty frames, then five with a face.
        picture: The face alone.
        empty: A picture without a face.
        networks: Landmark networks.
        model: The default face model.
    """

    deepexp3d: Path
    expression: Path
    happy: np.ndarray
    clip: Path
    picture: Path
    empty: Path
    networks: Path
    model: FaceModel


def face_picture(
    model: FaceModel, colour: Float32[np.ndarray, "vertices 3"], *, shift_px: float = 0.0,
    expression: np.ndarray | None = None,
) -> UInt8[np.ndarray, "height width 3"]:
    shown = model.neutral_expression if expression is None else expression.astype(np.float32)
    vertices = project_head(
        model.vertices_mm(np.zeros(model.n_identity, np.float32), shown),
        0.75, look_from(0.0), (160.0 + shift_px, 125.0),
    )
    background = np.full((HEIGHT, WIDTH, 3), 70, np.uint8)
    return render_mesh(vertices, model.triangles, image=background, colour=colour)


def write_clip(path: Path, frames: list[np.ndarray]) -> None:
    command = [ffmpeg_program(), "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}",
               "-r", "10", "-i", "pipe:0", "-pix_fmt", "yuv420p", "-crf", "10", "-g", "1", str(path)]
    subprocess.run(command, input=b"".join(frame.tobytes() for frame in frames), check=True)


def write_network(folder: Path, model: FaceModel, *, answer: np.ndarray | None) -> None:
    network = build_network("fast", model.n_expression)
    if answer is not None:
        with torch.no_grad():
            network.head.weight.zero_()
            network.head.bias.copy_(torch.from_numpy(answer))
    folder.mkdir()
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, folder / WEIGHTS_FILE)
    config = ModelConfig(
        preset="fast", n_expression=model.n_expression, face_model=model.name, face_model_sha256=model.sha256,
        face_model_licence=model.licence, landmark_scheme="mediapipe68", datasets=(), training={},
        versions={},
    )
    _export_onnx(network.eval(), folder / ONNX_FILE)
    (folder / CONFIG_FILE).write_text(json.dumps(config.to_json()))


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Setting:
    try:
        networks = assets.fetch_landmark_networks()
    except assets.AssetError as error:
        pytest.skip(f"landmark networks: {error}")
    folder = tmp_path_factory.mktemp("setting")
    model = load_face_model()
    samples, labels = sample_prototypes(model, 50, 0)
    happy = samples[labels == CLASSES.index("happiness")].mean(axis=0)
    write_network(folder / "deepexp3d", model, answer=happy)
    train_expression(
        folder / "expression", model_path=None, prototypes=True, labels=None, deepexp3d=None,
        options=ExpressionOptions(per_class=50, folds=2), report=lambda _: None,
    )
    empty = np.full((HEIGHT, WIDTH, 3), 70, np.uint8)
    colour = paint_of(model).vertex_colour
    faces = [face_picture(model, colour, shift_px=2.0 * k) for k in range(FACES)]
    write_clip(folder / "clip.mp4", [empty] * BEFORE + faces)
    for name, picture in (("face.png", faces[0]), ("empty.png", empty)):
        cv2.imwrite(str(folder / name), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    return Setting(
        deepexp3d=folder / "deepexp3d", expression=folder / "expression", happy=happy, clip=folder / "clip.mp4",
        picture=folder / "face.png", empty=folder / "empty.png", networks=networks, model=model,
    )


def run(setting: Setting, source: Path, out: Path, **changes: Any) -> PredictionResult:
    arguments: dict[str, Any] = {
        "deepexp3d": setting.deepexp3d, "expression": setting.expression, "networks": setting.networks,
        "face_model": None, "arkit": None, "options": PredictOptions(batch_size=3), "report": lambda _: None,
    }
    return predict(source, out=out, **arguments | changes)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def frames_of(path: Path) -> Iterator[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    while (frame := capture.read())[0]:
        yield frame[1]


def test_a_video_gives_a_row_per_frame_and_the_class_of_its_coefficients(setting: Setting, tmp_path: Path) -> None:
    result = run(setting, setting.clip, tmp_path / "clip.csv")
    rows = rows_of(result.table)
    assert [int(row["frame"]) for row in rows] == list(range(BEFORE + FACES))
    assert [float(row["pts_s"]) for row in rows] == pytest.approx([k / 10 for k in range(BEFORE + FACES)], abs=1e-3)
    assert (result.frames, result.faces, result.damage) == (BEFORE + FACES, FACES, "")
    for row in rows[:BEFORE]:
        assert {row["face"], row["box_x0_px"], row["e0"], row["p_happiness"], row["expression"]} == {""}
    for row in rows[BEFORE:]:
        assert float(row["face"]) > 0.5
        assert [float(row[f"e{k}"]) for k in range(28)] == pytest.approx(setting.happy.tolist(), abs=1e-4)
        assert row["expression"] == "happiness"
        assert sum(float(row[f"p_{name}"]) for name in CLASSES) == pytest.approx(1, abs=1e-4)
        assert float(row["p_happiness"]) > 0.9
        assert 40 < float(row["box_x0_px"]) < 160 < float(row["box_x1_px"]) < 280
    assert {row["source"] for row in rows} == {"clip.mp4"}


def test_the_drawn_video_shows_the_mesh_on_the_face_and_alone_in_a_corner(setting: Setting, tmp_path: Path) -> None:
    result = run(setting, setting.clip, tmp_path / "clip.csv")
    assert result.drawn == tmp_path / "clip-drawn.mp4"
    drawn, plain = list(frames_of(result.drawn)), list(frames_of(setting.clip))
    assert len(drawn) == len(plain) == BEFORE + FACES
    change = [np.abs(a.astype(int) - b).max(axis=2) for a, b in zip(drawn, plain, strict=True)]
    below_caption = slice(40, HEIGHT - HEIGHT // 3)
    assert max(int((one[40:] > 40).sum()) for one in change[:BEFORE]) == 0
    for one in change[BEFORE:]:
        moved = one[below_caption] > 40
        assert moved[:, 100:240].sum() > 500
        assert moved[:, :60].sum() + moved[:, 270:].sum() == 0
        assert (one[HEIGHT - 75 :, WIDTH - 75 :] > 30).mean() > 0.5  # the mesh alone, in its corner


def test_the_batch_size_changes_no_row(setting: Setting, tmp_path: Path) -> None:
    write_network(tmp_path / "random", setting.model, answer=None)
    tables = []
    for size in (1, 64):
        options = PredictOptions(draw=False, batch_size=size)
        result = run(setting, setting.clip, tmp_path / f"{size}.csv", deepexp3d=tmp_path / "random", options=options)
        assert result.drawn is None
        tables.append(rows_of(result.table))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.csv", "64.csv", "random"]
    for one, many in zip(*tables, strict=True):
        assert (one["frame"], one["face"], one["expression"]) == (many["frame"], many["face"], many["expression"])
        # Sums of floats come in another order in a larger batch, so coefficients agree to rounding only.
        for k in range(28):
            assert float(one[f"e{k}"] or 0) == pytest.approx(float(many[f"e{k}"] or 0), abs=2e-3)


def test_max_frames_ends_a_video_early(setting: Setting, tmp_path: Path) -> None:
    result = run(setting, setting.clip, tmp_path / "few.csv", options=PredictOptions(draw=False, max_frames=4))
    assert (result.frames, result.faces) == (4, 1)


def test_a_folder_gives_a_row_and_a_drawing_per_image_and_names_what_is_none(setting: Setting, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, source in (("b.png", setting.picture), ("a.png", setting.empty), ("c.png", setting.picture)):
        shutil.copy(source, folder / name)
    (folder / "half.png").write_bytes(setting.picture.read_bytes()[:60])
    (folder / "notes.txt").write_text("no image")
    lines: list[str] = []
    result = run(setting, folder, tmp_path / "table.csv", report=lines.append)
    rows = rows_of(result.table)
    assert [(row["source"], bool(row["e0"])) for row in rows] == [("a.png", False), ("b.png", True), ("c.png", True)]
    assert (result.frames, result.faces) == (3, 2)
    assert [path.name for path in result.left_out] == ["half.png", "notes.txt"]
    assert any("left out 2 of 5 files that are no images, or damaged, such as half.png" in line for line in lines)
    assert result.drawn == tmp_path / "table-drawn"
    assert sorted(path.name for path in result.drawn.iterdir()) == [
        RECORD, "a.png.png", "b.png.png", "c.png.png"
    ]

    alone = run(setting, setting.picture, tmp_path / "alone.csv")
    assert [float(row["e0"]) for row in rows_of(alone.table)] == pytest.approx([float(rows[1]["e0"])], abs=1e-5)


def test_a_folder_without_an_image_is_refused(setting: Setting, tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    shutil.copy(setting.clip, tmp_path / "clips")
    with pytest.raises(ValueError, match="clips holds no image; of videos, give one at a time"):
        run(setting, tmp_path / "clips", tmp_path / "table.csv")
    assert not (tmp_path / "table.csv").exists()


def test_of_what_is_no_image_in_a_folder_nothing_is_held(
    setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos").mkdir()
    for source in (setting.clip, setting.empty):
        shutil.copy(source, tmp_path / "photos")
    read_bytes, held = Path.read_bytes, []

    def noted(path: Path) -> bytes:
        held.append(path.name)
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", noted)
    result = run(setting, tmp_path / "photos", tmp_path / "table.csv")
    assert [path.name for path in result.left_out] == ["clip.mp4"]
    assert "empty.png" in held
    assert "clip.mp4" not in held


def test_a_folder_of_damaged_images_alone_is_refused_as_one_of_them_is(setting: Setting, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "photos" / name).write_bytes(setting.picture.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"none of the images in the folder .*photos can be read, such as a\.png"):
        run(setting, tmp_path / "photos", tmp_path / "table.csv")
    with pytest.raises(ValueError, match=r"a\.png is no image"):
        run(setting, tmp_path / "photos" / "a.png", tmp_path / "table.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_a_folder_predicted_again_replaces_its_own_drawings(setting: Setting, tmp_path: Path) -> None:
    photos, drawn = tmp_path / "photos", tmp_path / "table-drawn"
    photos.mkdir()
    for name in ("a.png", "b.png"):
        shutil.copy(setting.empty, photos / name)
    run(setting, photos, tmp_path / "table.csv")
    (photos / "b.png").unlink()
    shutil.copy(setting.picture, photos / "a.png")
    run(setting, photos, tmp_path / "table.csv")
    assert [row["source"] for row in rows_of(tmp_path / "table.csv")] == ["a.png"]
    assert sorted(path.name for path in drawn.iterdir()) == [RECORD, "a.png.png"]
    assert (read_image(drawn / "a.png.png") != read_image(setting.empty)).any()


def test_drawings_of_a_folder_do_not_mix_with_what_is_there(setting: Setting, tmp_path: Path) -> None:
    photos, drawn = tmp_path / "photos", tmp_path / "table-drawn"
    photos.mkdir()
    shutil.copy(setting.empty, photos / "a.png")
    drawn.write_text("mine")
    no_models = {"deepexp3d": tmp_path / "none"}  # it is refused before they are looked at
    with pytest.raises(ValueError, match=r"table-drawn, which is no folder; move it away, .* --no-draw"):
        run(setting, photos, tmp_path / "table.csv", **no_models)
    assert drawn.read_text() == "mine"
    drawn.unlink()
    run(setting, photos, tmp_path / "table.csv")
    (drawn / "mine").mkdir()
    with pytest.raises(ValueError, match=r"table-drawn, which holds what no prediction drew, such as mine; move"):
        run(setting, photos, tmp_path / "table.csv", **no_models)
    assert (drawn / "a.png.png").exists()
    run(setting, photos, tmp_path / "table.csv", options=PredictOptions(draw=False))
    with pytest.raises(ValueError, match="would overwrite the source"):  # nobody is told to move it
        run(setting, drawn, tmp_path / "table.csv", **no_models)


def test_of_a_record_only_names_inside_the_folder_are_removed(tmp_path: Path) -> None:
    drawings = DrawingFolder(tmp_path / "drawn")
    drawings.add("a.jpg", np.zeros((2, 2, 3), np.uint8))
    (tmp_path / "mine").write_text("mine")
    with (drawings.folder / RECORD).open("a") as record:
        record.write('"../mine"\n".."\n""\n{}\n"b.jp')  # the last one as a crash leaves it
    drawings.check()
    drawings.clear()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["drawn", "mine"]


def test_progress_is_said_every_five_seconds_with_rate_and_time_left() -> None:
    now_s, lines = [0.0], []
    progress = PredictionProgress(lines.append, "images", 100, clock=lambda: now_s[0])
    for second in range(1, 12):
        now_s[0] = float(second)
        progress.say(4 * second)
    assert lines == [
        "predict: 20 of 100 images, 4.0/s, about 20 s left", "predict: 40 of 100 images, 4.0/s, about 15 s left"
    ]


@pytest.mark.parametrize(("name", "faces"), [("picture", 1), ("empty", 0)])
def test_a_picture_gives_one_row_as_parquet(setting: Setting, tmp_path: Path, name: str, faces: int) -> None:
    result = run(setting, getattr(setting, name), tmp_path / "table.parquet")
    table = pq.read_table(result.table)
    (row,) = table.to_pylist()
    assert result.faces == faces
    assert (row["e0"] is None) == (faces == 0)
    assert row["expression"] == ("happiness" if faces else None)
    assert b"not what is felt" in table.schema.field("expression").metadata[b"description"]
    assert result.drawn == tmp_path / "table-drawn.png"
    assert read_image(result.drawn).shape == (HEIGHT, WIDTH, 3)


def test_a_network_that_learned_nothing_is_called_so_in_words_and_in_the_picture(
    setting: Setting, tmp_path: Path
) -> None:
    pictures, said = [], []
    for relative_error in (0.6, 1.02):
        folder = tmp_path / f"model-{relative_error}"
        shutil.copytree(setting.deepexp3d, folder)
        final = {"train": None, "val": {"relative_error": relative_error}, "test": None}
        (folder / "metrics.json").write_text(json.dumps({"final": final}))
        lines: list[str] = []
        result = run(setting, setting.picture, tmp_path / f"{relative_error}.csv", deepexp3d=folder,
                     report=lines.append)
        assert result.drawn is not None
        pictures.append(read_image(result.drawn))
        said.append(any("no better than the mean expression on held-out videos" in line for line in lines))
    assert said == [False, True]
    assert (pictures[0] != pictures[1]).any()


def test_without_a_classifier_there_are_coefficients_alone(setting: Setting, tmp_path: Path) -> None:
    result = run(setting, setting.picture, tmp_path / "table.csv", expression=None)
    (row,) = rows_of(result.table)
    assert row["e27"]
    assert not any(name.startswith("p_") or name == "expression" for name in row)


def test_the_camera_of_projected_landmarks_is_found_again(setting: Setting) -> None:
    model = setting.model
    reader = FaceReader(networks=setting.networks, deepexp3d=setting.deepexp3d, face_model=model, device="cpu")
    rotation = look_from(20.0, -10.0, 5.0)
    head = model.landmarks_mm("mediapipe68", np.zeros(model.n_identity, np.float32), setting.happy)
    points = project_head(head, 1.3, rotation, (200.0, 90.0))[:, :2]
    face = FaceLandmarks(
        scheme="mediapipe68", points_px=points, confidence=1.0, box_px=np.zeros(4, np.float32),
        region=FaceRegion(x=0.0, y=0.0, side_px=1.0, angle_rad=0.0),
    )
    pose = reader.pose(face, setting.happy)
    assert pose is not None
    assert pose.scale_px_per_mm == pytest.approx(1.3, rel=2e-3)
    np.testing.assert_allclose(pose.rotation, rotation, atol=2e-3)
    np.testing.assert_allclose(pose.translation_px, [200.0, 90.0], atol=0.3)
    assert reader.pose(replace(face, points_px=np.zeros_like(points)), setting.happy) is None


def test_a_row_tells_how_the_head_is_held(setting: Setting, tmp_path: Path) -> None:
    result = run(setting, setting.clip, tmp_path / "clip.csv", options=PredictOptions(draw=False))
    rows = rows_of(result.table)
    held = ["scale_px_per_mm", *(f"rotation_{part}" for part in "wxyz"), "translation_x_px", "translation_y_px"]
    assert {row[name] for row in rows[:BEFORE] for name in [*held, "yaw_deg"]} == {""}
    for place, row in enumerate(rows[BEFORE:]):
        scale, w, x, y, z, across, down = (float(row[name]) for name in held)
        # The faces of the clip look straight ahead, and move by 2 px a frame; the mean identity with a happy face is
        # not the face they show, so the camera is near theirs only.
        assert scale == pytest.approx(0.75, rel=0.1)
        assert (w, abs(x), y, z) == pytest.approx((0, 1, 0, 0), abs=0.12)  # at w = 0 the sign of a quaternion is open
        assert w * w + x * x + y * y + z * z == pytest.approx(1, abs=1e-5)
        assert across == pytest.approx(160 + 2 * place, abs=3)
        assert down == pytest.approx(125, abs=12)
        assert abs(float(row["yaw_deg"])) < 4


def test_arkit_weights_are_those_of_the_coefficients(setting: Setting, tmp_path: Path) -> None:
    arkit = setting.model.arkit
    assert arkit is not None
    result = run(setting, setting.clip, tmp_path / "clip.csv", arkit=tmp_path / "weights.csv",
                 options=PredictOptions(draw=False, batch_size=3))
    assert result.arkit == tmp_path / "weights.csv"
    rows, table = rows_of(result.arkit), rows_of(result.table)
    assert list(rows[0]) == ["source", "frame", "pts_s", *arkit.names]
    assert [(row["frame"], row["pts_s"]) for row in rows] == [(row["frame"], row["pts_s"]) for row in table]
    assert {row[name] for row in rows[:BEFORE] for name in arkit.names} == {""}
    (wanted,) = arkit_weights(setting.model, setting.happy[None].astype(np.float32))
    for row in rows[BEFORE:]:
        np.testing.assert_allclose([float(row[name]) for name in arkit.names], wanted, atol=1e-3)
    assert float(rows[-1]["mouthSmileLeft"]) > 0.2

    refused = {"weights.txt": r"arkit='.*weights.txt' must end in", "clip.csv": "overwrite the source or the table"}
    for name, message in refused.items():
        with pytest.raises(ValueError, match=message):
            run(setting, setting.clip, tmp_path / "clip.csv", arkit=tmp_path / name)


def test_crops_are_those_of_training(setting: Setting) -> None:
    reader = FaceReader(
        networks=setting.networks, deepexp3d=setting.deepexp3d, face_model=setting.model, device="cpu"
    )
    picture = Picture(read_image(setting.picture))
    face = reader.find(picture)
    assert face is not None
    np.testing.assert_array_equal(reader.crop(picture, face), register(picture, face.points_px).rgb)


def test_faces_of_a_video_are_those_that_a_build_finds(setting: Setting, tmp_path: Path) -> None:
    model, colour = setting.model, paint_of(setting.model).vertex_colour
    arkit = model.arkit
    assert arkit is not None
    lids = [name.startswith("eyeBlink") for name in arkit.names]
    closed = np.linalg.lstsq(arkit.matrix, np.array(lids, np.float32) - arkit.offset, rcond=None)[0]
    blink = [face_picture(model, colour, expression=part * closed) for part in np.linspace(0, 1, 5)]
    write_clip(tmp_path / "blink.mp4", [blink[0]] * 5 + blink + blink[::-1] + [blink[0]] * 5 + blink)

    detector = MediapipeDetector(setting.networks, scheme="mediapipe68")
    (track,) = track_faces(tmp_path / "blink.mp4", detector, FacesOptions(min_track_s=0.1)).tracks
    reader = FaceReader(
        networks=setting.networks, deepexp3d=setting.deepexp3d, face_model=model, device="cpu"
    )
    with open_video(tmp_path / "blink.mp4") as video:
        batches = list(batched(seen_frames(reader, video, source="blink.mp4", keep=False), 7))
    assert [len(batch) for batch in batches] == [7, 7, 7, 4]
    faces = [seen.face for batch in batches for seen in batch]
    assert all(face is not None for face in faces)
    np.testing.assert_array_equal([face.points_px for face in faces if face], track.observed_px)


def test_labelled_images_without_a_face_are_counted_and_left_out(setting: Setting, tmp_path: Path) -> None:
    shutil.copy(setting.picture, tmp_path / "face.png")
    shutil.copy(setting.empty, tmp_path / "empty.png")
    lines = ["image,label", "empty.png,fear"] + [f"face.png,{name}" for name in CLASSES for _ in range(6)]
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    said: list[str] = []
    result = train_expression(
        tmp_path / "model", model_path=None, prototypes=False, labels=tmp_path / "labels.csv",
        deepexp3d=setting.deepexp3d, options=ExpressionOptions(folds=2), report=said.append,
    )
    assert result.samples == 42
    assert result.images_without_face == (str(tmp_path / "empty.png"),)
    assert result.metrics["images_without_face"] == 1
    assert any("no face in 1 of 43 images" in line for line in said)
    # One face with all seven labels teaches nothing, and the metrics say so.
    assert result.metrics["accuracy"] < 0.5


def test_a_damaged_video_keeps_what_could_be_read(setting: Setting, tmp_path: Path) -> None:
    data = setting.clip.read_bytes()
    start = data.index(b"mdat")
    broken = tmp_path / "broken.mp4"
    # The pictures' data lie before the index here; the second half of them becomes noise.
    index = data.index(b"moov")
    middle = start + (index - start) // 2
    noise = np.random.default_rng(0).bytes(index - 8 - middle)
    broken.write_bytes(data[:middle] + noise + data[index - 8 :])
    said: list[str] = []
    result = run(setting, broken, tmp_path / "broken.csv", report=said.append)
    assert "damaged" in result.damage
    assert result.frames == len(rows_of(result.table)) >= BEFORE
    assert any("ended early" in line for line in said)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"out": "table.txt"}, ValueError, r"must end in \.csv or \.parquet"),
        ({"source": "missing.mp4"}, FileNotFoundError, "there is no image, video or folder"),
        ({"source": "text.mp4"}, ValueError, "cannot be read: text.mp4 is no video file"),
        ({"face_model": "other.npz"}, ValueError, "predicts coefficients of the face model facevid-cc0"),
    ],
)
def test_what_cannot_be_predicted_is_said_and_leaves_nothing(
    setting: Setting, tmp_path: Path, changes: dict[str, str], error: type[Exception], message: str
) -> None:
    (tmp_path / "text.mp4").write_text("no video at all")
    if "face_model" in changes:
        replace(setting.model, licence="other").save(tmp_path / "other.npz")
    before = set(tmp_path.iterdir())
    source = tmp_path / changes["source"] if "source" in changes else setting.clip
    model = tmp_path / changes["face_model"] if "face_model" in changes else None
    with pytest.raises(error, match=message):
        run(setting, source, tmp_path / changes.get("out", "table.csv"), face_model=model)
    assert set(tmp_path.iterdir()) == before


def test_a_classifier_of_another_face_model_is_refused(setting: Setting, tmp_path: Path) -> None:
    shutil.copytree(setting.expression, tmp_path / "expression")
    config = tmp_path / "expression" / "config.json"
    config.write_text(config.read_text().replace(setting.model.sha256, "0" * 64))
    with pytest.raises(ValueError, match="classifies coefficients of the face model facevid-cc0 with sha256 0000"):
        run(setting, setting.clip, tmp_path / "table.csv", expression=tmp_path / "expression")


def test_the_source_is_not_overwritten(setting: Setting, tmp_path: Path) -> None:
    source = tmp_path / "face-drawn.png"
    shutil.copy(setting.picture, source)
    with pytest.raises(ValueError, match="would overwrite the source"):
        run(setting, source, tmp_path / "face.csv")
    assert source.read_bytes() == setting.picture.read_bytes()


def test_frames_of_a_variable_rate_are_shown_at_their_times(tmp_path: Path) -> None:
    with video_writer(tmp_path / "clip.mp4", width=33, height=17, fps=10.0) as video:
        for grey, pts_s in ((0, 0.0), (80, 0.1), (160, 0.4), (240, 0.5)):
            video.add(np.full((17, 33, 3), grey, np.uint8), pts_s)
    shown = [int(frame[:16, :32].mean() / 80 + 0.5) for frame in frames_of(tmp_path / "clip.mp4")]
    assert shown == [0, 1, 1, 1, 2, 3]
    assert (probe(tmp_path / "clip.mp4").width_px, probe(tmp_path / "clip.mp4").height_px) == (34, 18)


def test_what_ffmpeg_refuses_is_said_and_leaves_no_file(tmp_path: Path) -> None:
    frame = np.zeros((2, 2, 3), np.uint8)
    with pytest.raises(VideoWriteError, match=r"clip\.mp4: "), video_writer(  # noqa: PT012
        tmp_path / "clip.mp4", width=0, height=2, fps=10.0
    ) as video:
        for k in range(100_000):
            video.add(frame, k / 10)
    assert not list(tmp_path.iterdir())
