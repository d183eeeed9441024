"""What a user may choose about the training of DeepExp3D. Standard library only: the command line imports it."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

_MOST_WORKERS = 16
Preset = Literal["resnet50", "fast"]
PRESETS: tuple[Preset, ...] = get_args(Preset)


def training_folder(out: Path) -> Path:
    """Where the state of the training of a model is kept until that is whole; it is there if anything was saved."""
    return out.with_name(f"{out.name}.training")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """Options of `facevid train deepexp3d`. They are stored in the model's config.json."""

    preset: Preset = "resnet50"
    """Network: resnet50 (4.1 GMAC a face) or fast (0.5 GMAC, made for CPUs)."""
    epochs: int = 20
    """Passes over the tracks of the training split."""
    crops_per_track: int = 64
    """Most crops of one track in an epoch, drawn anew for each, so that an epoch is not one of near-duplicates and
    batches show many people; 0 takes all. Evaluations are not concerned."""
    max_steps: int | None = None
    """Stop after this many optimiser steps, even within an epoch; the learning rate schedule is fitted to it."""
    batch_size: int = 32
    """Crops per step."""
    learning_rate: float = 1e-3
    """Peak learning rate of AdamW; warmed up over the first 5 % of the steps, then cosine to zero."""
    weight_decay: float = 0.05
    """Decoupled weight decay; not applied to biases and normalisation layers."""
    seed: int = 0
    """Decides initial weights, order and augmentation."""
    device: str = "auto"
    """cpu, cuda, cuda:N, or auto: cuda where there is one."""
    workers: int | None = None
    """Threads that decode and augment, about 1,000 crops a second each; does not change results. None takes as many as
    there are cores, 16 at most."""
    augment: bool = True
    """Flip, jitter, photometric change, blur and JPEG artefacts on training crops."""
    label_uncertainty: bool = True
    """Weight each crop by how sure the fit was of its coefficients."""
    val_every: int = 1
    """Epochs between evaluations on the val split; the last epoch is always evaluated."""
    val_max_crops: int = 2000
    """Crops per evaluation, spread evenly over the split."""

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        lowest = {"epochs": 1, "batch_size": 1, "learning_rate": 0.0, "weight_decay": 0.0, "seed": 0,
                  "crops_per_track": 0, "val_every": 1, "val_max_crops": 1}
        for name, low in lowest.items():
            value = getattr(self, name)
            if not low <= value < float("inf"):  # also refuses NaN
                raise ValueError(f"{name}={value!r} must be at least {low} and finite")
        if self.workers is not None and self.workers < 0:
            raise ValueError(f"workers={self.workers!r} must be at least 0")
        if self.learning_rate == 0.0:
            raise ValueError("learning_rate=0.0 learns nothing; it must be above 0")
        if self.max_steps is not None and self.max_steps < 1:
            raise ValueError(f"max_steps={self.max_steps!r} must be at least 1")
        if self.preset not in PRESETS:
            raise ValueError(f"preset={self.preset!r} is none of {', '.join(PRESETS)}")
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise ValueError(f"device={self.device!r} is none of auto, cpu, cuda, cuda:N")

    @property
    def threads(self) -> int:
        """How many threads decode and augment."""
        if self.workers is not None:
            return self.workers
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return min(cores, _MOST_WORKERS)
