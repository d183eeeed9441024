"""Matlab files: the Basel Face Model 2009 and LSFM, which are identities only, and expressions to go with them."""

import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import scipy.io
from jaxtyping import Float64, Int64
from scipy.io.matlab import MatReadError

from fitting.importers.ibug68 import BASEL_53215, BASEL_53490, at_vertices
from fitting.importers.raw import MOST_ARRAY_BYTES, RawModel, from_zero, scaled_columns

TRIM_FILE = "model_info.mat"
BASEL_VERTICES = 53490
SHARED_VERTICES = 53215
EXPLAINED = "cumulative_explained_variance"
_MICROMETRES = 1e-3
_LSFM_UNIT_MM = 100.0
_BYTES = {"double": 8, "single": 4} | {f"{sign}int{bits}": bits // 8 for sign in ("", "u") for bits in (8, 16, 32, 64)}
"""Of a number in each of Matlab's classes of numbers."""


def read_bfm2009(path: Path, expression: Path) -> RawModel:
    """Read `01_MorphableModel.mat`: `shapeMU`, `shapePC` (unit vectors), `shapeEV` (standard deviations), `tl`.

    Micrometres, y up, z forward; triangles counted from 1, their winding nowhere stated.

    Args:
        path: The model.
        expression: 3DDFA's `Model_Exp.mat` (see `read_3ddfa_expression`). It covers 53,215 of the 53,490 vertices;
            `trimIndex` of 3DDFA's `model_info.mat`, looked for beside it, says which.

    Raises:
        ValueError: A file is not what it should be, or they do not belong together.
    """
    arrays = _load(path, ("shapeMU", "shapePC", "shapeEV", "tl"))
    mean = arrays["shapeMU"].astype(np.float64).reshape(-1, 3)
    sd = arrays["shapeEV"].astype(np.float64).ravel()
    identity = scaled_columns(arrays["shapePC"], sd, what="shapePC")
    triangles = from_zero(arrays["tl"].astype(np.int64), len(mean), first=1)
    offset, motion = read_3ddfa_expression(expression)
    if len(offset) != len(mean):
        kept = _trim(expression.parent / TRIM_FILE, vertices=len(mean), wanted=len(offset))
        mean, identity, triangles = mean[kept], identity[:, kept], _cut(triangles, kept, len(mean))
    known = {BASEL_VERTICES: BASEL_53490, SHARED_VERTICES: BASEL_53215}.get(len(mean))
    return RawModel(
        name="bfm2009",
        mean=mean + offset,
        identity=identity,
        expression=motion,
        triangles=triangles,
        unit_mm=_MICROMETRES,
        winding="not stated",
        landmarks=at_vertices(known) if known else None,
        licence="Basel Face Model licence, non-commercial; expressions derived from FaceWarehouse, research only",
        source="Basel Face Model 2009 with 3DDFA's expression basis",
    )


def read_lsfm(path: Path, expression: Path) -> RawModel:
    """Read an LSFM `.mat`: `mean`, `components` (unit vectors), `eigenvalues` (variances), `trilist` from 0.

    Its documentation names neither unit nor axes. Its authors' own code scales expressions in micrometres by 1e-5 to
    go with it ("itwmm", notebook 2), so a unit of 100 mm is taken; `unit_mm` of `import_face_model` sets another.
    The same code takes 1/2.5 as the standard deviation of 3DDFA's columns where we take `sigma_exp`.

    Args:
        path: The model, full (53,215 vertices) or cropped.
        expression: 3DDFA's `Model_Exp.mat`; a cropped model's `map_cropped_to_full` chooses its vertices.

    Raises:
        ValueError: A file is not what it should be, or they do not belong together.
    """
    arrays = _load(path, ("mean", "components", "eigenvalues", "trilist"), also=("map_cropped_to_full", EXPLAINED))
    mean = arrays["mean"].astype(np.float64).reshape(-1, 3)
    variances = arrays["eigenvalues"].astype(np.float64).ravel()
    if (variances < 0).any():
        raise ValueError(f"{path}: eigenvalues has negative values")
    _check_variances(path, variances, arrays.get(EXPLAINED))
    offset, motion = read_3ddfa_expression(expression)
    landmarks = at_vertices(BASEL_53215) if len(mean) == SHARED_VERTICES else None
    if len(offset) != len(mean):
        kept = arrays.get("map_cropped_to_full", np.zeros(0, np.int64)).astype(np.int64).ravel()
        if len(kept) != len(mean) or kept.min() < 0 or kept.max() >= len(offset):
            raise ValueError(f"{expression} has {len(offset)} vertices, but {path} has {len(mean)}")
        offset, motion = offset[kept], motion[:, kept]
        place = {int(full): k for k, full in enumerate(kept)}
        if all(vertex in place for vertex in BASEL_53215):
            landmarks = at_vertices(tuple(place[vertex] for vertex in BASEL_53215))
    shrink = _MICROMETRES / _LSFM_UNIT_MM
    return RawModel(
        name="lsfm",
        mean=mean + offset * shrink,
        identity=scaled_columns(arrays["components"], np.sqrt(variances), what="components"),
        expression=motion * np.float32(shrink),
        triangles=from_zero(arrays["trilist"].astype(np.int64), len(mean), first=0),
        unit_mm=_LSFM_UNIT_MM,
        winding="not stated",
        landmarks=landmarks,
        licence="LSFM licence, non-commercial; expressions derived from FaceWarehouse, research only",
        source=f"LSFM {path.name} with 3DDFA's expression basis",
    )


def read_3ddfa_expression(
    path: Path,
) -> tuple[Float64[np.ndarray, "vertices 3"], Float64[np.ndarray, "components vertices 3"]]:
    """Read 3DDFA's `Model_Exp.mat`: `mu_exp`, `w_exp`, `sigma_exp`; micrometres.

    The columns of `w_exp` are no unit vectors; a coefficient's standard deviation is `sigma_exp`, as users of the file
    weigh them.

    Returns:
        Mean expression, and displacement per standard deviation; micrometres.

    Raises:
        ValueError: The file is something else.
    """
    arrays = _load(path, ("mu_exp", "w_exp", "sigma_exp"))
    columns, sd = arrays["w_exp"].astype(np.float64), arrays["sigma_exp"].astype(np.float64).ravel()
    offset = arrays["mu_exp"].astype(np.float64).ravel()
    if columns.ndim != 2 or columns.shape != (len(offset), len(sd)) or len(offset) % 3:
        raise ValueError(
            f"{path}: w_exp has shape {columns.shape}, mu_exp {len(offset)} and sigma_exp {len(sd)} values"
        )
    if (sd < 0).any():
        raise ValueError(f"{path}: sigma_exp has negative values")
    return offset.reshape(-1, 3), (columns * sd).T.reshape(len(sd), -1, 3)


def _check_variances(path: Path, variances: Float64[np.ndarray, " components"], explained: np.ndarray | None) -> None:
    """In units of 100 mm variances and standard deviations are of one size, but not in the shares that they explain."""
    if explained is None:
        return
    shares = explained.astype(np.float64).ravel()
    seen = np.cumsum(variances) / variances.sum()
    if shares.shape != seen.shape or np.abs(seen - shares / shares[-1]).max() > 1e-2:
        raise ValueError(
            f"{path}: eigenvalues do not add up to {EXPLAINED}: they are no variances (standard deviations, perhaps)"
        )


def _trim(path: Path, *, vertices: int, wanted: int) -> Int64[np.ndarray, " kept"]:
    if not path.is_file():
        raise ValueError(
            f"the expressions have {wanted} vertices, the model {vertices}: the trimIndex of {path} says which,"
            " and that file is missing"
        )
    kept = _load(path, ("trimIndex",))["trimIndex"].astype(np.int64).ravel() - 1
    if len(kept) != wanted or kept.min() < 0 or kept.max() >= vertices or (np.diff(np.sort(kept)) == 0).any():
        raise ValueError(f"{path}: trimIndex does not choose {wanted} of {vertices} vertices, counted from 1")
    return kept


def _cut(
    triangles: Int64[np.ndarray, "triangles 3"], kept: Int64[np.ndarray, " kept"], vertices: int
) -> Int64[np.ndarray, "left 3"]:
    place = np.full(vertices, -1)
    place[kept] = np.arange(len(kept))
    moved = place[triangles]
    return np.asarray(moved[(moved >= 0).all(axis=1)])


def _load(path: Path, names: tuple[str, ...], *, also: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    wanted = (*names, *also)
    with _matlab_errors(path):
        listed = [(name, shape, kind) for name, shape, kind in scipy.io.whosmat(path) if name in wanted]
    # A compressed array takes a thousandth of the bytes that it promises, a cell may hold anything.
    if odd := [name for name, _, kind in listed if kind not in _BYTES]:
        raise ValueError(f"{path}: {odd[0]} is no array of numbers")
    promised_bytes = sum(abs(math.prod(map(int, shape))) * _BYTES[kind] for _, shape, kind in listed)
    if promised_bytes > MOST_ARRAY_BYTES:
        raise ValueError(f"{path} promises arrays of {promised_bytes} bytes, more than {MOST_ARRAY_BYTES}")
    with _matlab_errors(path):
        found = scipy.io.loadmat(path, variable_names=wanted)
    if missing := [name for name in names if name not in found]:
        raise ValueError(f"{path} lacks {missing[0]}")
    arrays = {name: np.asarray(found[name]) for name in wanted if name in found}
    if odd := [name for name, array in arrays.items() if array.dtype.kind not in "iuf"]:
        raise ValueError(f"{path}: {odd[0]} is no array of numbers")
    return arrays


@contextmanager
def _matlab_errors(path: Path) -> Iterator[None]:
    """What scipy complains of in a file, told by name."""
    try:
        yield
    except NotImplementedError as error:
        raise ValueError(f"{path} is a Matlab 7.3 file; save it as version 7 (-v7)") from error
    except (ValueError, TypeError, OSError, EOFError, zlib.error, MatReadError) as error:
        raise ValueError(f"{path} is no Matlab file: {error}") from error
    except MemoryError as error:
        raise ValueError(f"{path} promises arrays of more bytes than there is memory for") from error
