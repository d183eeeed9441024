"""The training of DeepExp3D: from the shards of a dataset to a model folder."""

import math
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32

from facevid import storage
from facevid.dataset import Dataset, open_dataset
from facevid.description import DatasetError
from fitting.face_model import FaceModel, load_face_model
from training.augment import Augmentation
from training.config import TrainOptions
from training.evaluation import Metrics, evaluate
from training.examples import Examples, load_examples
from training.export import ModelConfig, refuse_existing, resolve_device, software_versions, write_model
from training.loader import Batch, ordered_batches, training_batches
from training.losses import gram_matrix_mm2, label_weights, squared_vertex_error_mm2
from training.mirror import mirror_operator
from training.networks import ExpressionNetwork, build_network

_WARM_UP = 0.05
_MAX_GRADIENT_NORM = 5.0
_REPORT_EVERY_S = 10.0
_PROBES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRecord:
    """One line of the training's history.

    Attributes:
        epoch: Index of the epoch, from 0.
        steps: Optimiser steps so far.
        train_loss_mm2: Mean training loss of the epoch (weighted, augmented).
        val: Metrics on the val split, if it was evaluated after this epoch and has any crop.
    """

    epoch: int
    steps: int
    train_loss_mm2: float
    val: Metrics | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """What a training came to.

    Attributes:
        folder: The model folder.
        history: One record per epoch.
        final: Metrics of the finished network per split; None where the split is empty.
        crops_per_s: Training crops per second, evaluation left out.
    """

    folder: Path
    history: tuple[EpochRecord, ...]
    final: dict[str, Metrics | None]
    crops_per_s: float


def train_deepexp3d(
    dataset: Path | str, out: Path, options: TrainOptions, report: Callable[[str], None]
) -> TrainingResult:
    """Train on the train split, evaluate on val and test, and write a model folder.

    Args:
        dataset: Dataset folder, or a bucket's address. Only kept frames that have a crop are used.
        out: Model folder, which must not exist yet.
        options: How.
        report: Called with each line of progress.

    Raises:
        ValueError: `out` exists, or the device is not there.
        DatasetError: No dataset, nothing to train on, a damaged shard, or somebody in two splits.
    """
    refuse_existing(out)
    device = resolve_device(options.device)
    opened = open_dataset(dataset)
    model = _face_model(opened)
    splits = {name: load_examples(opened, name) for name in ("train", "val", "test")}
    train = splits["train"]
    if not len(train):
        raise DatasetError(
            f"{opened.root}: no kept crop in the train split. Was it built without crops, or were all tracks filtered? "
            f"`facevid status {opened.root}` tells"
        )
    for line in _introduction(splits, options, device):
        report(line)

    gram_mm2 = gram_matrix_mm2(model.expression_basis_mm)
    mean_expression = train.expression.mean(axis=0, dtype=np.float64).astype(np.float32)
    network = build_network(options.preset, opened.description.n_expression, seed=options.seed)
    with torch.no_grad():
        network.head.bias.copy_(torch.from_numpy(mean_expression))
    network.to(device)
    loop = _Loop(network=network, train=train, model=model, gram_mm2=gram_mm2, options=options, device=device,
                 report=report)

    def metrics(examples: Examples) -> Metrics | None:
        return evaluate(network, examples, model, mean_expression=mean_expression, options=options, device=device)

    history = []
    for epoch, loss in loop.epochs():
        due = (epoch + 1) % options.val_every == 0 or loop.done
        val = metrics(splits["val"]) if due else None
        history.append(EpochRecord(epoch=epoch, steps=loop.steps, train_loss_mm2=loss, val=val))
        report(f"epoch {epoch + 1}: train loss {loss:.3f} mm^2" + (f"; {val}" if val else ""))

    final = {"train": metrics(train), "val": history[-1].val, "test": metrics(splits["test"])}
    for seen in final.values():
        if seen:
            report(f"final {seen}")
    description = opened.description
    config = ModelConfig(
        preset=options.preset,
        n_expression=description.n_expression,
        face_model=description.face_model,
        face_model_sha256=description.face_model_sha256,
        face_model_licence=description.face_model_licence,
        landmark_scheme=description.landmark_scheme,
        dataset_config_hash=description.config_hash,
        training=asdict(options),
        versions=software_versions(),
    )
    record = {
        "final": {name: asdict(seen) if seen else None for name, seen in final.items()},
        "history": [asdict(line) for line in history],
        "steps": loop.steps,
    }
    write_model(out, network, config, record, probes=_probes(train))
    report(f"wrote {out}")
    return TrainingResult(folder=out, history=tuple(history), final=final, crops_per_s=loop.crops_per_s)


