"""A trained network as a folder that others can use: safetensors, JSON, ONNX, model card; no pickle anywhere."""

import json
import logging
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from jaxtyping import Float32, UInt8
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from facevid import storage
from training.card import model_card
from training.model_config import (
    CARD_FILE,
    CONFIG_FILE,
    FORMAT,
    METRICS_FILE,
    ONNX_FILE,
    ONNX_INPUT,
    ONNX_OUTPUT,
    WEIGHTS_FILE,
    ModelConfig,
    read_config,
)
from training.model_folder import model_folder
from training.networks import CROP_SIDE_PX, ExpressionNetwork, build_network

MAX_ONNX_DIFFERENCE = 1e-4
"""Largest difference of a coefficient between torch and ONNX Runtime, in standard deviations."""
_OPSET = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepExp3D:
    """A trained network, ready to predict.

    Attributes:
        config: What it is and which face model it speaks of.
        network: The network, in evaluation mode.
        device: Where it runs.
    """

    config: ModelConfig
    network: ExpressionNetwork
    device: torch.device

    def predict(
        self, crops: UInt8[np.ndarray, "batch 224 224 3"]
    ) -> Float32[np.ndarray, "batch n_expression"]:
        """Expression coefficients, standard deviations, of registered RGB crops (`pipeline.faces.register`).

        All of them go through the network together: the caller knows how much memory there is.
        """
        with torch.inference_mode():
            found = self.network(torch.from_numpy(np.ascontiguousarray(crops)).to(self.device))
            return np.asarray(found.float().cpu().numpy())


def resolve_device(name: str) -> torch.device:
    """The device of an option: auto is cuda where there is one, else cpu.

    Raises:
        ValueError: cuda is asked for and there is none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device={name!r}: this machine or this build of torch has no CUDA; use --device cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device={name!r}: there are {torch.cuda.device_count()} CUDA devices, counted from cuda:0")
    return device


def software_versions() -> dict[str, str]:
    """Versions that a reader of a model may want to know."""
    return {"facevid": version("facevid"), "torch": torch.__version__}


def write_model(
    out: Path,
    network: ExpressionNetwork,
    config: ModelConfig,
    metrics: dict[str, Any],
    *,
    probes: UInt8[np.ndarray, "batch 224 224 3"],
) -> None:
    """Write a model folder; it appears whole or not at all.

    Args:
        out: The folder, which must not exist yet.
        network: The trained network; moved to the CPU.
        config: What it is.
        metrics: What to write to metrics.json, plain values; the ONNX parity is added. Its `shipped_steps` also stands
            in the metadata of the weights' file.
        probes: Crops on which torch and ONNX Runtime must agree, at least one.

    Raises:
        ValueError: `out` exists.
        RuntimeError: The exported network does not compute what the network computes.
    """
    with model_folder(out) as folder:
        network.to("cpu").eval()
        weights = {name: value.contiguous() for name, value in network.state_dict().items()}
        about = {"format": FORMAT, "shipped_steps": str(metrics["shipped_steps"])}
        (folder / WEIGHTS_FILE).write_bytes(save(weights, metadata=about))
        _export_onnx(network, folder / ONNX_FILE)
        difference = _onnx_difference(network, folder / ONNX_FILE, probes)
        full = metrics | {"onnx_max_difference": difference}
        _write_json(folder / METRICS_FILE, full)
        # What stands side by side and is not of one training is then refused by `read_config`.
        sha256 = {name: storage.sha256(str(folder / name)) for name in (WEIGHTS_FILE, ONNX_FILE)}
        _write_json(folder / CONFIG_FILE, config.to_json() | {"sha256": sha256})
        (folder / CARD_FILE).write_text(model_card(config.to_json(), full), "utf-8")


def load_deepexp3d(folder: Path, device: str = "cpu") -> DeepExp3D:
    """Load a model folder into torch. Only safetensors and JSON are read: nothing in the folder is executed.

    Args:
        folder: What `facevid train deepexp3d` wrote.
        device: cpu, cuda, cuda:N or auto.

    Raises:
        ValueError: It is no such folder, of a newer format, or damaged.
    """
    config = read_config(folder)
    where = resolve_device(device)
    network = build_network(config.preset, config.n_expression)
    try:
        state = load_file(folder / WEIGHTS_FILE)
        network.load_state_dict(state)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ValueError(f"{folder / WEIGHTS_FILE} does not hold this network's weights: {error}") from error
    return DeepExp3D(config=config, network=network.to(where).eval(), device=where)


def _export_onnx(network: ExpressionNetwork, path: Path) -> None:
    example = torch.zeros(2, CROP_SIDE_PX, CROP_SIDE_PX, 3, dtype=torch.uint8)
    # The exporter warns of its own internals and of torchvision, which we do not use.
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.onnx.export(
                network, (example,), path, dynamo=True, opset_version=_OPSET, external_data=False, verbose=False,
                input_names=[ONNX_INPUT], output_names=[ONNX_OUTPUT],
                dynamic_shapes={"crops": {0: torch.export.Dim("batch")}},
            )
    finally:
        log.setLevel(level)


def _onnx_difference(network: ExpressionNetwork, path: Path, probes: UInt8[np.ndarray, "batch 224 224 3"]) -> float:
    noise = np.random.default_rng(0).integers(0, 256, (3, CROP_SIDE_PX, CROP_SIDE_PX, 3), np.uint8)
    runtime = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    worst = 0.0
    for crops in (probes, noise):
        with torch.inference_mode():
            wanted = network(torch.from_numpy(crops)).numpy()
        (seen,) = runtime.run([ONNX_OUTPUT], {ONNX_INPUT: crops})
        worst = max(worst, float(np.abs(seen - wanted).max()))
    if not worst <= MAX_ONNX_DIFFERENCE:  # also refuses NaN
        raise RuntimeError(f"ONNX export differs from the network by {worst:.2e}, more than {MAX_ONNX_DIFFERENCE:.0e}")
    return worst


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n", "utf-8")
