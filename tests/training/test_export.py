"""Loading a model: nothing in its folder is trusted or executed."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from training import export
from training.export import load_deepexp3d, resolve_device, write_model
from training.model_config import ModelConfig, SourceDataset, learned_nothing, read_config
from training.networks import build_network

CONFIG = {
    "format": "facevid-deepexp3d", "format_version": 1, "preset": "fast", "n_expression": 4, "face_model": "toy",
    "face_model_sha256": "0" * 64, "face_model_licence": "CC0-1.0", "landmark_scheme": "toy5",
    "datasets": (), "training": {}, "versions": {},
}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"format": "other"}, "does not describe a DeepExp3D model"),
        ({"format_version": 2}, "has format_version 2; this program reads 1"),
        ({"preset": "vgg"}, "names an unknown preset 'vgg'"),
    ],
)
def test_a_folder_of_something_else_is_refused(tmp_path: Path, change: dict[str, object], complaint: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | change), "utf-8")
    with pytest.raises(ValueError, match=complaint):
        load_deepexp3d(tmp_path)


def test_an_empty_folder_is_refused_with_a_word_on_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is no DeepExp3D model .* make one with `facevid train deepexp3d`"):
        load_deepexp3d(tmp_path)


def test_a_model_of_an_earlier_version_names_the_one_dataset_that_it_was_trained_on(tmp_path: Path) -> None:
    earlier = {name: value for name, value in CONFIG.items() if name != "datasets"} | {"dataset_config_hash": "c0ffee"}
    (tmp_path / "config.json").write_text(json.dumps(earlier), "utf-8")
    assert read_config(tmp_path).datasets == (SourceDataset(config_hash="c0ffee", content_sha256=""),)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | {"datasets": [{"who": "knows"}]}), "utf-8")
    with pytest.raises(ValueError, match=r"config\.json says something else of its datasets than this program writes"):
        read_config(tmp_path)


def test_pickled_weights_are_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG), "utf-8")
    torch.save(build_network("fast", 4).state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="does not hold this network's weights"):
        load_deepexp3d(tmp_path)


def test_a_second_cuda_device_where_there_is_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert resolve_device("cuda:0").index == 0
    with pytest.raises(ValueError, match="device='cuda:1': there are 1 CUDA devices, counted from cuda:0"):
        resolve_device("cuda:1")


def test_a_cuda_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto").type == "cpu"
    with pytest.raises(ValueError, match="has no CUDA; use --device cpu"):
        resolve_device("cuda:0")


def test_an_export_that_computes_something_else_leaves_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_export_onnx", lambda network, path: None)
    monkeypatch.setattr(export, "_onnx_difference", export_differs)
    config = ModelConfig(**{name: value for name, value in CONFIG.items() if not name.startswith("format")})
    with pytest.raises(RuntimeError, match="ONNX export differs"):
        write_model(tmp_path / "model", build_network("fast", 4), config, {"final": {}, "shipped_steps": 1},
                    probes=np.zeros((1, 224, 224, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def export_differs(*_: object) -> float:
    raise RuntimeError("ONNX export differs from the network by 1.00e+00, more than 1e-04")


@pytest.mark.parametrize(
    ("final", "nothing"),
    [
        ({"val": {"relative_error": 1.0}, "test": None}, True),
        ({"val": {"relative_error": 0.9}, "test": {"relative_error": None}}, False),
        ({"val": None, "test": None}, False),
    ],
)
def test_what_a_model_learned_is_taken_from_its_metrics(
    tmp_path: Path, final: dict[str, object], nothing: bool
) -> None:
    assert not learned_nothing(tmp_path)
    (tmp_path / "metrics.json").write_text(json.dumps({"final": final}), "utf-8")
    assert learned_nothing(tmp_path) == nothing


@pytest.mark.parametrize("text", ["no JSON", "[]", '{"final": {"val": 3}}'])
def test_damaged_metrics_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "metrics.json").write_text(text, "utf-8")
    with pytest.raises(ValueError, match=r"metrics\.json is damaged"):
        learned_nothing(tmp_path)