class _Loop:
    """The optimiser's state and its progress."""

    def __init__(
        self, *, network: ExpressionNetwork, train: Examples, model: FaceModel,
        gram_mm2: Float32[np.ndarray, "n_expression n_expression"], options: TrainOptions, device: torch.device,
        report: Callable[[str], None],
    ) -> None:
        self._network, self._train, self._options = network, train, options
        self._device, self._report = device, report
        self._gram_mm2 = torch.from_numpy(gram_mm2).to(device)
        weights = label_weights(train.expression_sigma, gram_mm2)
        self._weights = weights if options.label_uncertainty else np.ones_like(weights)
        self._mirror = mirror_operator(model) if options.augment else None
        if options.augment and self._mirror is None:
            report("the face model has no mirror symmetry: crops are not flipped")
        per_epoch = max(1, len(train) // options.batch_size)
        self.total_steps = min(options.epochs * per_epoch, options.max_steps or options.epochs * per_epoch)
        self.steps = 0
        self._crops = 0
        self._busy_s = 0.0
        self._optimiser = torch.optim.AdamW(_parameter_groups(network, options), lr=options.learning_rate)

    @property
    def done(self) -> bool:
        """Whether all steps are made."""
        return self.steps >= self.total_steps

    @property
    def crops_per_s(self) -> float:
        """Rate of training so far, evaluation left out."""
        return self._crops / self._busy_s if self._busy_s else 0.0

    def epochs(self) -> Iterator[tuple[int, float]]:
        """Train epoch by epoch; yields its index and its mean loss, mm^2."""
        epoch = 0
        while not self.done:
            yield epoch, self._epoch(epoch)
            epoch += 1

    def _epoch(self, epoch: int) -> float:
        options = self._options
        augmentation = Augmentation(seed=options.seed, epoch=epoch, mirror=self._mirror) if options.augment else None
        losses = []
        self._network.train()
        began_s = reported_s = time.monotonic()
        for batch in training_batches(self._train, seed=options.seed, epoch=epoch, batch_size=options.batch_size,
                                      augmentation=augmentation, workers=options.workers):
            losses.append(self._step(batch))
            now_s = time.monotonic()
            self._busy_s += now_s - began_s
            began_s = now_s
            if now_s - reported_s >= _REPORT_EVERY_S:
                reported_s = now_s
                self._report(self._progress(losses[-1]))
            if self.done:
                break
        return float(np.mean(losses))

    def _step(self, batch: Batch) -> float:
        for group in self._optimiser.param_groups:
            group["lr"] = self._options.learning_rate * _schedule(self.steps, self.total_steps)
        crops = torch.from_numpy(batch.crops).to(self._device, non_blocking=True)
        labels = torch.from_numpy(batch.expression).to(self._device, non_blocking=True)
        weights = torch.from_numpy(self._weights[batch.examples]).to(self._device, non_blocking=True)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._device.type == "cuda"):
            predicted = self._network(crops)
        loss = (weights * squared_vertex_error_mm2(predicted.float(), labels, self._gram_mm2)).mean()
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._network.parameters(), max_norm=_MAX_GRADIENT_NORM)
        self._optimiser.step()
        self.steps += 1
        self._crops += len(batch.crops)
        value = loss.item()
        if not math.isfinite(value):
            raise FloatingPointError(
                f"the loss is {value} at step {self.steps}; lower --learning-rate={self._options.learning_rate}"
            )
        return value

    def _progress(self, loss: float) -> str:
        left_s = (self.total_steps - self.steps) * self._busy_s / self.steps
        left = f"{left_s:.0f} s" if left_s < 120 else f"{math.ceil(left_s / 60)} min"
        return (
            f"step {self.steps} of {self.total_steps}: loss {loss:.3f} mm^2, "
            f"{self.crops_per_s:.0f} crops/s, {left} left"
        )


def _schedule(step: int, total: int) -> float:
    """Linear warm-up, then a cosine to zero; a factor of the peak learning rate for a step counted from 0."""
    warm_up = max(1, round(_WARM_UP * total))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1.0 + math.cos(math.pi * (step + 1 - warm_up) / max(1, total - warm_up)))


def _parameter_groups(network: ExpressionNetwork, options: TrainOptions) -> list[dict[str, object]]:
    decayed = [p for p in network.parameters() if p.ndim > 1]
    rest = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": decayed, "weight_decay": options.weight_decay}, {"params": rest, "weight_decay": 0.0}]


def _face_model(dataset: Dataset) -> FaceModel:
    try:
        with tempfile.TemporaryDirectory() as folder:  # the dataset may be in a bucket
            local = Path(folder) / "face_model.npz"
            local.write_bytes(storage.read_bytes(dataset.face_model_path))
            model = load_face_model(local)
    except (OSError, ValueError) as error:
        raise DatasetError(f"the dataset's face model cannot be read: {error}; build the dataset again") from error
    if model.sha256 != dataset.description.face_model_sha256:
        raise DatasetError(
            f"{dataset.face_model_path} is not the face model that the dataset was fitted with; build the dataset again"
        )
    return model


def _introduction(splits: dict[str, Examples], options: TrainOptions, device: torch.device) -> Iterator[str]:
    counts = ", ".join(f"{name} {len(e)} crops of {len(e.videos)} videos" for name, e in splits.items())
    yield f"DeepExp3D ({options.preset}) on {device}: {counts}"
    if not len(splits["val"]):
        yield "no video in the val split: training runs, but nothing can tell how good the network is"


def _probes(examples: Examples) -> np.ndarray:
    chosen = examples.evenly(_PROBES)
    batches = ordered_batches(examples, chosen, batch_size=_PROBES, workers=0)
    return np.concatenate([batch.crops for batch in batches])
