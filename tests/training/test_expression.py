"""The classifier learns, says how well on samples it did not see, survives its files, and names what it cannot use."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fitting.face_model import ArkitMap, FaceModel
from training import face_reader
from training.classification_metrics import classification_metrics, expected_calibration_error
from training.expression import train_expression
from training.expression_classifier import load_expression
from training.expression_machines import fit_estimator, folds
from training.expression_options import CLASSES, ExpressionOptions
from training.labels import read_labels
from training.prototypes import ARKIT_FROM_AU

UNITS = tuple(sorted({name for weights in ARKIT_FROM_AU.values() for name in weights}))
FAST = ExpressionOptions(per_class=30, folds=3)


@pytest.fixture(scope="module")
def face_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "toy.npz"
    FaceModel(
        name="toy",
        mean_mm=np.zeros((3, 3), np.float32),
        identity_basis_mm=np.zeros((2, 3, 3), np.float32),
        expression_basis_mm=np.zeros((len(UNITS), 3, 3), np.float32),
        triangles=np.array([[0, 1, 2]], np.int32),
        landmarks={},
        mirror_vertex=None,
        neutral_expression=np.zeros(len(UNITS), np.float32),
        arkit=ArkitMap(
            names=UNITS,
            offset=np.full(len(UNITS), 0.1, np.float32),
            matrix=(0.2 * np.eye(len(UNITS))).astype(np.float32),
        ),
        licence="CC0-1.0",
        source="made in a test",
    ).save(path)
    return path


def write_labels(path: Path, *, per_class: int, subjects: int | None, seed: int = 0) -> Path:
    """Two clear coefficients per class, in as many columns as the toy model has."""
    rng = np.random.default_rng(seed)
    header = [f"e{index}" for index in range(len(UNITS))] + ["label"] + (["subject_id"] if subjects else [])
    lines = [",".join(header)]
    for index, name in enumerate(CLASSES):
        for sample in range(per_class):
            values = rng.normal(scale=0.3, size=len(UNITS))
            values[index] += 3.0
            row = [f"{value:.4f}" for value in values] + [name] + ([f"s{sample % subjects}"] if subjects else [])
            lines.append(",".join(row))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_training_on_prototypes_says_so_everywhere(face_model: Path, tmp_path: Path) -> None:
    said: list[str] = []
    result = train_expression(
        tmp_path / "model", model_path=face_model, prototypes=True, labels=None, deepexp3d=None, options=FAST,
        report=said.append,
    )
    metrics = json.loads((tmp_path / "model" / "metrics.json").read_text())
    card = (tmp_path / "model" / "README.md").read_text()
    assert result.trained_on == metrics["trained_on"] == "prototypes"
    assert metrics["person_labels"] is False
    assert "No person's face" in said[0]
    assert "No person's face was used for the labels." in card
    assert "does not tell what the person feels" in card
    assert "Article 5(1)(f)" in card
    assert "synthetic" in said[-1]
    assert metrics["accuracy"] > 0.9
    assert metrics["per_class"]["fear"]["n"] == 30
    assert np.sum(metrics["confusion_matrix"]) == 7 * 30


def test_a_saved_classifier_gives_the_same_probabilities(face_model: Path, tmp_path: Path) -> None:
    labels = write_labels(tmp_path / "labels.csv", per_class=12, subjects=None)
    train_expression(
        tmp_path / "model", model_path=face_model, prototypes=False, labels=labels, deepexp3d=None, options=FAST,
        report=lambda _: None,
    )
    classifier = load_expression(tmp_path / "model")
    clear = np.zeros((7, len(UNITS)), np.float32)
    clear[np.arange(7), np.arange(7)] = 3.0
    probabilities = classifier.probabilities(clear)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-5)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), np.arange(7))
    np.testing.assert_array_equal(load_expression(tmp_path / "model").probabilities(clear), probabilities)
    assert classifier.config.trained_on == "labels"
    assert classifier.config.classes == CLASSES
    assert classifier.probabilities(np.zeros((0, len(UNITS)), np.float32)).shape == (0, 7)
    with pytest.raises(ValueError, match="coefficients has 3 columns, but the classifier reads"):
        classifier.probabilities(np.zeros((1, 3), np.float32))


def test_labels_without_meaning_are_not_learned(face_model: Path, tmp_path: Path) -> None:
    # The law behind cross-validation: on shuffled labels the reported accuracy is chance, not the training score.
    lines = write_labels(tmp_path / "clear.csv", per_class=40, subjects=None).read_text().splitlines()
    names = np.random.default_rng(1).permutation([line.rsplit(",", 1)[1] for line in lines[1:]])
    rows = [f"{line.rsplit(',', 1)[0]},{name}" for line, name in zip(lines[1:], names, strict=True)]
    shuffled = tmp_path / "shuffled.csv"
    shuffled.write_text("\n".join([lines[0], *rows]) + "\n")
    result = train_expression(
        tmp_path / "model", model_path=face_model, prototypes=False, labels=shuffled, deepexp3d=None, options=FAST,
        report=lambda _: None,
    )
    assert result.metrics["accuracy"] < 1 / 7 + 0.12


def test_no_subject_is_on_both_sides_of_a_fold() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(7), 40)
    groups = rng.integers(0, 12, size=len(labels))
    tested = np.zeros(len(labels), dtype=int)
    for train, test in folds(labels, groups, 4, 0):
        assert not set(groups[train]) & set(groups[test])
        tested[test] += 1
    np.testing.assert_array_equal(tested, 1)


def test_a_class_with_too_few_samples_is_named(face_model: Path, tmp_path: Path) -> None:
    path = write_labels(tmp_path / "labels.csv", per_class=4, subjects=2)
    with pytest.raises(ValueError, match=r"folds=3 needs at least as many subjects .* neutral 2.*; lower it to 2"):
        train_expression(
            tmp_path / "model", model_path=face_model, prototypes=False, labels=path, deepexp3d=None, options=FAST,
            report=lambda _: None,
        )
    assert not (tmp_path / "model").exists()


def test_too_few_labels_are_told_before_any_image_is_read(
    face_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    classes = [name for name in CLASSES if name != "surprise"]
    lines = ["image,label", *(f"a.png,{name}" for name in classes for _ in range(3))]
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    monkeypatch.setattr(face_reader, "FaceReader", lambda **_: pytest.fail("the images are read first"))
    with pytest.raises(ValueError, match="there are: surprise 0; add some: all seven classes must be there"):
        train_expression(
            tmp_path / "model", model_path=face_model, prototypes=False, labels=tmp_path / "labels.csv",
            deepexp3d=tmp_path, options=FAST, report=lambda _: None,
        )


def test_a_labels_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"labels='.*none\.csv': there is no such file"):
        read_labels(tmp_path / "none.csv", n_expression=2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("image,label\n".encode("utf-16"), r"labels\.csv is no UTF-8 text"),
        (b'image,label\n"' + b"a" * 200_000 + b'",happy\n', r"labels\.csv is no CSV file: field larger"),
    ],
    ids=["utf-16", "endless-field"],
)
def test_what_is_no_table_of_labels_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_labels(tmp_path / "labels.csv", n_expression=2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,label\nmissing.png,fear\n", "line 2: there is no image 'missing.png'"),
        ("image,label\nhere.png,joyful\n", "line 2: label 'joyful' is none of neutral"),
        ("image,label,subject_id\nhere.png,happy,\n", "line 2: subject_id is empty"),
        ("image,label\nhere.png,fear\n", "names images: give deepexp3d"),
        ("image,label\n", "has no rows"),
        ("e0,label\n1,fear\n", "needs the columns label and image, or label and e0 to e"),
        (",".join([f"e{i}" for i in range(len(UNITS))]) + ",label\n" + "nan," * len(UNITS) + "fear\n", "not finite"),
    ],
)
def test_a_wrong_labels_file_is_refused_by_line(face_model: Path, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "here.png").write_bytes(b"")
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        train_expression(
            tmp_path / "model", model_path=face_model, prototypes=False, labels=tmp_path / "labels.csv",
            deepexp3d=None, options=FAST, report=lambda _: None,
        )


@pytest.mark.parametrize("prototypes", [True, False])
def test_prototypes_and_labels_exclude_each_other(face_model: Path, tmp_path: Path, prototypes: bool) -> None:
    with pytest.raises(ValueError, match="give either prototypes"):
        train_expression(
            tmp_path / "model", model_path=face_model, prototypes=prototypes,
            labels=tmp_path / "labels.csv" if prototypes else None, deepexp3d=None, options=FAST, report=lambda _: None,
        )


def test_a_foreign_type_in_the_weights_is_refused_before_it_is_built(face_model: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    train_expression(
        model, model_path=face_model, prototypes=True, labels=None, deepexp3d=None, options=FAST, report=lambda _: None
    )
    with zipfile.ZipFile(model / "classifier.skops") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(members["schema.json"])
    schema["__module__"], schema["__class__"] = "subprocess", "Popen"
    with zipfile.ZipFile(model / "classifier.skops", "w") as archive:
        for name, data in (members | {"schema.json": json.dumps(schema).encode()}).items():
            archive.writestr(name, data)
    with pytest.raises(ValueError, match=r"types that an expression classifier does not have: subprocess\.Popen"):
        load_expression(model)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "does not describe an expression classifier"),
        ('{"format": "facevid-deepexp3d", "format_version": 1}', "does not describe an expression classifier"),
        ('{"format": "facevid-expression", "format_version": 2}', "has format_version 2; this program reads 1"),
        ('{"format": "facevid-expression", "format_version": 1}', "is incomplete or altered: 'classes'"),
    ],
)
def test_a_folder_that_is_no_classifier_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"config\.json is missing"):
        load_expression(tmp_path)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_expression(tmp_path)


def test_a_model_is_never_overwritten(face_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="exists already; choose another folder"):
        train_expression(
            tmp_path, model_path=face_model, prototypes=True, labels=None, deepexp3d=None, options=FAST,
            report=lambda _: None,
        )
    assert not any(tmp_path.iterdir())


def test_the_temperature_is_found_on_samples_that_the_machines_did_not_see() -> None:
    # Twice as many labels wrong as an overfitted machine would admit: probabilities must own up to it.
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 7, 500)
    coefficients = rng.normal(size=(500, 7))
    coefficients[np.arange(500), labels] += 1.5
    new_labels = rng.integers(0, 7, 500)
    new = rng.normal(size=(500, 7))
    new[np.arange(500), new_labels] += 1.5
    probabilities = fit_estimator(coefficients, labels, None, penalty=10.0, seed=0).predict_proba(new)
    assert expected_calibration_error(probabilities, new_labels) < 0.08


def test_metrics_of_a_hand_made_case() -> None:
    labels = np.array([0, 0, 0, 1])
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8], [0.2, 0.8]])
    metrics = classification_metrics(probabilities, labels, np.array([0, 1, 0, 1]), ("a", "b"))
    assert metrics["accuracy"] == 0.75
    assert metrics["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert metrics["confusion_matrix"] == [[2, 1], [0, 1]]
    assert metrics["per_class"]["b"] == pytest.approx({"precision": 0.5, "recall": 1.0, "f1": 2 / 3, "n": 1})
    # Bin of 0.9: 2 samples, right both, gap 0.1. Bin of 0.8: 2 samples, right once, gap 0.3.
    assert metrics["expected_calibration_error"] == pytest.approx(0.2)
    assert metrics["accuracy_most_frequent_class"] == 0.75
    assert metrics["accuracy_fold_mean"] == pytest.approx(0.75)
    assert metrics["accuracy_fold_sd"] == pytest.approx(np.std([0.5, 1.0], ddof=1))
