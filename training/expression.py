"""Train the classifier of expressions: cross-validate as the paper did, then fit on everything and write the model.

Run it with `facevid train expression --prototypes --out models/expression`.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64

from fitting.face_model import DEFAULT_MODEL_PATH, FaceModel, load_face_model
from training.classification_metrics import classification_metrics
from training.expression_card import expression_card
from training.expression_classifier import ExpressionClassifier, ExpressionConfig, TrainedOn, save_classifier
from training.expression_machines import fit_estimator, folds
from training.expression_options import CLASSES, ExpressionOptions
from training.labels import check_counts, read_labels
from training.model_folder import model_folder
from training.prototypes import sample_prototypes

METRICS_FILE = "metrics.json"
CARD_FILE = "README.md"
_MISSED_LISTED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpressionResult:
    """What a training gave.

    Attributes:
        out: The model folder.
        trained_on: `prototypes` or `labels`.
        samples: Samples that were used.
        images_without_face: Labelled images in which no face was found.
        metrics: Everything that was measured, as written to `metrics.json`.
    """

    out: Path
    trained_on: TrainedOn
    samples: int
    images_without_face: tuple[str, ...]
    metrics: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Samples:
    coefficients: Float32[np.ndarray, "samples n_expression"]
    labels: Int64[np.ndarray, " samples"]
    groups: Int64[np.ndarray, " samples"] | None
    missed: tuple[str, ...]
    trained_on: TrainedOn


def train_expression(
    out: Path,
    *,
    model_path: Path | None,
    prototypes: bool,
    labels: Path | None,
    deepexp3d: Path | None,
    options: ExpressionOptions,
    report: Callable[[str], None],
) -> ExpressionResult:
    """Train a classifier and write its folder: weights, configuration, metrics, model card.

    Args:
        out: Folder of the model, which must not exist yet.
        model_path: Face model file whose coefficients are classified; None is FaceVid-CC0.
        prototypes: Train on synthetic coefficients around FACS prototypes.
        labels: Train on this file instead, see `training.labels.read_labels`.
        deepexp3d: DeepExp3D model folder; needed where the file names images.
        options: Folds, penalty, seed.
        report: Receives progress lines.

    Returns:
        The metrics of the cross-validation, in which every sample is scored by a classifier that did not see it.

    Raises:
        OSError: `out` cannot be written, which is told before the training.
        ValueError: `out` exists, not exactly one of `prototypes` and `labels`, a wrong labels file, too few
            samples of a class, or images without `deepexp3d`.
    """
    if prototypes == (labels is not None):
        raise ValueError("give either prototypes (--prototypes) or labels (--labels CSV), not both and not neither")
    with model_folder(out) as folder:
        face_model = load_face_model(model_path or DEFAULT_MODEL_PATH)
        began_s = time.monotonic()
        samples = _samples(face_model, labels, deepexp3d, options, report)
        check_counts(samples.labels, samples.groups, options.folds)
        metrics = _train(folder, face_model, samples, options, report)
    report(
        f"expression: accuracy {metrics['accuracy_fold_mean']:.3f} +- {metrics['accuracy_fold_sd']:.3f} over "
        f"{options.folds} folds (the most frequent class alone: {metrics['accuracy_most_frequent_class']:.3f}), "
        f"macro F1 {metrics['macro_f1']:.3f}, calibration error {metrics['expected_calibration_error']:.3f}, on "
        f"{len(samples.labels)} {'synthetic' if samples.trained_on == 'prototypes' else 'labelled'} samples, in "
        f"{time.monotonic() - began_s:.0f} s"
    )
    return ExpressionResult(
        out=out,
        trained_on=samples.trained_on,
        samples=len(samples.labels),
        images_without_face=samples.missed,
        metrics=metrics,
    )


def _samples(
    face_model: FaceModel, labels: Path | None, deepexp3d: Path | None, options: ExpressionOptions,
    report: Callable[[str], None],
) -> _Samples:
    if labels is not None:
        return _from_labels(labels, face_model, deepexp3d, options, report)
    report(
        f"expression: training on {options.per_class} synthetic samples of each class, drawn around FACS "
        "prototypes. No person's face is behind these labels; the accuracy says how well the prototypes can be "
        "told apart, not how well faces are read."
    )
    coefficients, classes = sample_prototypes(face_model, options.per_class, options.seed)
    return _Samples(coefficients=coefficients, labels=classes, groups=None, missed=(), trained_on="prototypes")


def _train(
    folder: Path, face_model: FaceModel, samples: _Samples, options: ExpressionOptions, report: Callable[[str], None]
) -> dict[str, Any]:
    metrics = _cross_validate(samples, options, report)
    metrics |= {
        "trained_on": samples.trained_on,
        "person_labels": samples.trained_on == "labels",
        "folds_grouped_by_subject": samples.groups is not None,
        "images_without_face": len(samples.missed),
        "images_without_face_listed": list(samples.missed[:_MISSED_LISTED]),
    }
    classifier = ExpressionClassifier(
        config=ExpressionConfig(
            classes=CLASSES,
            n_expression=face_model.n_expression,
            face_model=face_model.name,
            face_model_sha256=face_model.sha256,
            trained_on=samples.trained_on,
        ),
        estimator=fit_estimator(
            samples.coefficients, samples.labels, samples.groups, penalty=options.penalty, seed=options.seed
        ),
    )
    save_classifier(classifier, folder)
    text = json.dumps(metrics | {"options": asdict(options)}, indent=2)
    (folder / METRICS_FILE).write_text(text + "\n", encoding="utf-8")
    (folder / CARD_FILE).write_text(expression_card(classifier.config, metrics, options), encoding="utf-8")
    return metrics


def _from_labels(
    path: Path, face_model: FaceModel, deepexp3d: Path | None, options: ExpressionOptions,
    report: Callable[[str], None],
) -> _Samples:
    table = read_labels(path, n_expression=face_model.n_expression)
    if table.coefficients is not None:
        return _Samples(
            coefficients=table.coefficients, labels=table.labels, groups=table.groups, missed=(), trained_on="labels"
        )
    if deepexp3d is None:
        raise ValueError(f"{path} names images: give deepexp3d (--deepexp3d FOLDER), the model that reads them")
    check_counts(table.labels, table.groups, options.folds)  # before the images are read, which may take hours
    from facevid import assets
    from training.face_reader import FaceReader

    reader = FaceReader(
        networks=assets.fetch_landmark_networks(), deepexp3d=deepexp3d, face_model=face_model, device="cpu"
    )
    seen, rows = reader.read_images(table.images, report)
    missed = tuple(str(table.images[index]) for index in np.setdiff1d(np.arange(len(table.images)), seen).tolist())
    if missed:
        report(f"expression: no face in {len(missed)} of {len(table.images)} images, such as {missed[0]}; left out")
    return _Samples(
        coefficients=rows,
        labels=table.labels[seen],
        groups=None if table.groups is None else table.groups[seen],
        missed=missed,
        trained_on="labels",
    )


def _cross_validate(samples: _Samples, options: ExpressionOptions, report: Callable[[str], None]) -> dict[str, Any]:
    count = len(samples.labels)
    probabilities = np.zeros((count, len(CLASSES)))
    fold_of = np.zeros(count, dtype=np.int64)
    splits = folds(samples.labels, samples.groups, options.folds, options.seed)
    for index, (train, test) in enumerate(splits):
        groups = None if samples.groups is None else samples.groups[train]
        estimator = fit_estimator(
            samples.coefficients[train], samples.labels[train], groups, penalty=options.penalty, seed=options.seed
        )
        probabilities[np.ix_(test, estimator.classes_)] = estimator.predict_proba(
            samples.coefficients[test].astype(np.float64)
        )
        fold_of[test] = index
        right = float((probabilities[test].argmax(axis=1) == samples.labels[test]).mean())
        report(f"expression: fold {index + 1}/{options.folds}, accuracy {right:.3f} on {len(test)} samples")
    return classification_metrics(probabilities, samples.labels, fold_of, CLASSES)
