"""Synthetic expression coefficients around FACS prototypes: what the classifier learns from when nobody gave it labels.

Which action units (AUs) a posed expression shows is taken from two published tables, each used for half of
the samples: the EMFACS combinations (Ekman and Friesen's prototypes, as printed under figure 7 of
doi 10.1038/s41598-024-62902-6) and the shares of 230 people observed by Du, Tao and Martinez (PNAS 2014, table 1).
AUs become ARKit-named blendshape weights by the names' FACS equivalents (our table below; compare M. Ozel, "ARKit to
FACS cheat sheet"), and weights become coefficients through the face model's `ArkitMap`.

No person's face is behind these samples: they say how an expression is posed by the book, not how people look.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from jaxtyping import Float32, Float64, Int64

from fitting.face_model import ArkitMap, FaceModel
from training.expression_options import CLASSES

ARKIT_FROM_AU: Mapping[int, Mapping[str, float]] = MappingProxyType({
    1: {"browInnerUp": 1.0},
    2: {"browOuterUpLeft": 1.0, "browOuterUpRight": 1.0},
    4: {"browDownLeft": 1.0, "browDownRight": 1.0},
    5: {"eyeWideLeft": 1.0, "eyeWideRight": 1.0},
    6: {"cheekSquintLeft": 1.0, "cheekSquintRight": 1.0, "eyeSquintLeft": 0.3, "eyeSquintRight": 0.3},
    7: {"eyeSquintLeft": 1.0, "eyeSquintRight": 1.0},
    9: {"noseSneerLeft": 1.0, "noseSneerRight": 1.0, "mouthUpperUpLeft": 0.2, "mouthUpperUpRight": 0.2},
    10: {"mouthUpperUpLeft": 1.0, "mouthUpperUpRight": 1.0},
    12: {"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0},
    15: {"mouthFrownLeft": 1.0, "mouthFrownRight": 1.0},
    16: {"mouthLowerDownLeft": 1.0, "mouthLowerDownRight": 1.0},
    17: {"mouthShrugLower": 1.0, "mouthShrugUpper": 0.4},
    20: {"mouthStretchLeft": 1.0, "mouthStretchRight": 1.0},
    # ARKit has no lip tightener and no "lips part": the nearest units stand in for AU 23 and AU 25.
    23: {"mouthPressLeft": 0.5, "mouthPressRight": 0.5, "mouthRollLower": 0.4, "mouthRollUpper": 0.4},
    24: {"mouthPressLeft": 1.0, "mouthPressRight": 1.0},
    25: {"mouthLowerDownLeft": 0.3, "mouthLowerDownRight": 0.3, "mouthUpperUpLeft": 0.15, "mouthUpperUpRight": 0.15,
         "jawOpen": 0.12},
    26: {"jawOpen": 0.5},
})
"""ARKit weights of each action unit at full intensity."""

EMFACS: Mapping[str, Mapping[int, float]] = MappingProxyType({
    "neutral": {},
    "anger": {4: 1.0, 5: 1.0, 7: 1.0, 23: 1.0},
    "disgust": {9: 1.0, 15: 1.0, 16: 1.0},
    "fear": {1: 1.0, 2: 1.0, 4: 1.0, 5: 1.0, 7: 1.0, 20: 1.0, 26: 1.0},
    "happiness": {6: 1.0, 12: 1.0},
    "sadness": {1: 1.0, 4: 1.0, 15: 1.0},
    "surprise": {1: 1.0, 2: 1.0, 5: 1.0, 26: 1.0},
})
"""Share of samples that show each action unit: by the book, all of them."""

OBSERVED: Mapping[str, Mapping[int, float]] = MappingProxyType({
    "neutral": {},
    "anger": {4: 1.0, 7: 1.0, 24: 1.0, 10: 0.26, 17: 0.52, 23: 0.29},
    "disgust": {9: 1.0, 10: 1.0, 17: 1.0, 4: 0.31, 24: 0.26},
    "fear": {1: 1.0, 4: 1.0, 20: 1.0, 25: 1.0, 2: 0.57, 5: 0.63, 26: 0.33},
    "happiness": {12: 1.0, 25: 1.0, 6: 0.51},
    "sadness": {4: 1.0, 15: 1.0, 1: 0.60, 6: 0.50, 17: 0.67},  # and AU 11 (26 %), which ARKit cannot show
    "surprise": {1: 1.0, 2: 1.0, 25: 1.0, 26: 1.0, 5: 0.66},
})
"""Share of people who show each action unit (Du, Tao and Martinez); units seen in over 70 % count as 1."""

# Our choices, by what the tracks of real videos look like; none of them is in a publication.
_INTENSITY = (0.3, 1.0)
_UNIT_SPREAD = 0.25
_SIDE_SPREAD = 0.15
_OTHER_UNITS = 0.06
_SPEECH_SHARE = 0.3
_SPEECH_WEIGHTS = {"jawOpen": 0.25, "mouthFunnel": 0.3, "mouthPucker": 0.3, "mouthClose": 0.15}
_BLINK_SHARE = 0.1
# The posterior deviation of a fit is about 0.5 per coefficient, and resting faces of people differ by as much again.
_COEFFICIENT_NOISE = 0.7
_WEIGHT_SPREAD = 0.1


def sample_prototypes(
    model: FaceModel, per_class: int, seed: int
) -> tuple[Float32[np.ndarray, "samples n_expression"], Int64[np.ndarray, " samples"]]:
    """Coefficients of posed expressions, equally many of each class.

    Every sample has its own intensity (0.3 to 1, times 1 +- 0.25 per unit), left and right sides that differ
    by 15 %, other units at up to a few per cent, speech (a moving mouth) in 30 % and a blink in 10 % whatever
    the class, and coefficient noise of 0.7 standard deviations: what a fit is unsure of, and how people at rest differ.

    Args:
        model: A face model with an ARKit map.
        per_class: Samples of each class.
        seed: Same seed, same samples.

    Returns:
        Coefficients in standard deviations, and indices into `CLASSES`, class by class.

    Raises:
        ValueError: The model has no ARKit map, or the map lacks a unit that a prototype needs, or
            `per_class` is not positive.
    """
    if per_class < 1:
        raise ValueError(f"per_class={per_class} must be at least 1")
    if model.arkit is None:
        raise ValueError(f"face model {model.name!r} has no ARKit map, which prototypes need; use labels instead")
    rng = np.random.default_rng(seed)
    weights = np.concatenate([_sample_weights(model.arkit, name, per_class, rng) for name in CLASSES])
    clean = coefficients_from_weights(model.arkit, weights)
    noisy = clean + rng.normal(scale=_COEFFICIENT_NOISE, size=clean.shape)
    return noisy.astype(np.float32), np.repeat(np.arange(len(CLASSES), dtype=np.int64), per_class)


def coefficients_from_weights(
    arkit: ArkitMap, weights: Float64[np.ndarray, "*batch units"]
) -> Float64[np.ndarray, "*batch n_expression"]:
    """The most probable coefficients of a face whose ARKit weights are known to +- 0.1.

    The minimum of `|offset + matrix e - w|^2 / 0.1^2 + |e|^2`: least squares through the map, with the
    unit Gaussian prior of the coefficients, so that units that the basis hardly spans cannot blow them up.
    """
    matrix = arkit.matrix.astype(np.float64)
    normal = matrix.T @ matrix + _WEIGHT_SPREAD**2 * np.eye(matrix.shape[1])
    return np.asarray(np.linalg.solve(normal, matrix.T @ (weights - arkit.offset)[..., None])[..., 0])


def _sample_weights(
    arkit: ArkitMap, expression: str, count: int, rng: np.random.Generator
) -> Float64[np.ndarray, "count units"]:
    column = {name: index for index, name in enumerate(arkit.names)}
    weights = np.abs(rng.normal(scale=_OTHER_UNITS, size=(count, len(arkit.names))))
    by_the_book = rng.random(count) < 0.5
    intensity = rng.uniform(*_INTENSITY, size=count)
    for unit in sorted(EMFACS[expression].keys() | OBSERVED[expression].keys()):
        share = np.where(by_the_book, EMFACS[expression].get(unit, 0.0), OBSERVED[expression].get(unit, 0.0))
        shown = rng.random(count) < share
        strength = np.clip(intensity * (1 + rng.normal(scale=_UNIT_SPREAD, size=count)), 0, 1) * shown
        for name, weight in ARKIT_FROM_AU[unit].items():
            if name not in column:
                raise ValueError(f"the face model's ARKit map has no unit {name!r}, which AU {unit} needs")
            weights[:, column[name]] += weight * strength
    speaking = rng.random(count) < _SPEECH_SHARE
    for name, most in _SPEECH_WEIGHTS.items():
        if name in column:
            weights[:, column[name]] += speaking * rng.uniform(0, most, size=count)
    blink = (rng.random(count) < _BLINK_SHARE) * rng.uniform(0.3, 1.0, size=count)
    for name, index in column.items():
        if name.startswith("eyeBlink"):
            weights[:, index] += blink
    sides = 1 + _SIDE_SPREAD * np.clip(rng.normal(size=count), -2, 2)
    for name, index in column.items():
        if name.endswith("Left"):
            weights[:, index] *= sides
        elif name.endswith("Right"):
            weights[:, index] *= 2 - sides
    return np.clip(weights, 0, 1)
