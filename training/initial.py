"""The weights of an earlier model that a training begins with: a second dataset goes on where the first ended."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from facevid import storage
from facevid.dataset import Dataset
from training.config import Preset
from training.model_config import METRICS_FILE, WEIGHTS_FILE, SourceDataset, read_config
from training.networks import ExpressionNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class InitialWeights:
    """An earlier model, checked to speak of the same coefficients.

    Attributes:
        folder: Its folder.
        sha256: Of its file of weights.
        landmark_scheme: Landmarks that registered the crops that it was trained on.
        datasets: What it was trained on.
        metrics: What its `metrics.json` says; empty where there is none.
    """

    folder: Path
    sha256: str
    landmark_scheme: str
    datasets: tuple[SourceDataset, ...]
    metrics: Mapping[str, Any]

    def put_into(self, network: ExpressionNetwork) -> None:
        """Set the network to the weights.

        Raises:
            ValueError: The file does not hold this network's weights.
        """
        path = self.folder / WEIGHTS_FILE
        try:
            weights = load_file(path)
            if not all(bool(torch.isfinite(value).all()) for value in weights.values()):
                raise ValueError(f"init={str(self.folder)!r}: {WEIGHTS_FILE} holds weights that are not finite")
            network.load_state_dict(weights)
        except (OSError, SafetensorError, RuntimeError) as error:
            raise ValueError(f"{path} does not hold this network's weights: {error}") from error

    def introduction(self, dataset: Dataset) -> Iterator[str]:
        """What to say before a training on a dataset."""
        yield f"beginning with the weights of {self.folder} (sha256 {self.sha256[:12]})"
        if self.landmark_scheme != dataset.description.landmark_scheme:
            yield (
                f"its crops were registered by {self.landmark_scheme}, these by {dataset.description.landmark_scheme}: "
                "they lie a little differently in their frames"
            )

    def record(self) -> dict[str, Any]:
        """What `metrics.json` and the card say of it: which weights, and what they were trained on, first to last."""
        return {
            "weights_sha256": self.sha256,
            "datasets": [asdict(one) for one in self.datasets],
            "sources": self.metrics.get("sources"),
            "init": self.metrics.get("init"),
        }


def initial_weights(folder: Path, dataset: Dataset, preset: Preset) -> InitialWeights:
    """Look at the model folder that a training is to begin with.

    Args:
        folder: What `facevid train deepexp3d` wrote.
        dataset: What is to be trained on.
        preset: Which network.

    Raises:
        ValueError: It is no such folder, or its network, number of coefficients or face model is another.
    """
    config, about = read_config(folder), dataset.description
    named = f"init={str(folder)!r}"
    if config.preset != preset:
        raise ValueError(f"{named} is a {config.preset} network, not {preset}; use --preset {config.preset}")
    if config.face_model_sha256 != about.face_model_sha256:
        raise ValueError(
            f"{named} predicts coefficients of the face model {config.face_model} ({config.face_model_sha256[:12]}), "
            f"and {dataset.root} was fitted with {about.face_model} ({about.face_model_sha256[:12]}): they mean other "
            "things. Build the dataset with that face model (--model), or train without --init"
        )
    if config.n_expression != about.n_expression:
        raise ValueError(
            f"{named} predicts {config.n_expression} coefficients, and {dataset.root} has {about.n_expression}; "
            "train without --init"
        )
    weights = folder / WEIGHTS_FILE
    if not weights.is_file():
        raise ValueError(f"{named} has no {WEIGHTS_FILE}")
    return InitialWeights(
        folder=folder, sha256=storage.sha256(str(weights)), landmark_scheme=config.landmark_scheme,
        datasets=config.datasets, metrics=_metrics(folder),
    )  # fmt: skip


def _metrics(folder: Path) -> dict[str, Any]:
    path = folder / METRICS_FILE
    if not path.is_file():
        return {}
    try:
        plain = json.loads(path.read_text("utf-8"))
        # It will be written into the new model's own, after all the training: what is not finite could not be.
        json.dumps(plain, allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    return plain if isinstance(plain, dict) else {}
