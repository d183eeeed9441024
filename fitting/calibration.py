"""What is known of a landmark detector's errors against a face model, per landmark of one scheme."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Float32

MOST_OFFSET_MM = 15.0
"""A detector that is wrong by more on the average face marks another point than the model's embedding does."""
RATIO_RANGE = (0.05, 50.0)
"""Noise and bias that can be meant, as multiples of the options'."""


_PARTS = {"jaw": (0, 17), "brows": (17, 27), "nose": (27, 36), "eyes": (36, 48), "lips": (48, 68)}
"""In the iBUG 68 mark-up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorCalibration:
    """Errors of a detector's landmarks, as learnt by `fitting.calibrate`.

    Attributes:
        offset_mm: Where the detector marks a landmark of the average face, less where the embedding has it; head frame.
        noise_ratio: Standard deviation within a track, as a multiple of `FitOptions.landmark_noise`.
        bias_ratio: Standard deviation from face to face of what lasts through a track, as a multiple of
            `FitOptions.landmark_bias`.
        faces: Number of tracks, each of another face as far as is known, that it was learnt from.
    """

    offset_mm: Float32[np.ndarray, "points 3"]
    noise_ratio: Float32[np.ndarray, " points"]
    bias_ratio: Float32[np.ndarray, " points"]
    faces: int


def calibration_arrays(calibrations: Mapping[str, DetectorCalibration]) -> dict[str, np.ndarray]:
    """As arrays of a face model file."""
    return {
        f"calibration/{scheme}/{field.name}": np.asarray(getattr(calibration, field.name))
        for scheme, calibration in calibrations.items()
        for field in fields(calibration)
    }


def calibrations_from(
    arrays: Mapping[str, Any], calibrated: object, points: Mapping[str, int], where: str
) -> dict[str, DetectorCalibration]:
    """The inverse of `calibration_arrays`; a file comes from strangers, so everything is checked.

    Args:
        arrays: The file's arrays.
        calibrated: What the file says are its calibrated schemes.
        points: Number of landmarks of each scheme that it has.
        where: The file, for messages.

    Raises:
        ValueError: A scheme is unknown, or an array missing, of another shape or type, or of values that no detector's
            errors have.
    """
    if not isinstance(calibrated, list) or any(scheme not in points for scheme in calibrated):
        raise ValueError(f"{where}: calibrated_schemes is {calibrated!r}, but its schemes are {', '.join(points)}")
    return {scheme: _calibration(arrays, scheme, points[scheme], where) for scheme in calibrated}


def _calibration(arrays: Mapping[str, Any], scheme: str, points: int, where: str) -> DetectorCalibration:
    wanted: dict[str, tuple[tuple[int, ...], str]] = {
        "offset_mm": ((points, 3), "f"), "noise_ratio": ((points,), "f"), "bias_ratio": ((points,), "f"),
        "faces": ((), "iu"),
    }  # fmt: skip
    seen = {}
    for name, (shape, kinds) in wanted.items():
        key = f"calibration/{scheme}/{name}"
        if key not in arrays:
            raise ValueError(f"{where} lacks {key!r}, but says that {scheme} is calibrated")
        seen[name] = array = np.asarray(arrays[key])
        if array.shape != shape or array.dtype.kind not in kinds:
            numbers = "numbers" if kinds == "f" else "whole numbers"
            raise ValueError(
                f"{where}: {key} has shape {array.shape} and type {array.dtype}, expected {shape} of {numbers}"
            )
    calibration = DetectorCalibration(
        offset_mm=seen["offset_mm"].astype(np.float32),
        noise_ratio=seen["noise_ratio"].astype(np.float32),
        bias_ratio=seen["bias_ratio"].astype(np.float32),
        faces=int(seen["faces"]),
    )
    try:
        check_calibration(calibration)
    except ValueError as error:
        raise ValueError(f"{where}: calibration of {scheme}: {error}") from error
    return calibration


def check_calibration(calibration: DetectorCalibration) -> None:
    """Refuse what no detector does.

    Raises:
        ValueError: Naming the landmark and its value.
    """
    far = np.linalg.norm(calibration.offset_mm, axis=1)
    if (bad := np.flatnonzero(~(far <= MOST_OFFSET_MM))).size:
        raise ValueError(
            f"offset_mm of landmark {bad[0]} is {calibration.offset_mm[bad[0]]}: more than {MOST_OFFSET_MM:g} mm"
        )
    low, high = RATIO_RANGE
    for name in ("noise_ratio", "bias_ratio"):
        ratio = getattr(calibration, name)
        if (bad := np.flatnonzero(~((ratio >= low) & (ratio <= high)))).size:
            raise ValueError(f"{name} of landmark {bad[0]} is {ratio[bad[0]]:.3g}, expected {low:g} to {high:g}")
    if calibration.faces < 1:
        raise ValueError(f"faces={calibration.faces} is below 1")


def calibration_table(scheme: str, calibration: DetectorCalibration) -> list[str]:
    """The calibration in words, a line per part of the face."""
    lines = [
        f"calibration of {scheme}, from {calibration.faces} faces:",
        "  part of the face  points  offset mm (x, y, z)    noise   bias  (multiples of landmark_noise, landmark_bias)",
    ]
    parts = {name: slice(first, stop) for name, (first, stop) in _PARTS.items()}
    for name, part in {**parts, "beyond the 68": slice(68, None)}.items():
        offset = calibration.offset_mm[part]
        if not len(offset):
            continue
        x, y, z = np.sqrt((offset.astype(np.float64) ** 2).mean(axis=0))
        noise, bias = (float(np.median(ratio[part])) for ratio in (calibration.noise_ratio, calibration.bias_ratio))
        lines.append(f"  {name:16}  {len(offset):6}  {x:5.2f}  {y:5.2f}  {z:5.2f}    {noise:7.2f}  {bias:5.2f}")
    return lines
