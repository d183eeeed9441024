"""How good class probabilities are, measured on samples that the classifier was not fitted to."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Integer
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
    recall_score,
)

_BINS = 15


def expected_calibration_error(
    probabilities: Float[np.ndarray, "samples classes"], labels: Integer[np.ndarray, " samples"]
) -> float:
    """Mean gap between the stated probability of the top class and how often it is right, 0 to 1.

    Over 15 equal bins of the top probability, weighted by their counts (Guo et al., ICML 2017, eq. 3).
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    total = 0.0
    for index in np.unique(bins):
        inside = bins == index
        total += inside.mean() * abs(float(right[inside].mean()) - float(confidence[inside].mean()))
    return float(total)


def classification_metrics(
    probabilities: Float[np.ndarray, "samples classes"],
    labels: Integer[np.ndarray, " samples"],
    fold: Integer[np.ndarray, " samples"],
    classes: Sequence[str],
) -> dict[str, Any]:
    """All metrics of out-of-fold predictions, ready for JSON.

    Args:
        probabilities: Predicted by the fold's classifier, which had not seen the sample.
        labels: Index of the true class.
        fold: Which fold each sample was tested in.
        classes: Names of the classes.

    Returns:
        Accuracy, balanced accuracy and macro F1 over all samples and as mean and sd over folds, precision,
        recall, F1 and count per class, the confusion matrix (rows: true class), the calibration error, and the accuracy
        of always saying the most frequent class.
    """
    predicted = probabilities.argmax(axis=1)
    scores = {
        "accuracy": accuracy_score,
        # Mean recall of the classes that occur, which in a small fold may not be all of them.
        "balanced_accuracy": lambda true, seen: recall_score(
            true, seen, labels=np.unique(true), average="macro", zero_division=0.0
        ),
        "macro_f1": lambda true, seen: f1_score(true, seen, average="macro", zero_division=0.0),
    }
    per_fold = {
        name: np.array([score(labels[fold == index], predicted[fold == index]) for index in np.unique(fold)])
        for name, score in scores.items()
    }
    indices = np.arange(len(classes))
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=indices, zero_division=0.0
    )
    return {
        "samples": len(labels),
        "folds": len(np.unique(fold)),
        **{name: float(score(labels, predicted)) for name, score in scores.items()},
        **{f"{name}_fold_mean": float(values.mean()) for name, values in per_fold.items()},
        **{f"{name}_fold_sd": float(values.std(ddof=1)) for name, values in per_fold.items()},
        "accuracy_most_frequent_class": float(support.max() / len(labels)),
        "expected_calibration_error": expected_calibration_error(probabilities, labels),
        "per_class": {
            name: {
                "precision": float(precision[index]),
                "recall": float(recall[index]),
                "f1": float(f1[index]),
                "n": int(support[index]),
            }
            for index, name in enumerate(classes)
        },
        "confusion_matrix": confusion_matrix(labels, predicted, labels=indices).tolist(),
        "classes": list(classes),
    }
