"""The history of a training: what each epoch came to, and which of them ships."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from training.evaluation import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRecord:
    """One line of the training's history.

    Attributes:
        epoch: Index of the epoch, from 0.
        steps: Optimiser steps so far.
        crops: Training crops that the epoch showed.
        train_loss_mm2: Mean training loss of the epoch (weighted, augmented).
        val: Metrics on the val split, if it was evaluated after this epoch and has any crop.
    """

    epoch: int
    steps: int
    crops: int
    train_loss_mm2: float
    val: Metrics | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """The weights that a training ships.

    Attributes:
        steps: Optimiser steps after which they were as they are; 0 for those that the training began with.
        val: Their metrics on the val split; None where it is empty.
    """

    steps: int
    val: Metrics | None


def epoch_record(plain: Mapping[str, Any]) -> EpochRecord:
    """The record of which `asdict` gave these values, through JSON or not."""
    return EpochRecord(**{**plain, "val": metrics_record(plain["val"])})


def metrics_record(plain: Mapping[str, Any] | None) -> Metrics | None:
    """The metrics of which `asdict` gave these values, through JSON or not; None for None."""
    return Metrics(**{**plain, "pearson": tuple(plain["pearson"])}) if plain else None


def shipped_of(steps: int | None, before: Metrics | None, history: Sequence[EpochRecord]) -> Shipped:
    """The weights after the step that was best, of those that were evaluated; the last ones if none was.

    Args:
        steps: Which step that was; None if none was evaluated.
        before: Metrics of the weights that the training began with, if they were evaluated.
        history: Of all epochs.
    """
    if steps == 0:
        return Shipped(steps=0, val=before)
    line = next((line for line in history if line.steps == steps), history[-1])
    return Shipped(steps=line.steps, val=line.val)


def shipped_words(best: Shipped, last: EpochRecord) -> str:
    """Which step the shipped weights are of, and why, for people."""
    if best.val is None or last.val is None:
        return f"the weights are those after the last step, {last.steps}: there is no val split to choose them by"
    if best.steps == last.steps:
        return f"the weights are those after the last step, {last.steps}: they were the best on the val split"
    if not best.steps:
        return (
            f"no epoch was better on the val split than the weights that the training began with, which are shipped "
            f"as they were: vertex error {best.val.vertex_error_mm:.3f} mm, {last.val.vertex_error_mm:.3f} mm after "
            f"the last step, {last.steps}. More or other training crops, or a lower --learning-rate, may change that"
        )
    return (
        f"the weights are those after step {best.steps} of {last.steps}, the best on the val split: vertex error "
        f"{best.val.vertex_error_mm:.3f} mm there, {last.val.vertex_error_mm:.3f} mm after the last step"
    )
