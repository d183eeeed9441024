"""A fitted track in a file of its own: `.npz`, the same fit gives the same bytes, read back without unpickling."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_args

import numpy as np
from jaxtyping import Float64, Int64

from fitting.face_model import FaceModel
from fitting.npz import header_of, npz_bytes, read_npz
from fitting.tracks import FitStatus, FittedTrack
from fitting.whole_file import write_whole

FORMAT_VERSION = 1
_UNITS = {
    "identity": "standard deviations",
    "expression": "standard deviations",
    "expression_sigma": "standard deviations",
    "scale_px_per_mm": "pixels per millimetre",
    "rotation_wxyz": "unit quaternions, head frame (x to the subject's left, y up, z out of the face) to camera frame "
    "(x right, y down, z forward)",
    "translation_px": "pixels, (0, 0) is the centre of the top-left pixel",
    "fitted_px": "pixels",
    "lens": "one over the focal length in pixels (0: scaled orthographic), principal point in pixels",
    "reprojection_error": "fractions of the outer-eye distance",
    "holdout_error": "fraction of the outer-eye distance",
    "pts_s": "seconds",
    "frame": "frame numbers as in the landmarks file",
}
_MAY_BE_INFINITE = {"reprojection_error", "holdout_error"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedFit:
    """A fitted track, and what it takes to understand it.

    Attributes:
        track: The fit.
        scheme: Landmark scheme that was fitted.
        frame: Number of each frame in the landmarks file.
        pts_s: Presentation times, increasing.
        face_model: Name of the face model.
        face_model_sha256: Hash of the face model's file: the coefficients mean nothing on another one.
        face_model_licence: Licence of the face model, under which meshes made from the fit stand.
        options: The choices of the fit by name, as in `fitting.options.FitOptions`; None where the file does not say,
            as those that were written before 1.0 did not.
        versions: Of the programs that made the fit, by name; empty where the file does not say.
        first_frame: What `frame` calls the first frame of the video that the landmarks were found in.
    """

    track: FittedTrack
    scheme: str
    frame: Int64[np.ndarray, " frames"]
    pts_s: Float64[np.ndarray, " frames"]
    face_model: str
    face_model_sha256: str
    face_model_licence: str
    options: Mapping[str, str | float | None] | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    first_frame: int = 0

    def check_model(self, model: FaceModel) -> None:
        """Check that `model` is the one that was fitted, and that the fit is to be used.

        Raises:
            ValueError: It is another one, or the track diverged.
        """
        if model.sha256 != self.face_model_sha256:
            raise ValueError(
                f"the fit is of face model {self.face_model!r} (sha256 {self.face_model_sha256[:12]}...), "
                f"not of model={model.name!r} (sha256 {model.sha256[:12]}...)"
            )
        if self.track.status == "diverged":
            raise ValueError("the fit diverged: it holds no face")


def write_fit(path: Path, fit: SavedFit) -> None:
    """Write a fit; a file that is there is replaced, whole or not at all."""
    arrays = {name: getattr(fit.track, name) for name in _track_arrays()}
    header = {
        "format_version": FORMAT_VERSION,
        "kind": "facevid fit",
        "status": fit.track.status,
        "iterations": fit.track.iterations,
        "scheme": fit.scheme,
        "face_model": fit.face_model,
        "face_model_sha256": fit.face_model_sha256,
        "face_model_licence": fit.face_model_licence,
        "energy": fit.track.energy if math.isfinite(fit.track.energy) else None,
        "options": None if fit.options is None else dict(fit.options),
        "versions": dict(fit.versions),
        "first_frame": fit.first_frame,
        "units": _UNITS,
    }
    holdout = np.array(fit.track.holdout_error, dtype=np.float64)
    write_whole(path, npz_bytes(header, {**arrays, "holdout_error": holdout, "frame": fit.frame, "pts_s": fit.pts_s}))


def read_fit(path: str | Path) -> SavedFit:
    """Read a fit that `write_fit` wrote.

    Raises:
        ValueError: The file is no fit, of a newer format, or inconsistent in itself.
        OSError: The file cannot be read.
    """
    path = Path(path)
    arrays = read_npz(path)
    header = header_of(arrays, where=path)
    if header.get("kind") != "facevid fit":
        raise ValueError(f"{path} is no fit: its header says kind {header.get('kind')!r}")
    if header.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"{path} has format_version {header.get('format_version')!r}; this program reads {FORMAT_VERSION}"
        )
    try:
        _check_arrays(path, arrays)
        status, iterations = header["status"], header["iterations"]
        if status not in get_args(FitStatus) or not isinstance(iterations, int):
            raise ValueError(f"{path}: the header says status {status!r}, iterations {iterations!r}")
        texts = {
            name: str(header[name]) for name in ("scheme", "face_model", "face_model_sha256", "face_model_licence")
        }
        options, versions, energy = _records(path, header)
        track: dict[str, Any] = {name: arrays[name] for name in _track_arrays()}
        return SavedFit(
            track=FittedTrack(
                status=status,
                iterations=iterations,
                holdout_error=float(arrays["holdout_error"]),
                energy=energy,
                **track,
            ),
            frame=arrays["frame"],
            pts_s=arrays["pts_s"],
            options=options,
            versions=versions,
            first_frame=_first_frame(path, header),
            **texts,
        )
    except KeyError as error:
        raise ValueError(f"{path} lacks {error}") from error


def _track_arrays() -> list[str]:
    numbers = {"status", "iterations", "holdout_error", "energy"}
    return [item.name for item in fields(FittedTrack) if item.name not in numbers]


def _records(
    path: Path, header: dict[str, Any]
) -> tuple[dict[str, str | float | None] | None, dict[str, str], float]:
    """Options, versions and energy; files from before they were recorded have none."""
    options, versions, energy = header.get("options"), header.get("versions", {}), header.get("energy")
    plain = isinstance(options, dict) and all(v is None or isinstance(v, str | int | float) for v in options.values())
    if not (options is None or plain):
        raise ValueError(f"{path}: the header's options are {options!r}, expected names with a word or number each")
    if not isinstance(versions, dict) or not all(isinstance(version, str) for version in versions.values()):
        raise ValueError(f"{path}: the header's versions are {versions!r}, expected names with a word each")
    if not (energy is None or (isinstance(energy, int | float) and math.isfinite(energy))):
        raise ValueError(f"{path}: the header's energy is {energy!r}, expected a number")
    return options, versions, math.inf if energy is None else float(energy)


def _first_frame(path: Path, header: dict[str, Any]) -> int:
    number = header.get("first_frame", 0)
    if type(number) is not int:  # to Python, True is one
        raise ValueError(f"{path}: the header's first_frame is {number!r}, expected a whole number")
    return number


def _check_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    frames, points = len(arrays["frame"]), arrays["fitted_px"].shape[1:2]
    n_expression = arrays["expression"].shape[1:2]
    wanted: dict[str, tuple[tuple[int, ...], str]] = {
        "identity": ((arrays["identity"].size,), "float32"),
        "expression": ((frames, *n_expression), "float32"),
        "expression_sigma": ((frames, *n_expression), "float32"),
        "scale_px_per_mm": ((frames,), "float32"),
        "rotation_wxyz": ((frames, 4), "float32"),
        "translation_px": ((frames, 2), "float32"),
        "fitted_px": ((frames, *points, 2), "float32"),
        "lens": ((3,), "float32"),
        "reprojection_error": ((frames,), "float32"),
        "holdout_error": ((), "float64"),
        "frame": ((frames,), "int64"),
        "pts_s": ((frames,), "float64"),
    }
    for name, (shape, kind) in wanted.items():
        seen = arrays[name]
        if seen.shape != shape or str(seen.dtype) != kind:
            raise ValueError(f"{path}: {name} is {seen.dtype} of shape {seen.shape}, expected {kind} of shape {shape}")
        if np.isnan(seen).any() or (name not in _MAY_BE_INFINITE and not np.isfinite(seen).all()):
            raise ValueError(f"{path}: {name} holds values that are not finite")
