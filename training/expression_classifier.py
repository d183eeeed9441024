"""The classifier of expression coefficients, and its files.

What it consists of is the matter of `training.expression_machines`; to describe one, nothing of that is loaded.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Float32

FORMAT = "facevid-expression"
FORMAT_VERSION = 1
WEIGHTS_FILE = "classifier.skops"
CONFIG_FILE = "config.json"
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


def save_classifier(classifier: ExpressionClassifier, folder: Path) -> None:
    """Write the classifier into a folder, as a skops archive, which holds no code, and a configuration as JSON."""
    import skops.io

    skops.io.dump(classifier.estimator, folder / WEIGHTS_FILE)
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
    import skops.io  # with scikit-learn, which takes two seconds to load

    unknown = sorted(set(skops.io.get_untrusted_types(file=weights)) - _TRUSTED)
    if unknown:
        raise ValueError(f"{weights} holds types that an expression classifier does not have: {', '.join(unknown)}")
    return ExpressionClassifier(config=config, estimator=skops.io.load(weights, trusted=sorted(_TRUSTED)))
