"""Labelled expressions from a CSV: either images of faces, or coefficients that somebody computed already."""

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64

from training.expression_options import CLASSES

_SYNONYMS = {
    "angry": "anger", "disgusted": "disgust", "fearful": "fear", "happy": "happiness", "sad": "sadness",
    "surprised": "surprise",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelTable:
    """What a labels file says, before any image is looked at.

    Attributes:
        labels: Index into `CLASSES`, per row.
        groups: Index of the subject, per row, or None where the file names no subjects.
        images: Path of the image, per row; empty where the file holds coefficients.
        coefficients: Coefficients, per row, or None where the file names images.
    """

    labels: Int64[np.ndarray, " rows"]
    groups: Int64[np.ndarray, " rows"] | None
    images: tuple[Path, ...]
    coefficients: Float32[np.ndarray, "rows n_expression"] | None


def read_labels(path: Path, *, n_expression: int) -> LabelTable:
    """Read a labels file.

    Columns: `label` (one of the seven classes, or the adjective such as `happy`), and either `image` (a path,
    relative to the file's folder) or `e0`, `e1`, ... (coefficients); `subject_id` is optional, but then every row
    has one, and no subject is on both sides of a fold.

    Args:
        path: CSV with a header, UTF-8.
        n_expression: Coefficients of the face model.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A column is missing or a row is wrong; the message names the line.
    """
    if not path.exists():
        raise FileNotFoundError(f"labels={str(path)!r}: there is no such file")
    try:
        return _read(path, n_expression)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8 text: {error}") from error
    except csv.Error as error:
        raise ValueError(f"{path} is no CSV file: {error}") from error


def _read(path: Path, n_expression: int) -> LabelTable:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or []
        wanted = [f"e{index}" for index in range(n_expression)]
        by_image = "image" in columns
        if "label" not in columns or not (by_image or set(wanted) <= set(columns)):
            raise ValueError(f"{path} needs the columns label and image, or label and e0 to e{n_expression - 1}")
        labels, subjects, images, coefficients = [], [], [], []
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            labels.append(_label(row["label"] or "", where))
            if "subject_id" in columns:
                if not row["subject_id"]:
                    raise ValueError(f"{where}: subject_id is empty; name it in every row, or leave the column out")
                subjects.append(row["subject_id"])
            if by_image:
                images.append(_image(path.parent, row["image"] or "", where))
            else:
                coefficients.append(_coefficients([row[name] or "" for name in wanted], where))
    if not labels:
        raise ValueError(f"{path} has no rows")
    return LabelTable(
        labels=np.array(labels, dtype=np.int64),
        groups=np.unique(subjects, return_inverse=True)[1].astype(np.int64) if subjects else None,
        images=tuple(images),
        coefficients=None if by_image else np.array(coefficients, dtype=np.float32),
    )


def check_counts(labels: Int64[np.ndarray, " rows"], groups: Int64[np.ndarray, " rows"] | None, folds: int) -> None:
    """Whether each of the seven classes can be spread over all folds.

    Raises:
        ValueError: A class has fewer samples (or subjects) than folds.
    """
    pairs = zip(labels.tolist(), range(len(labels)) if groups is None else groups.tolist(), strict=True)
    units = Counter(label for label, _ in set(pairs))
    what = "samples" if groups is None else "subjects"
    short = [f"{name} {units[index]}" for index, name in enumerate(CLASSES) if units[index] < folds]
    if short:
        fewest = min(units[index] for index in range(len(CLASSES)))
        remedy = f"lower it to {fewest}, or add some" if fewest >= 2 else "add some: all seven classes must be there"
        raise ValueError(
            f"folds={folds} needs at least as many {what} of each class; there are: {', '.join(short)}; {remedy}"
        )


def _label(text: str, where: str) -> int:
    name = text.strip().lower()
    name = _SYNONYMS.get(name, name)
    if name not in CLASSES:
        raise ValueError(f"{where}: label {text!r} is none of {', '.join(CLASSES)}")
    return CLASSES.index(name)


def _image(folder: Path, text: str, where: str) -> Path:
    image = folder / text
    if not text or not image.is_file():
        raise ValueError(f"{where}: there is no image {text!r} (paths are relative to {folder})")
    return image


def _coefficients(texts: list[str], where: str) -> list[float]:
    try:
        values = [float(text) for text in texts]
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if not np.isfinite(values).all():
        raise ValueError(f"{where}: a coefficient is not finite")
    return values
