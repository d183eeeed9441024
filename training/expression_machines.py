"""The paper's classifier of expression coefficients: error-correcting output codes over SVMs.

The code book is one-versus-all, as in the paper: one binary support vector machine per class, decoded by the largest
decision value, which for this code book is what loss-weighted decoding picks too. The paper does not tell kernel,
penalty or scaling; ours are an RBF kernel on standardised coefficients with balanced class weights.
Probabilities are a softmax of the decision values over one temperature, found on held-out folds.
"""

from typing import Any

import numpy as np
from jaxtyping import Float, Integer
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from training.expression_options import CLASSES

_CALIBRATION_FOLDS = 3


def folds(
    labels: Integer[np.ndarray, " samples"], groups: Integer[np.ndarray, " samples"] | None, count: int, seed: int
) -> list[tuple[Any, Any]]:
    """Train and test indices of each fold, stratified by class; no group is on both sides.

    Raises:
        ValueError: A class has fewer samples (or fewer groups) than folds.
    """
    for label in np.unique(labels):
        members = labels == label
        units = int(members.sum()) if groups is None else len(np.unique(groups[members]))
        if units < count:
            what = "samples" if groups is None else "subjects"
            raise ValueError(f"folds={count} is too many: class {CLASSES[int(label)]} has only {units} {what}")
    if groups is None:
        return list(StratifiedKFold(count, shuffle=True, random_state=seed).split(labels, labels))
    return list(StratifiedGroupKFold(count, shuffle=True, random_state=seed).split(labels, labels, groups))


def fit_estimator(
    coefficients: Float[np.ndarray, "samples n_expression"],
    labels: Integer[np.ndarray, " samples"],
    groups: Integer[np.ndarray, " samples"] | None,
    *,
    penalty: float,
    seed: int,
) -> CalibratedClassifierCV:
    """Fit the machines on all samples, and the temperature on held-out folds of them."""
    machines: Pipeline = make_pipeline(
        StandardScaler(),
        OneVsRestClassifier(SVC(C=penalty, kernel="rbf", gamma="scale", class_weight="balanced")),
    )
    splits = folds(labels, groups, _CALIBRATION_FOLDS, seed)
    calibrated = CalibratedClassifierCV(machines, method="temperature", cv=splits, ensemble=False)
    calibrated.fit(coefficients.astype(np.float64), labels)
    # The splits were only needed to fit; saved, they would be most of the file.
    return calibrated.set_params(cv=_CALIBRATION_FOLDS)
