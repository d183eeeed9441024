"""How well coefficients are predicted, on the face and per component, and against what knows nothing."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32

from facevid.counted import counted
from fitting.face_model import FaceModel
from training.config import TrainOptions
from training.examples import Examples
from training.loader import ordered_batches
from training.networks import ExpressionNetwork

_SMALL_VIDEOS = 5
_CHUNK = 256
_REPORT_EVERY_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Errors over the crops of one split. Vertex errors are mean distances over all vertices, mm.

    Attributes:
        split: Which split.
        crops: Crops evaluated.
        videos: Videos that these come from.
        vertex_error_mm: Of the predictions.
        vertex_error_mean_expression_mm: Of the training set's mean expression, predicted for every crop: the baseline.
        vertex_error_zero_mm: Of e = 0, the face model's mean expression (not the neutral face).
        relative_error: vertex_error_mm over the baseline; below 1 means that something was learned.
        pearson: Correlation of each component with its label over the crops; None where either does not vary.
        mean_pearson: Mean of those there are; None where there is none.
        remark: What to keep in mind when reading these numbers; empty where there is nothing.
    """

    split: str
    crops: int
    videos: int
    vertex_error_mm: float
    vertex_error_mean_expression_mm: float
    vertex_error_zero_mm: float
    relative_error: float | None
    pearson: tuple[float | None, ...]
    mean_pearson: float | None
    remark: str

    @property
    def errors(self) -> str:
        """The numbers alone, for a line that is said again and again."""
        correlation = "none" if self.mean_pearson is None else f"{self.mean_pearson:.2f}"
        return (
            f"{self.split}: vertex error {self.vertex_error_mm:.3f} mm (mean expression "
            f"{self.vertex_error_mean_expression_mm:.3f}, e = 0 {self.vertex_error_zero_mm:.3f}), "
            f"correlation {correlation}"
        )

    def __str__(self) -> str:
        text = f"{self.errors}, {counted(self.crops, 'crop')} of {counted(self.videos, 'video')}"
        return f"{text}. {self.remark}" if self.remark else text


def evaluate(
    network: ExpressionNetwork,
    examples: Examples,
    model: FaceModel,
    *,
    mean_expression: Float32[np.ndarray, " n_expression"],
    options: TrainOptions,
    device: torch.device,
    report: Callable[[str], None],
) -> Metrics | None:
    """Predict the crops of a split (at most `options.val_max_crops`, evenly spread) and compare with their labels.

    Args:
        network: The network.
        examples: The split.
        model: The face model of the labels.
        mean_expression: The training set's, which is what the network must beat.
        options: How many crops, in batches of which size.
        device: Where the network is.
        report: Receives a line every few seconds.

    Returns:
        The metrics, or None where the split is empty.
    """
    chosen = examples.evenly(options.val_max_crops)
    if not len(chosen):
        return None
    network.eval()
    predicted, done = [], 0
    began_s = reported_s = time.monotonic()
    with torch.inference_mode():
        for batch in ordered_batches(examples, chosen, batch_size=options.batch_size, workers=options.threads):
            crops = torch.from_numpy(batch.crops).to(device)
            predicted.append(network(crops).float().cpu().numpy())
            done += len(batch.crops)
            now_s = time.monotonic()
            if now_s - reported_s >= _REPORT_EVERY_S:
                reported_s = now_s
                rate = done / (now_s - began_s)
                report(
                    f"evaluating {examples.split}: {done} of {len(chosen)} crops, {rate:.0f}/s, "
                    f"about {(len(chosen) - done) / rate:.0f} s left"
                )
    videos = len(np.unique(examples.video[chosen]))
    return metrics_of(
        np.concatenate(predicted), examples.expression[chosen], model,
        mean_expression=mean_expression, split=examples.split, videos=videos,
    )


def metrics_of(
    predicted: Float32[np.ndarray, "crops n_expression"],
    labels: Float32[np.ndarray, "crops n_expression"],
    model: FaceModel,
    *,
    mean_expression: Float32[np.ndarray, " n_expression"],
    split: str,
    videos: int,
) -> Metrics:
    """The metrics of predictions that are there already; at least one crop."""
    basis = model.expression_basis_mm
    error, baseline, zero = (
        mean_vertex_distance_mm(difference, basis)
        for difference in (predicted - labels, mean_expression - labels, labels)
    )
    pearson = tuple(_pearson(predicted[:, k], labels[:, k]) for k in range(labels.shape[1]))
    known = [value for value in pearson if value is not None]
    relative = error / baseline if baseline > 0.0 else None
    return Metrics(
        split=split,
        crops=len(labels),
        videos=videos,
        vertex_error_mm=error,
        vertex_error_mean_expression_mm=baseline,
        vertex_error_zero_mm=zero,
        relative_error=relative,
        pearson=pearson,
        mean_pearson=float(np.mean(known)) if known else None,
        remark=_remark(split, videos, relative),
    )


def mean_vertex_distance_mm(
    difference: Float32[np.ndarray, "crops n_expression"], basis_mm: Float32[np.ndarray, "n_expression vertices 3"]
) -> float:
    """Mean over crops and vertices of the distance that a difference of coefficients moves a vertex, mm."""
    total = 0.0
    for start in range(0, len(difference), _CHUNK):
        moved = np.tensordot(difference[start : start + _CHUNK], basis_mm, axes=1)
        total += float(np.linalg.norm(moved, axis=2).mean(axis=1, dtype=np.float64).sum())
    return total / len(difference)


def _pearson(a: Float32[np.ndarray, " crops"], b: Float32[np.ndarray, " crops"]) -> float | None:
    left, right = (values.astype(np.float64) - values.mean(dtype=np.float64) for values in (a, b))
    scale = float(np.linalg.norm(left) * np.linalg.norm(right))
    return float(left @ right) / scale if scale > 1e-9 * len(a) else None


def _remark(split: str, videos: int, relative_error: float | None) -> str:
    if split == "train":
        return "These crops were trained on"
    remarks = []
    if relative_error is not None and relative_error >= 1.0:
        remarks.append("No better than always saying the training set's mean expression")
    if videos < _SMALL_VIDEOS:
        remarks.append(f"{videos} video(s) do not tell how the network does on people it has not seen")
    return "; ".join(remarks)
