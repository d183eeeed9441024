"""The paper's classifier of expression coefficients, and its files: error-correcting output codes over SVMs.

The code book is one-versus-all, as in the paper: one binary support vector machine per class, decoded by the largest
decision value, which for this code book is what loss-weighted decoding picks too. The paper does not tell kernel,
penalty or scaling; ours are an RBF kernel on standardised coefficients with balanced class weights.
Probabilities are a softmax of the decision values over one temperature, found on held-out folds.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import skops.io
from jaxtyping import Float, Float32, Integer
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from training.expression_options import CLASSES

FORMAT = "facevid-expression"
FORMAT_VERSION = 1
WEIGHTS_FILE = "classifier.skops"
CONFIG_FILE = "config.json"
_CALIBRATION_FOLDS = 3
_TRUSTED = frozenset({
    # What our own classifier consists of besides what skops trusts by itself. A file that holds more is refused.
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._TemperatureScaling",
})

TrainedOn = Literal["prototypes", "labels"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpressionConfig:
    """What a classifier needs to be told to be used, written beside it as JSON.

    Attributes:
        classes: Names of the classes, in the order of the probabilities.
        n_expression: Number of expression coefficients.
        face_model: Name of the face model whose coefficients it reads.
        face_model_sha256: Hash of that face model's file; coefficients of another model mean other faces.
        trained_on: `prototypes` where no person's face was behind the labels.
    """

    classes: tuple[str, ...]
    n_expression: int
    face_model: str
    face_model_sha256: str
    trained_on: TrainedOn


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpressionClassifier:
    """A fitted classifier.

    Attributes:
        config: Its classes and the face model it belongs to.
        estimator: The calibrated scikit-learn pipeline.
    """

    config: ExpressionConfig
    estimator: Any

    def probabilities(
        self, coefficients: Float[np.ndarray, "faces n_expression"]
    ) -> Float32[np.ndarray, "faces classes"]:
        """The probability of each class for each face, summing to 1.

        Raises:
            ValueError: The number of coefficients is not the classifier's, or one is not finite.
        """
        if coefficients.shape[1] != self.config.n_expression:
            raise ValueError(
                f"coefficients has {coefficients.shape[1]} columns, but the classifier reads {self.config.n_expression}"
            )
        if not len(coefficients):
            return np.zeros((0, len(self.config.classes)), dtype=np.float32)
        probabilities: Float32[np.ndarray, "faces classes"] = np.zeros(
            (len(coefficients), len(self.config.classes)), dtype=np.float32
        )
        probabilities[:, self.estimator.classes_] = self.estimator.predict_proba(coefficients.astype(np.float64))
        return probabilities


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
    return calibrated.fit(coefficients.astype(np.float64), labels)


def save_classifier(classifier: ExpressionClassifier, folder: Path) -> None:
    """Write the classifier into a folder, as a skops archive, which holds no code, and a configuration as JSON."""
    estimator = classifier.estimator
    # The splits were only needed to fit; saved, they would be most of the file.
    estimator.set_params(cv=_CALIBRATION_FOLDS)
    skops.io.dump(estimator, folder / WEIGHTS_FILE)
    about = {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(classifier.config)}
    (folder / CONFIG_FILE).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def load_expression(folder: Path) -> ExpressionClassifier:
    """Read a classifier. Nothing in the folder is executed.

    Raises:
        FileNotFoundError: The folder holds no classifier.
        ValueError: The files are not ours, of another version, altered, or hold types that we do not write.
    """
    config_path = folder / CONFIG_FILE
    if not config_path.is_file():
        raise FileNotFoundError(f"{folder} holds no expression classifier: {CONFIG_FILE} is missing")
    try:
        raw = json.loads(config_path.read_text("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{config_path} is not JSON: {error}") from error
    if not isinstance(raw, dict) or raw.pop("format", None) != FORMAT:
        raise ValueError(f"{config_path} does not describe an expression classifier")
    if (seen := raw.pop("format_version", None)) != FORMAT_VERSION:
        raise ValueError(f"{config_path} has format_version {seen!r}; this program reads {FORMAT_VERSION}")
    try:
        config = ExpressionConfig(**{**raw, "classes": tuple(raw["classes"])})
    except (KeyError, TypeError) as error:
        raise ValueError(f"{config_path} is incomplete or altered: {error}") from error
    weights = folder / WEIGHTS_FILE
    if not weights.is_file():
        raise FileNotFoundError(f"{folder} holds no expression classifier: {WEIGHTS_FILE} is missing")
    unknown = sorted(set(skops.io.get_untrusted_types(file=weights)) - _TRUSTED)
    if unknown:
        raise ValueError(f"{weights} holds types that an expression classifier does not have: {', '.join(unknown)}")
    return ExpressionClassifier(config=config, estimator=skops.io.load(weights, trusted=sorted(_TRUSTED)))
