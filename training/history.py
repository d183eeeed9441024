"""The history of a training: what each epoch came to, and which of them ships."""

from collections.abc import Mapping
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


def epoch_record(plain: Mapping[str, Any]) -> EpochRecord:
    """The record of which `asdict` gave these values, through JSON or not."""
    val = plain["val"]
    return EpochRecord(**{**plain, "val": Metrics(**{**val, "pearson": tuple(val["pearson"])}) if val else None})


def shipped_words(best: EpochRecord, last: EpochRecord) -> str:
    """Which step the shipped weights are of, and why, for people."""
    if best.val is None or last.val is None:
        return f"the weights are those after the last step, {last.steps}: there is no val split to choose them by"
    if best is last:
        return f"the weights are those after the last step, {last.steps}: they were the best on the val split"
    return (
        f"the weights are those after step {best.steps} of {last.steps}, the best on the val split: vertex error "
        f"{best.val.vertex_error_mm:.3f} mm there, {last.val.vertex_error_mm:.3f} mm after the last step"
    )
