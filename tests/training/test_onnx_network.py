"""A model folder's ONNX form: the same answers as torch's, and nothing of a stranger's file is trusted."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from safetensors.torch import save_file

from training import onnx_network
from training.export import _export_onnx, load_deepexp3d
from training.face_reader import Network, _network
from training.model_config import CONFIG_FILE, ONNX_FILE, WEIGHTS_FILE, ModelConfig
from training.networks import build_network
from training.onnx_network import load_onnx

CONFIG = ModelConfig(
    preset="fast", n_expression=4, face_model="toy", face_model_sha256="0" * 64, face_model_licence="CC0-1.0",
    landmark_scheme="toy5", datasets=(), training={}, versions={},
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("model")
    network = build_network("fast", 4).eval()
    for module in network.modules():  # so that all of the network has a say
        if hasattr(module, "running_var") and module.weight is not None:
            module.weight.data.fill_(0.7)
    network.head.weight.data.mul_(20)
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, out / WEIGHTS_FILE)
    _export_onnx(network, out / ONNX_FILE)
    (out / CONFIG_FILE).write_text(json.dumps(CONFIG.to_json()))
    return out


def test_onnx_runtime_and_torch_agree_to_1e_4(folder: Path) -> None:
    crops = np.random.default_rng(0).integers(0, 256, (5, 224, 224, 3), np.uint8)
    crops[3:] //= 4
    fast, torch = load_onnx(folder), load_deepexp3d(folder)
    assert isinstance(fast, Network)
    assert isinstance(torch, Network)
    wanted = torch.predict(crops)
    assert np.ptp(wanted, axis=0).min() > 0.01  # the crops matter
    np.testing.assert_allclose(fast.predict(crops), wanted, atol=1e-4)
    np.testing.assert_allclose(fast.predict(crops[:2]), wanted[:2], atol=1e-4)
    assert fast.predict(crops[:0]).shape == (0, 4)


def test_all_faces_that_are_given_go_through_the_network_together(folder: Path) -> None:
    # As many as --batch-size says: who knows the memory chooses.
    crops = np.zeros((100, 224, 224, 3), np.uint8)
    sizes: list[int] = []
    model = load_deepexp3d(folder)
    model.network.register_forward_hook(lambda _, given, __: sizes.append(len(given[0])))
    model.predict(crops)
    assert sizes == [100]


def test_the_cpu_takes_the_onnx_form_and_nothing_else(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Path, str]] = []
    monkeypatch.setattr("training.export.load_deepexp3d", lambda *of: asked.append(of) or load_deepexp3d(folder))
    assert isinstance(_network(folder, "cpu"), onnx_network.OnnxDeepExp3D)
    assert not asked
    _network(folder, "cuda")
    assert asked == [(folder, "cuda")]
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(ValueError, match=r"model\.onnx cannot be read \(No such file.*copy the whole folder"):
        _network(tmp_path, "cpu")


@pytest.mark.parametrize("what", ["training.prediction", "training.prediction_drawing"])
def test_prediction_on_the_cpu_loads_neither_torch_nor_scikit_learn(what: str) -> None:
    # What loads slowly is asked for by those who need it: a second for torch, two for scikit-learn.
    program = f"import sys, {what}; print([m for m in ('torch', 'sklearn', 'scipy.optimize') if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def outside(path: Path) -> bytes:
    """A network whose answer is a file beside it."""
    answer = helper.make_tensor("answer", TensorProto.FLOAT, [1, 4], np.zeros(4, np.float32).tobytes(), raw=True)
    answer.ClearField("raw_data")
    answer.data_location = TensorProto.EXTERNAL
    entry = answer.external_data.add()
    entry.key, entry.value = "location", path.name
    graph = helper.make_graph(
        [helper.make_node("Identity", ["answer"], ["expression"])], "stranger",
        [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["batch", 224, 224, 3])],
        [helper.make_tensor_value_info("expression", TensorProto.FLOAT, ["batch", 4])], [answer],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(model.SerializeToString())


def test_a_network_that_keeps_its_numbers_in_another_file_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(np.arange(4, dtype=np.float32).tobytes())
    (tmp_path / CONFIG_FILE).write_bytes((folder / CONFIG_FILE).read_bytes())
    (tmp_path / ONNX_FILE).write_bytes(outside(secret))
    monkeypatch.chdir(tmp_path)
    onnx.load(tmp_path / ONNX_FILE)  # others read it
    with pytest.raises(ValueError, match="no network that ONNX Runtime reads"):
        load_onnx(tmp_path)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda data: b"", "no network that ONNX Runtime reads"),
        (lambda data: data[: len(data) // 2], "no network that ONNX Runtime reads"),
        (lambda data: b"<html>" * 100, "no network that ONNX Runtime reads"),
    ],
)
def test_a_damaged_network_is_named(
    folder: Path, tmp_path: Path, damage: Callable[[bytes], bytes], complaint: str
) -> None:
    (tmp_path / CONFIG_FILE).write_bytes((folder / CONFIG_FILE).read_bytes())
    (tmp_path / ONNX_FILE).write_bytes(damage((folder / ONNX_FILE).read_bytes()))
    with pytest.raises(ValueError, match=rf"model\.onnx is {complaint}"):
        load_onnx(tmp_path)


def test_a_network_of_another_model_is_refused(folder: Path, tmp_path: Path) -> None:
    plain = json.loads((folder / CONFIG_FILE).read_text())
    (tmp_path / CONFIG_FILE).write_text(json.dumps(plain | {"n_expression": 5}))
    (tmp_path / ONNX_FILE).write_bytes((folder / ONNX_FILE).read_bytes())
    with pytest.raises(ValueError, match=r"'tensor\(float\)', \[4\].* not .*\[5\].*not that of this folder's config"):
        load_onnx(tmp_path)


def test_no_more_threads_than_processors_or_than_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(3), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert onnx_network._threads() == 3
    for asked, threads in (("2", 2), ("8", 3), ("0", 3), ("4,2", 3)):
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
        assert onnx_network._threads() == threads
