"""Basel Face Model 2017 and 2019: scalismo's HDF5 files.

Read are `shape/model/{mean,pcaBasis,pcaVariance}`, the same under `expression`, `shape/representer/cells` (3, M)
counted from 0, and `metadata/landmarks/json`, a list of named positions. Millimetres, y up, z forward; basis columns
are unit vectors, variances are variances. The noise variance is left out.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from fitting.importers.ibug68 import BASEL_2017_POINTS
from fitting.importers.raw import MOST_ARRAY_BYTES, RawModel, from_zero, scaled_columns

NAMES = {
    "right.eye.corner_outer": "right_eye_outer",
    "right.eye.corner_inner": "right_eye_inner",
    "left.eye.corner_inner": "left_eye_inner",
    "left.eye.corner_outer": "left_eye_outer",
    "center.nose.tip": "nose_tip",
    "right.lips.corner": "mouth_right",
    "left.lips.corner": "mouth_left",
    "center.chin.tip": "chin",
}
"""Names of the landmarks in the file, and ours."""
FACE_WITH_EARS_2017 = 53149
_FARTHEST_MM = 5.0


def read_basel_h5(path: Path) -> RawModel:
    """Read the model.

    Args:
        path: Such as `model2017-1_bfm_nomouth.h5` or `model2019_fullHead.h5`.

    Raises:
        ValueError: The package h5py is not installed, or the file is no such model.
    """
    try:
        import h5py
    except ImportError as error:
        raise ValueError(f"{path}: reading HDF5 files needs h5py: pip install h5py") from error
    try:
        with h5py.File(path, "r") as file:
            parts = {
                name: _numbers(file, h5py, name)
                for part in ("shape", "expression")
                for name in (f"{part}/model/mean", f"{part}/model/pcaBasis", f"{part}/model/pcaVariance")
            }
            cells = _numbers(file, h5py, "shape/representer/cells")
            text = _dataset(file, h5py, "metadata/landmarks/json")
    except OSError as error:
        raise ValueError(f"{path} is no HDF5 file: {error}") from error
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error
    mean = parts["shape/model/mean"].astype(np.float64).reshape(-1, 3)
    offset = parts["expression/model/mean"].astype(np.float64).reshape(-1, 3)
    if offset.shape != mean.shape:
        raise ValueError(f"{path}: shape has {len(mean)} vertices, expression {len(offset)}")
    if np.sqrt((offset**2).mean()) > 0.3 * np.sqrt((mean**2).mean()):
        raise ValueError(f"{path}: expression/model/mean looks like a face, but should be a displacement")
    bases = {}
    for part in ("shape", "expression"):
        variance = parts[f"{part}/model/pcaVariance"].astype(np.float64).ravel()
        if not (variance >= 0).all():
            raise ValueError(f"{path}: {part}/model/pcaVariance has values below 0 or not finite")
        bases[part] = scaled_columns(parts[f"{part}/model/pcaBasis"], np.sqrt(variance), what=f"{part}/model/pcaBasis")
    cells = cells.T if cells.shape[0] == 3 else cells
    return RawModel(
        name=f"bfm{'2019' if '2019' in path.name else '2017'}",
        mean=mean + offset,
        identity=bases["shape"],
        expression=bases["expression"],
        triangles=from_zero(cells.astype(np.int64), len(mean), first=0),
        unit_mm=1.0,
        winding="counter-clockwise",
        landmarks=None,
        points=_named_points(text, mean) or (BASEL_2017_POINTS if len(mean) == FACE_WITH_EARS_2017 else {}),
        licence="Basel Face Model licence, non-commercial",
        source=f"Basel Face Model, {path.name}",
    )


def _dataset(file: Any, h5py: Any, name: str) -> np.ndarray | None:
    """The data under a name; None where there is nothing. A file may point into other files: that is refused."""
    places = [name.rsplit("/", up)[0] for up in range(name.count("/"), -1, -1)]
    for place in places:
        # The link is looked at before it is followed.
        kind = file.get(place, getclass=True, getlink=True)
        if kind is None:
            return None
        if kind is not h5py.HardLink:
            raise ValueError(f"{name} is a link to somewhere else")
    found = file[name]
    if not isinstance(found, h5py.Dataset) or found.external or found.is_virtual:
        raise ValueError(f"{name} does not hold its data itself")
    if found.nbytes > MOST_ARRAY_BYTES:
        raise ValueError(f"{name} has shape {found.shape}: {found.nbytes} bytes are more than {MOST_ARRAY_BYTES}")
    return np.asarray(found[()])


def _numbers(file: Any, h5py: Any, name: str) -> np.ndarray:
    data = _dataset(file, h5py, name)
    if data is None or data.dtype.kind not in "iuf":
        raise ValueError(f"{name} is missing or holds no numbers")
    return data


def _named_points(text: np.ndarray | None, mean: Float64[np.ndarray, "vertices 3"]) -> dict[str, int]:
    if text is None or not text.size:
        return {}
    raw = text.ravel()[0]
    try:
        listed = json.loads(raw.decode() if isinstance(raw, bytes) else str(raw))
        places = {str(item["id"]): np.array(item["coordinates"], dtype=np.float64) for item in listed}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"metadata/landmarks/json cannot be read: {error!r}") from error
    points = {}
    for theirs, ours in NAMES.items():
        if theirs in places and places[theirs].shape == (3,):
            distance = np.linalg.norm(mean - places[theirs], axis=1)
            if distance.min() < _FARTHEST_MM:
                points[ours] = int(distance.argmin())
    return points
