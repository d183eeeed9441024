"""A model folder is enough: its card's example runs without FaceVid, and gives what prediction gives."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file

from pipeline.faces.picture import Picture
from pipeline.faces.register import TEMPLATE68_PX, register
from pipeline.faces.schemes import IBUG68
from training.export import _export_onnx, load_deepexp3d, write_model
from training.model_config import ModelConfig, SourceDataset
from training.networks import build_network
from training.onnx_network import load_onnx

ALONE = """\
import sys
import numpy as np
for name in ("facevid", "pipeline", "fitting", "training", "torch", "cv2", "scipy"):
    sys.modules[name] = None  # importing one of them fails
{example}
faces = np.load("faces.npz")
np.savez("answer.npz", crop=crop(faces["rgb"], faces["points"]), expression=expression(faces["rgb"], faces["points"]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = build_network("fast", 28)
    network.head.weight.data.mul_(20)
    config = ModelConfig(
        preset="fast", n_expression=28, face_model="toy", face_model_sha256="0" * 64, face_model_licence="CC0-1.0",
        landmark_scheme="mediapipe68", datasets=(SourceDataset(config_hash="c0ffee", content_sha256="0" * 64),),
        training={}, versions={},
    )  # fmt: skip
    metrics = {"final": {}, "steps": 1, "shipped_steps": 1, "sources": {"videos": 0, "licences": {}}}
    out = tmp_path_factory.mktemp("models") / "model"
    write_model(out, network, config, metrics, probes=np.zeros((1, 224, 224, 3), np.uint8))
    return out


def picture(side_px: int) -> np.ndarray:
    """Something with edges at all scales, without being noise."""
    y, x = np.mgrid[:side_px, :side_px] * (300.0 / side_px)
    waves = [np.sin(x / 9 + y / 17) + np.sin(x * y / 900), np.cos(y / 7), np.sin((x - y) / 13)]
    return (127 + 60 * np.stack(waves, axis=-1)).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(("side_px", "size", "middle"), [(300, 0.6, 150.0), (900, 2.7, 450.0), (300, 0.6, 40.0)])
def test_the_cards_example_gives_what_prediction_gives_without_our_code(
    folder: Path, side_px: int, size: float, middle: float
) -> None:
    # Enlarged, shrunk almost three times, and with a third of the crop outside the picture.
    angle = np.radians(20)
    turn = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = ((TEMPLATE68_PX - 112) @ turn.T + middle).astype(np.float32)
    points[:17] += 30  # the jaw has no say
    rgb = picture(side_px)
    np.savez(folder / "faces.npz", rgb=rgb, points=points)
    (example,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text("utf-8"), flags=re.DOTALL)
    subprocess.run([sys.executable, "-c", ALONE.replace("{example}", example)], cwd=folder, check=True)
    answer = np.load(folder / "answer.npz")

    ours = register(Picture(rgb), points).rgb
    assert np.abs(answer["crop"].astype(int) - ours).mean() < 1.0
    elsewhere = np.abs(register(Picture(rgb), points + 6).rgb.astype(int) - ours).mean()
    assert elsewhere > 8.0
    model = load_onnx(folder)
    wanted, black = model.predict(ours[None])[0], model.predict(np.zeros_like(ours)[None])[0]
    assert np.abs(answer["expression"] - wanted).max() < 0.02 * np.abs(wanted - black).max()


def test_the_configuration_holds_what_the_input_is_made_with(folder: Path) -> None:
    about = json.loads((folder / "config.json").read_text("utf-8"))["input"]
    assert (about["name"], about["side_px"], about["channels"]) == ("crops", 224, "red, green, blue")
    np.testing.assert_allclose(about["registration"]["template_px"], TEMPLATE68_PX, atol=1e-4)
    assert about["registration"]["registered_points"] == [17, 68]
    assert tuple(about["registration"]["mediapipe_face_mesh_points"]) == IBUG68


@pytest.mark.parametrize("stale", ["model.onnx", "model.safetensors"])
def test_files_of_two_trainings_in_one_folder_are_refused(folder: Path, tmp_path: Path, stale: str) -> None:
    for name in ("config.json", "model.onnx", "model.safetensors"):
        shutil.copy(folder / name, tmp_path / name)
    load_onnx(tmp_path)
    load_deepexp3d(tmp_path)
    network = load_deepexp3d(folder).network
    network.head.weight.data.mul_(2)
    if stale == "model.onnx":
        _export_onnx(network, tmp_path / stale)
    else:
        save_file({name: value.contiguous() for name, value in network.state_dict().items()}, tmp_path / stale)
    # In each form, also the one that does not read that file: nobody can know which of the two was meant.
    for load in (load_onnx, load_deepexp3d):
        with pytest.raises(ValueError, match=rf"{re.escape(stale)} is not the file that config\.json .* whole folder"):
            load(tmp_path)
