"""One way in for the face models of others."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float

from fitting.face_model import FaceModel
from fitting.importers.flame import read_flame
from fitting.importers.gnm import read_gnm_head
from fitting.importers.ict import read_ict_facekit
from fitting.importers.matlab import read_bfm2009, read_lsfm
from fitting.importers.plausible import checked_model
from fitting.importers.raw import RawModel
from fitting.importers.scalismo import read_basel_h5
from fitting.importers.transfer import check_points

Kind = Literal["ict-facekit", "gnm-head", "flame", "bfm2009", "bfm2017", "bfm2019", "lsfm"]
_WITHOUT_EXPRESSION = ("bfm2009", "lsfm")


def import_face_model(
    path: str | Path,
    *,
    kind: Kind,
    expression: str | Path | None = None,
    n_identity: int | None = None,
    n_expression: int | None = None,
    points: Mapping[str, int] | None = None,
    unit_mm: float | None = None,
) -> FaceModel:
    """Read a face model of another project.

    Args:
        path: The file, or the folder for `ict-facekit`.
        kind: What it is.
        expression: 3DDFA's `Model_Exp.mat`, for `bfm2009` and `lsfm`, which have identities only.
        n_identity: Keep the first so many identity components; all if None.
        n_expression: Keep the first so many expression components; all if None.
        points: Named points (`fitting.importers.transfer.POINTS`) as vertex ids counted from 0. They replace what is
            known of the format, and are needed where nothing is: `gnm-head` without `head_sparse_68.txt`, FLAME meshes
            of other than 5,023 vertices.
        unit_mm: Millimetres per unit of the file, if it is not the format's own.

    Returns:
        The model in millimetres and the head frame, with the landmark schemes of FaceVid-CC0: "ibug68" where the
        format has it (else carried over by `points`), and those of the detectors, carried over from FaceVid-CC0
        (`fitting.importers.transfer`), which is good to a few millimetres.

    Raises:
        ValueError: The file is not of that kind, an argument does not fit it, or what it holds is no plausible face:
            the message says what was seen.
    """
    if kind not in get_args(Kind):
        raise ValueError(f"kind={kind!r} is not known; known are {', '.join(get_args(Kind))}")
    for name, value in (("n_identity", n_identity), ("n_expression", n_expression), ("unit_mm", unit_mm)):
        if value is not None and not value > 0:
            raise ValueError(f"{name}={value} must be above 0")
    path, expression = Path(path), None if expression is None else Path(expression)
    if not path.exists():
        raise ValueError(f"path={path} does not exist")
    if (kind in _WITHOUT_EXPRESSION) != (expression is not None):
        needs = "has no expressions of its own: give" if kind in _WITHOUT_EXPRESSION else "has its own, so leave out"
        raise ValueError(f"expression={expression}: {kind} {needs} expression")
    if path.is_dir() != (kind == "ict-facekit"):
        wanted = "the folder of its OBJ files" if kind == "ict-facekit" else "one file"
        raise ValueError(f"path={path} is a {'folder' if path.is_dir() else 'file'}, but {kind} is {wanted}")
    try:
        raw = _read(path, kind, expression)
    except ValueError as error:
        if any(str(file) in str(error) for file in (path, expression)):
            raise
        raise ValueError(f"{path} as {kind}: {error}") from error
    raw = replace(
        raw,
        identity=_first(raw.identity, n_identity, "n_identity"),
        expression=(kept := _first(raw.expression, n_expression, "n_expression")),
        neutral=None if raw.neutral is None else raw.neutral[: len(kept)],
        arkit=None if raw.arkit is None else replace(raw.arkit, matrix=raw.arkit.matrix[:, : len(kept)]),
        unit_mm=raw.unit_mm if unit_mm is None else unit_mm,
    )
    try:
        if points is not None:
            check_points(points, len(raw.mean))
            raw = replace(raw, landmarks=None, points=dict(points))
        return checked_model(raw)
    except ValueError as error:
        raise ValueError(f"{path} as {kind}: {error}") from error


def _read(path: Path, kind: Kind, expression: Path | None) -> RawModel:
    if expression is not None:
        return read_bfm2009(path, expression) if kind == "bfm2009" else read_lsfm(path, expression)
    if kind == "ict-facekit":
        return read_ict_facekit(path)
    if kind == "gnm-head":
        return read_gnm_head(path)
    return read_flame(path) if kind == "flame" else read_basel_h5(path)


def _first(
    basis: Float[np.ndarray, "components vertices 3"], count: int | None, name: str
) -> Float[np.ndarray, "kept vertices 3"]:
    if count is not None and count > len(basis):
        raise ValueError(f"{name}={count}, but the model has {len(basis)} components")
    return basis[:count]
