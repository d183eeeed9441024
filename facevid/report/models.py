"""What the report shows of a trained model: its metrics, as far as its folder tells."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facevid.counted import counted
from facevid.report.curves import loss_svg
from facevid.report.facts import Fact

TOY_CROPS = 50_000
"""A network that saw fewer crops than this, minutes of work for a processor, is called a toy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A drawing with a title.

    Attributes:
        title: What it shows.
        svg: The drawing; our own, not from strangers.
    """

    title: str
    svg: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfusionRow:
    """One true class.

    Attributes:
        name: The class.
        shares: How often each class was predicted for it, 0 to 1.
        precision: Share of the predictions of this class that are right.
        recall: Share of this class that was found.
        f1: Harmonic mean of the two.
        n: Samples of this class.
    """

    name: str
    shares: tuple[float, ...]
    precision: float
    recall: float
    f1: float
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """A confusion matrix.

    Attributes:
        classes: Names of the columns.
        rows: One per true class.
    """

    classes: tuple[str, ...]
    rows: tuple[ConfusionRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSection:
    """One model in the report.

    Attributes:
        name: Name of its folder.
        notes: Sentences that a reader must not miss.
        facts: Numbers.
        curves: Drawings.
        confusion: Of a classifier.
    """

    name: str
    notes: tuple[str, ...]
    facts: tuple[Fact, ...] = ()
    curves: tuple[Curve, ...] = ()
    confusion: Confusion | None = None


def model_section(folder: Path) -> ModelSection:
    """Read a model folder's `config.json` and `metrics.json`; what cannot be read is said in the notes."""
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
        match config["format"]:
            case "facevid-deepexp3d":
                return _deepexp3d(folder.name, config, metrics)
            case "facevid-expression":
                return _expression(folder.name, config, metrics)
            case other:
                return ModelSection(name=folder.name, notes=(f"Unknown kind of model: {other}.",))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        message = f"The metrics cannot be read: {type(error).__name__}: {error}."
        return ModelSection(name=folder.name, notes=(message,))


def _deepexp3d(name: str, config: dict[str, Any], metrics: dict[str, Any]) -> ModelSection:
    notes = []
    crops = int(metrics["steps"]) * int(config["training"]["batch_size"])
    if crops < TOY_CROPS:
        notes.append(
            f"A toy: it saw {crops:,} crops in {metrics['steps']} steps. It shows that training and prediction run, "
            "not what such a network can do. What to trust in this report are the fits."
        )
    facts = [
        Fact("network", str(config["preset"])), Fact("optimiser steps", str(metrics["steps"])),
        Fact("weights of step", str(metrics["shipped_steps"])),
    ]
    for split in ("train", "val", "test"):
        seen = metrics["final"][split]
        if seen is None:
            notes.append(f"No {split} split: there was no video in it.")
            continue
        correlation = seen["mean_pearson"]
        facts.append(
            Fact(
                f"{split} vertex error",
                f"{seen['vertex_error_mm']:.3f} mm; baseline (training set's mean expression) "
                f"{seen['vertex_error_mean_expression_mm']:.3f} mm; correlation of the coefficients "
                f"{'-' if correlation is None else f'{correlation:.2f}'}; {counted(seen['crops'], 'crop')} of "
                f"{counted(seen['videos'], 'video')}",
                wide=True,
            )
        )
        if seen["remark"]:
            notes.append(f"{split}: {seen['remark']}.")
    history = metrics["history"]
    steps = [float(line["steps"]) for line in history]
    tested = [(float(line["steps"]), line["val"]) for line in history if line["val"]]
    if before := metrics.get("before"):  # those of `train --init`
        tested.insert(0, (0.0, before))
    losses = {
        "train": (steps, [line["train_loss_mm2"] for line in history]),
        "mean expression": (steps, [metrics["train_loss_mean_expression_mm2"]] * len(steps)),
    }
    curves = [Curve(title="Training loss per epoch", svg=loss_svg(losses, x="steps", y="mm²"))]
    if tested:
        at = [step for step, _ in tested]
        lines = {
            "DeepExp3D": (at, [val["vertex_error_mm"] for _, val in tested]),
            "mean expression": (at, [val["vertex_error_mean_expression_mm"] for _, val in tested]),
        }
        shipped = [(step, val["vertex_error_mm"]) for step, val in tested if step == metrics["shipped_steps"]]
        lines["weights of the model"] = ([step for step, _ in shipped], [error for _, error in shipped])
        curves.append(Curve(title="Vertex error on held-out videos", svg=loss_svg(lines, x="steps", y="mm")))
    return ModelSection(
        name=f"{name} (DeepExp3D, {config['preset']})", notes=tuple(notes), facts=tuple(facts), curves=tuple(curves)
    )


def _expression(name: str, config: dict[str, Any], metrics: dict[str, Any]) -> ModelSection:
    notes = []
    if config["trained_on"] == "prototypes":
        notes.append(
            "Trained on synthetic coefficients around FACS prototypes: no person's face was used for the labels. The "
            "numbers say how well the prototypes can be told apart, not how well faces are read."
        )
    elif metrics["images_without_face"]:
        notes.append(f"{metrics['images_without_face']} labelled images had no face that was found; they are left out.")
    facts = [Fact("samples", str(metrics["samples"])), Fact("folds", str(metrics["folds"]))]
    for label, key in (("accuracy", "accuracy"), ("balanced accuracy", "balanced_accuracy"), ("macro F1", "macro_f1")):
        facts.append(Fact(label, f"{metrics[f'{key}_fold_mean']:.3f} ± {metrics[f'{key}_fold_sd']:.3f}"))
    facts.append(Fact("calibration error", f"{metrics['expected_calibration_error']:.3f}"))
    rows = tuple(
        ConfusionRow(
            name=str(label),
            shares=tuple(count / max(1, sum(counts)) for count in counts),
            **metrics["per_class"][label],
        )
        for label, counts in zip(metrics["classes"], metrics["confusion_matrix"], strict=True)
    )
    return ModelSection(
        name=f"{name} (expression classifier)",
        notes=tuple(notes),
        facts=tuple(facts),
        confusion=Confusion(classes=tuple(map(str, metrics["classes"])), rows=rows),
    )
