"""A trained network as a folder that others can use: safetensors, JSON, ONNX, model card; no pickle anywhere."""

import json
import logging
import warnings
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnxruntime
import torch
from jaxtyping import Float32, UInt8
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from training.card import model_card
from training.config import Preset
from training.model_folder import model_folder
from training.networks import CHANNEL_MEAN, CHANNEL_STD, CROP_SIDE_PX, ExpressionNetwork, build_network

FORMAT = "facevid-deepexp3d"
FORMAT_VERSION = 1
WEIGHTS_FILE, CONFIG_FILE, METRICS_FILE = "model.safetensors", "config.json", "metrics.json"
ONNX_FILE, CARD_FILE = "model.onnx", "README.md"
MAX_ONNX_DIFFERENCE = 1e-4
"""Largest difference of a coefficient between torch and ONNX Runtime, in standard deviations."""
_OPSET = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The content of a model's `config.json`.

    Attributes:
        preset: Which network.
        n_expression: Number of coefficients.
        face_model: Name of the face model whose expression basis the coefficients belong to.
        face_model_sha256: sha256 of its file.
        face_model_licence: Its licence.
        landmark_scheme: Landmarks that registered the training crops.
        dataset_config_hash: Hash of the configuration of the dataset.
        training: The options of the training.
        versions: Versions of facevid and torch.
    """

    preset: Preset
    n_expression: int
    face_model: str
    face_model_sha256: str
    face_model_licence: str
    landmark_scheme: str
    dataset_config_hash: str
    training: dict[str, Any]
    versions: dict[str, str]


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
        self, crops: UInt8[np.ndarray, "batch 224 224 3"], *, batch_size: int = 64
    ) -> Float32[np.ndarray, "batch n_expression"]:
        """Expression coefficients, standard deviations, of registered RGB crops (`pipeline.faces.register`)."""
        parts = [np.zeros((0, self.config.n_expression), np.float32)]
        with torch.inference_mode():
            for start in range(0, len(crops), batch_size):
                part = torch.from_numpy(np.ascontiguousarray(crops[start : start + batch_size])).to(self.device)
                parts.append(self.network(part).float().cpu().numpy())
        return np.concatenate(parts)


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
        _write_json(folder / CONFIG_FILE, _config_json(config))
        (folder / CARD_FILE).write_text(model_card(_config_json(config), full), "utf-8")


def load_deepexp3d(folder: Path, device: str = "cpu") -> DeepExp3D:
    """Load a model folder. Only safetensors and JSON are read: nothing in the folder is executed.

    Args:
        folder: What `facevid train deepexp3d` wrote.
        device: cpu, cuda, cuda:N or auto.

    Raises:
        ValueError: It is no such folder, of a newer format, or damaged.
    """
    config = _read_config(folder)
    where = resolve_device(device)
    network = build_network(config.preset, config.n_expression)
    try:
        state = load_file(folder / WEIGHTS_FILE)
        network.load_state_dict(state)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ValueError(f"{folder / WEIGHTS_FILE} does not hold this network's weights: {error}") from error
    return DeepExp3D(config=config, network=network.to(where).eval(), device=where)


def learned_nothing(folder: Path) -> bool:
    """Whether the model's own metrics say that it was no better on held-out videos than the mean expression.

    False where there are no metrics, which prediction does not need, or were no held-out videos.

    Raises:
        ValueError: metrics.json is not what the training writes.
    """
    path = folder / METRICS_FILE
    if not path.is_file():
        return False
    try:
        final = json.loads(path.read_text("utf-8"))["final"]
        errors = [final[split]["relative_error"] for split in ("val", "test") if final[split]]
        return any(error is not None and error >= 1.0 for error in errors)
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged: {type(error).__name__} {error}") from error


def _read_config(folder: Path) -> ModelConfig:
    path = folder / CONFIG_FILE
    try:
        plain = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ValueError(
            f"folder={str(folder)!r} is no DeepExp3D model (no {CONFIG_FILE}); make one with `facevid train deepexp3d`"
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(plain, dict) or plain.get("format") != FORMAT:
        raise ValueError(f"{path} does not describe a DeepExp3D model")
    if plain.get("format_version") != FORMAT_VERSION:
        seen = plain.get("format_version")
        raise ValueError(f"{path} has format_version {seen!r}; this program reads {FORMAT_VERSION}")
    if plain.get("preset") not in get_args(Preset):
        raise ValueError(f"{path} names an unknown preset {plain.get('preset')!r}")
    try:
        return ModelConfig(**{name: plain[name] for name in ModelConfig.__dataclass_fields__})
    except KeyError as error:
        raise ValueError(f"{path} lacks {error}") from error


def _config_json(config: ModelConfig) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        **asdict(config),
        "input": {
            "what": "registered RGB crop, uint8, batch x height x width x channel; normalised inside the network",
            "side_px": CROP_SIDE_PX,
            "channel_mean": CHANNEL_MEAN,
            "channel_std": CHANNEL_STD,
        },
        "output": "expression coefficients of the face model, standard deviations",
    }


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
                input_names=["crops"], output_names=["expression"],
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
        (seen,) = runtime.run(["expression"], {"crops": crops})
        worst = max(worst, float(np.abs(seen - wanted).max()))
    if not worst <= MAX_ONNX_DIFFERENCE:  # also refuses NaN
        raise RuntimeError(f"ONNX export differs from the network by {worst:.2e}, more than {MAX_ONNX_DIFFERENCE:.0e}")
    return worst


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n", "utf-8")
