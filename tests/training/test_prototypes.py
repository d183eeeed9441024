"""Synthetic coefficients show what their class says, and nothing else decides them but the seed."""

from dataclasses import replace

import numpy as np
import pytest

from fitting.face_model import ArkitMap, FaceModel
from training import prototypes
from training.expression_options import CLASSES
from training.prototypes import ARKIT_FROM_AU, EMFACS, OBSERVED, coefficients_from_weights, sample_prototypes

USED = {name for weights in ARKIT_FROM_AU.values() for name in weights}
UNITS = tuple(sorted(USED | {"eyeBlinkLeft", "mouthFunnel"}))


def model_with(arkit: ArkitMap | None) -> FaceModel:
    n_expression = 28 if arkit is None else arkit.matrix.shape[1]
    return FaceModel(
        name="toy",
        mean_mm=np.zeros((3, 3), np.float32),
        identity_basis_mm=np.zeros((2, 3, 3), np.float32),
        expression_basis_mm=np.zeros((n_expression, 3, 3), np.float32),
        triangles=np.array([[0, 1, 2]], np.int32),
        landmarks={},
        mirror_vertex=None,
        neutral_expression=np.zeros(n_expression, np.float32),
        arkit=arkit,
        licence="CC0-1.0",
        source="made in a test",
    )


def one_component_per_unit(names: tuple[str, ...] = UNITS) -> ArkitMap:
    return ArkitMap(
        names=names,
        offset=np.full(len(names), 0.1, np.float32),
        matrix=(0.2 * np.eye(len(names))).astype(np.float32),
    )


def mean_weight(samples: np.ndarray, labels: np.ndarray, expression: str, unit: str) -> float:
    weights = 0.1 + 0.2 * samples[labels == CLASSES.index(expression)]
    return float(weights[:, UNITS.index(unit)].mean())


def test_each_class_moves_the_units_of_its_prototype_and_neutral_moves_none() -> None:
    samples, labels = sample_prototypes(model_with(one_component_per_unit()), 200, 0)
    for expression in CLASSES[1:]:
        for unit, share in EMFACS[expression].items():
            if share * OBSERVED[expression].get(unit, 0.0) < 1.0:
                continue
            for name, full in ARKIT_FROM_AU[unit].items():
                if full == 1.0:
                    shown = mean_weight(samples, labels, expression, name)
                    assert shown > 0.4, (expression, name)
                    assert shown > mean_weight(samples, labels, "neutral", name) + 0.3, (expression, name)


def test_a_smile_raises_the_corners_on_both_sides_but_not_the_brows() -> None:
    samples, labels = sample_prototypes(model_with(one_component_per_unit()), 200, 0)
    assert mean_weight(samples, labels, "happiness", "mouthSmileLeft") > 0.5
    assert mean_weight(samples, labels, "happiness", "mouthSmileRight") > 0.5
    assert mean_weight(samples, labels, "happiness", "browInnerUp") < 0.15


def test_units_in_brackets_are_shown_by_the_published_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prototypes, "_COEFFICIENT_NOISE", 0.0)
    # Du, Tao and Martinez: 51 % of the happy faces show AU 6, and by the book (the other half) all of them.
    samples, labels = sample_prototypes(model_with(one_component_per_unit()), 2000, 3)
    cheek = 0.1 + 0.2 * samples[labels == CLASSES.index("happiness"), UNITS.index("cheekSquintLeft")]
    assert float((cheek > 0.25).mean()) == pytest.approx(0.5 + 0.5 * 0.51, abs=0.05)


def test_samples_are_balanced_and_depend_on_the_seed_alone() -> None:
    model = model_with(one_component_per_unit())
    first, labels = sample_prototypes(model, 20, 7)
    again, _ = sample_prototypes(model, 20, 7)
    other, _ = sample_prototypes(model, 20, 8)
    assert first.shape == (140, len(UNITS))
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(np.bincount(labels), [20] * 7)


def test_coefficients_give_back_the_weights_that_the_basis_spans() -> None:
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.normal(size=(40, 28)))
    arkit = ArkitMap(
        names=tuple(f"unit{index}" for index in range(40)),
        offset=rng.uniform(0, 0.3, 40).astype(np.float32),
        matrix=(2.0 * basis).astype(np.float32),
    )
    true = rng.normal(size=(5, 28))
    found = coefficients_from_weights(arkit, arkit.offset + true @ arkit.matrix.astype(float).T)
    # With an orthogonal basis of length 2 and a prior at 0.1, the answer shrinks by exactly 4 / (4 + 0.01).
    np.testing.assert_allclose(found, true * 4 / 4.01, atol=1e-5)


def test_a_model_that_cannot_show_the_units_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="face model 'toy' has no ARKit map"):
        sample_prototypes(model_with(None), 3, 0)
    without_smile = tuple(name for name in UNITS if not name.startswith("mouthSmile"))
    with pytest.raises(ValueError, match="no unit 'mouthSmileLeft', which AU 12 needs"):
        sample_prototypes(model_with(one_component_per_unit(without_smile)), 3, 0)
    with pytest.raises(ValueError, match="per_class=0 must be at least 1"):
        sample_prototypes(replace(model_with(one_component_per_unit())), 0, 0)
