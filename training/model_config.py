"""What stands in a DeepExp3D folder beside its weights: what the network is, what it wants to see, what it learned.

No torch: prediction on a CPU does not wait for torch to load.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from facevid import storage
from pipeline.faces.register import CROP_SIZE_PX, INNER_POINTS, TEMPLATE68_PX
from pipeline.faces.schemes import IBUG68
from training.config import Preset

FORMAT = "facevid-deepexp3d"
FORMAT_VERSION = 1
WEIGHTS_FILE, CONFIG_FILE, METRICS_FILE = "model.safetensors", "config.json", "metrics.json"
ONNX_FILE, CARD_FILE = "model.onnx", "README.md"
ONNX_INPUT, ONNX_OUTPUT = "crops", "expression"
# ImageNet's channel statistics: a fixed convention, near enough for faces, and what pretrained weights expect.
CHANNEL_MEAN = (0.485, 0.456, 0.406)
CHANNEL_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceDataset:
    """One of the datasets that a model was trained on.

    Attributes:
        config_hash: Hash of its configuration.
        content_sha256: sha256 over those of its shards; empty where an earlier version wrote the model.
    """

    config_hash: str
    content_sha256: str


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
        datasets: What it was trained on, in the order of the content's sha256.
        training: The options of the training.
        versions: Versions of facevid and torch.
    """

    preset: Preset
    n_expression: int
    face_model: str
    face_model_sha256: str
    face_model_licence: str
    landmark_scheme: str
    datasets: tuple[SourceDataset, ...]
    training: dict[str, Any]
    versions: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """What `config.json` holds: this, and all that somebody without FaceVid needs to make the network's input."""
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            **asdict(self),
            "input": {
                "what": "registered face crops, uint8, batch x height x width x channel; normalised inside the network",
                "name": ONNX_INPUT,
                "side_px": CROP_SIZE_PX,
                "channels": "red, green, blue",
                "channel_mean": CHANNEL_MEAN,
                "channel_std": CHANNEL_STD,
                "registration": _registration(self.landmark_scheme),
            },
            "output": "expression coefficients of the face model, standard deviations",
            "output_name": ONNX_OUTPUT,
        }


def _registration(scheme: str) -> dict[str, Any]:
    about: dict[str, Any] = {
        "what": (
            "least-squares similarity (rotation, scale, shift; never a reflection) that brings the registered points "
            "of the face onto those of the template; bilinear, averaged where the picture shrinks, black outside of it"
        ),
        "point_order": "iBUG 68: jaw 0-16, brows 17-26, nose 27-35, eyes 36-47, outer lips 48-59, inner lips 60-67",
        "registered_points": [INNER_POINTS.start, INNER_POINTS.stop],
        "template_px": [[round(float(x), 1), round(float(y), 1)] for x, y in TEMPLATE68_PX],
        "pixels": "(0, 0) is the centre of the top-left pixel, x to the right, y down",
    }
    if scheme.startswith("mediapipe"):
        about["mediapipe_face_mesh_points"] = IBUG68
    return about


def read_config(folder: Path) -> ModelConfig:
    """What a folder says that it holds.

    Raises:
        ValueError: It is no DeepExp3D folder, of a newer format, or damaged, or holds weights or an ONNX form that are
            not those it was written with.
    """
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
    if "datasets" not in plain and "dataset_config_hash" in plain:  # as written for one dataset, which was the most
        plain["datasets"] = [{"config_hash": plain["dataset_config_hash"], "content_sha256": ""}]
    _check_files(folder, plain.get("sha256", {}))
    try:
        fields = {name: plain[name] for name in ModelConfig.__dataclass_fields__}
        return ModelConfig(**fields | {"datasets": tuple(SourceDataset(**one) for one in plain["datasets"])})
    except KeyError as error:
        raise ValueError(f"{path} lacks {error}") from error
    except TypeError as error:
        raise ValueError(f"{path} says something else of its datasets than this program writes: {error}") from error


def _check_files(folder: Path, sha256: object) -> None:
    """Refuse files of two trainings; of a folder that was written before there were these hashes nobody knows."""
    known = sha256 if isinstance(sha256, dict) else {}
    for name in (WEIGHTS_FILE, ONNX_FILE):
        path = folder / name
        if name in known and path.is_file() and (seen := storage.sha256(str(path))) != known[name]:
            raise ValueError(
                f"{path} is not the file that {CONFIG_FILE} beside it was written with (sha256 {seen[:12]}, not "
                f"{str(known[name])[:12]}): weights, ONNX form and configuration are made together; copy the model's "
                "whole folder again, or train it again"
            )


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
