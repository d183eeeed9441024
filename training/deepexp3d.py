"""The training of DeepExp3D: from the shards of one dataset or more to a model folder."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facevid.counted import counted
from facevid.dataset import Dataset
from facevid.description import DatasetError
from facevid.splits import Split
from training.best import BestWeights
from training.checkpoint import Checkpoints, checkpoints
from training.config import TrainOptions
from training.dataset_model import face_model_of
from training.evaluation import Metrics, evaluate
from training.examples import Examples, load_splits
from training.export import resolve_device, software_versions, write_model
from training.history import EpochRecord, epoch_record, metrics_record, shipped_of, shipped_words
from training.initial import InitialWeights, initial_weights
from training.loader import ordered_batches
from training.loop import TrainingLoop
from training.losses import gram_matrix_mm2
from training.model_config import ModelConfig
from training.networks import ExpressionNetwork, build_network
from training.order import epoch_size
from training.sources import content_sha256, source_dataset, sources_of
from training.stopping import StopRequest, interruption
from training.together import open_together

_PROBES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """What a training came to.

    Attributes:
        folder: The model folder.
        history: One record per epoch.
        shipped_steps: Optimiser steps after which the weights were as they are in the folder: those of the smallest
            vertex error on the val split, 0 if the initial weights had it; the last ones where that split is empty.
        final: Metrics of these weights per split; None where the split is empty.
        crops_per_s: Training crops per second, evaluation left out.
    """

    folder: Path
    history: tuple[EpochRecord, ...]
    shipped_steps: int
    final: dict[str, Metrics | None]
    crops_per_s: float


def train_deepexp3d(
    datasets: Sequence[Path | str], out: Path, options: TrainOptions, report: Callable[[str], None], *,
    init: Path | None = None,
) -> TrainingResult:  # fmt: skip
    """Train on the train split, evaluate on val and test, and write a model folder.

    What a training has come to is saved after ten seconds, from then on every few minutes, and before each evaluation,
    in `OUT.training`: the same call goes on from there, and gives what it would have given in one run, to the bit on
    the same machine.

    The weights that are written are those of the epoch that was best on the val split; those of `init` count too.

    Args:
        datasets: Dataset folders, or buckets' addresses, at least one; in which order makes no difference. Only kept
            frames that have a crop are used, and a video that is there more than once is used once.
        out: Model folder, which must not exist yet.
        options: How.
        report: Called with each line of progress.
        init: Model folder whose weights to begin with, of the same network and face model; None for random ones.

    Raises:
        ValueError: `out` exists or is being trained, what was saved is of another training, the device is not there, or
            `init` is of another kind.
        DatasetError: No dataset, nothing to train on, a damaged shard, somebody in two splits, or datasets that do not
            go together.
        OSError: `out` cannot be written, which is told before the training.
        FloatingPointError: The training diverged.
        KeyboardInterrupt: By Ctrl-C, or, as `Terminated`, by SIGTERM during a step, which is then saved. At other times
            SIGTERM does what the caller has it do.
    """
    device = resolve_device(options.device)
    opened = open_together(datasets)
    begin = None if init is None else initial_weights(init, opened[0], options.preset)
    with checkpoints(out, _about(opened, options, begin)) as saved:
        try:
            return _train(opened, out, options, device, begin=begin, saved=saved, report=report)
        except KeyboardInterrupt:
            if saved.file.exists():
                report(f"stopped; the training is saved in {saved.file}")
            raise


def _about(datasets: Sequence[Dataset], options: TrainOptions, begin: InitialWeights | None) -> dict[str, object]:
    """What decides the weights that come out, and how they are measured."""
    indifferent = {"device", "workers"}
    chosen = {name: value for name, value in asdict(options).items() if name not in indifferent}
    face_model = datasets[0].description.face_model_sha256
    init = None if begin is None else begin.sha256
    return {
        "datasets": [content_sha256(dataset) for dataset in datasets], "face_model_sha256": face_model, "init": init,
        **software_versions(), **chosen,
    }  # fmt: skip


def _train(
    opened: Sequence[Dataset], out: Path, options: TrainOptions, device: torch.device, *, begin: InitialWeights | None,
    saved: Checkpoints, report: Callable[[str], None],
) -> TrainingResult:
    earlier = saved.load()
    model = face_model_of(opened)
    splits = load_splits(opened, report)
    train = splits["train"]
    if not len(train):
        roots = ", ".join(dataset.root for dataset in opened)
        raise DatasetError(
            f"{roots}: no kept crop in the train split. Were all tracks filtered, or none given that split? "
            f"`facevid status {opened[0].root}` tells"
        )
    for line in _introduction(splits, options, device):
        report(line)

    mean_expression = train.expression.mean(axis=0, dtype=np.float64).astype(np.float32)
    network = build_network(options.preset, model.n_expression, seed=options.seed)
    if begin is None:
        with torch.no_grad():
            network.head.bias.copy_(torch.from_numpy(mean_expression))
    else:
        begin.put_into(network)
        for line in begin.introduction(opened[0]):
            report(line)
    network.to(device)
    history: list[EpochRecord] = []
    before: Metrics | None = None
    best, stop = BestWeights(), StopRequest(report)

    def save() -> None:
        state = loop.state()
        progress = {
            "loop": state.progress,
            "before": None if before is None else asdict(before),
            "history": [asdict(line) for line in history],
        }
        saved.save(best.added_to(replace(state, progress=progress)))

    def evaluation_follows(epoch: int) -> bool:
        return loop.done or (len(splits["val"]) > 0 and (epoch + 1) % options.val_every == 0)

    def save_if_due() -> None:
        # Signals are not noted during an evaluation, which may last longer than its epoch.
        if saved.due() or stop.asked is not None or (loop.at_epoch_end and evaluation_follows(loop.epoch)):
            save()
        if stop.asked is not None:
            raise interruption(stop.asked)

    loop = TrainingLoop(
        network=network, train=train, model=model, gram_mm2=gram_matrix_mm2(model.expression_basis_mm),
        options=options, device=device, report=report, after_step=save_if_due, around_steps=stop.between_steps,
    )  # fmt: skip
    if earlier is not None:
        try:
            earlier = best.taken_from(earlier)
            loop.restore(replace(earlier, progress=earlier.progress["loop"]))
            before = metrics_record(earlier.progress["before"])
            history += [epoch_record(line) for line in earlier.progress["history"]]
        except (KeyError, TypeError, ValueError) as error:
            raise saved.damaged(error) from error
        report(f"going on after step {loop.steps} of {loop.total_steps}, saved in {saved.file}")

    def metrics(examples: Examples) -> Metrics | None:
        return evaluate(
            network, examples, model, mean_expression=mean_expression, options=options, device=device, report=report
        )

    if begin is not None and earlier is None and (before := metrics(splits["val"])) is not None:
        report(f"before the training: {before.errors}")
        best.offer(network, steps=0, vertex_error_mm=before.vertex_error_mm)
    for epoch, loss in loop.epochs():
        due = evaluation_follows(epoch)
        if due:
            loop.settle_normalisation(epoch)
        val = metrics(splits["val"]) if due else None
        crops = loop.crops - sum(line.crops for line in history)
        history.append(EpochRecord(epoch=epoch, steps=loop.steps, crops=crops, train_loss_mm2=loss, val=val))
        better = val is not None and best.offer(network, steps=loop.steps, vertex_error_mm=val.vertex_error_mm)
        report(f"epoch {epoch + 1}, {crops} crops: train loss {loss:.3f} mm^2 "
               f"(mean expression {loop.mean_expression_loss_mm2:.3f})"
               + (f"; {val.errors}" if val else "") + ("; the best so far" if better else ""))
        save_if_due()
    save()  # whatever happens to the disk now, the training is not lost

    best.put_into(network)
    shipped = shipped_of(best.steps, before, history)
    report(shipped_words(shipped, history[-1]))
    final = {"train": metrics(train), "val": shipped.val, "test": metrics(splits["test"])}
    for seen in final.values():
        if seen:
            report(f"final {seen}")
    record = {
        "final": {name: asdict(seen) if seen else None for name, seen in final.items()},
        "before": None if before is None else asdict(before),
        "history": [asdict(line) for line in history],
        "train_loss_mean_expression_mm2": loop.mean_expression_loss_mm2,
        "sources": asdict(sources_of(opened, train.videos)),
        "init": None if begin is None else begin.record(),
        "steps": loop.steps,
        "shipped_steps": shipped.steps,
    }
    report("writing the model, and comparing what its ONNX form says with it")
    _write(out, network, _config(opened, options), record, probes=_probes(train))
    report(f"wrote {out}")
    return TrainingResult(
        folder=out, history=tuple(history), shipped_steps=shipped.steps, final=final, crops_per_s=loop.crops_per_s
    )


def _write(
    out: Path, network: ExpressionNetwork, config: ModelConfig, record: dict[str, Any], *, probes: np.ndarray
) -> None:
    try:
        write_model(out, network, config, record, probes=probes)
    except OSError as error:
        raise OSError(
            f"{out} cannot be written ({error}); mend that and run the same command again: the training is kept"
        ) from error
    except ValueError as error:
        if out.exists():  # somebody else made it meanwhile
            raise ValueError(f"{error}, and run the same command again: the training is kept") from error
        raise


def _config(datasets: Sequence[Dataset], options: TrainOptions) -> ModelConfig:
    description = datasets[0].description  # they are alike in what is said of them here
    return ModelConfig(
        preset=options.preset,
        n_expression=description.n_expression,
        face_model=description.face_model,
        face_model_sha256=description.face_model_sha256,
        face_model_licence=description.face_model_licence,
        landmark_scheme=description.landmark_scheme,
        datasets=tuple(source_dataset(dataset) for dataset in datasets),
        training=asdict(options),
        versions=software_versions(),
    )


def _introduction(splits: Mapping[Split, Examples], options: TrainOptions, device: torch.device) -> Iterator[str]:
    counts = ", ".join(
        f"{name} {counted(len(e), 'crop')} of {counted(len(e.videos), 'video')}" for name, e in splits.items()
    )
    yield f"DeepExp3D ({options.preset}) on {device}: {counts}"
    shown = epoch_size(splits["train"], options.crops_per_track)
    if shown < len(splits["train"]):
        yield f"an epoch shows {shown} training crops: {options.crops_per_track} of a track, drawn anew each time"
    if not len(splits["val"]):
        yield (
            "no video in the val split: training runs, but nothing can tell how good the network is; give a row of the "
            "manifest split=val, and build again"
        )


def _probes(examples: Examples) -> np.ndarray:
    chosen = examples.evenly(_PROBES)
    batches = ordered_batches(examples, chosen, batch_size=_PROBES, workers=0)
    return np.concatenate([batch.crops for batch in batches])
