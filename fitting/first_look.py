"""A first look at landmarks, with the mean face: which frames are usable, and what their cameras are about.

Frames of all tracks are looked at together, some at a time; nothing about one depends on another.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64
from torch import Tensor

from fitting.angles import yaw_pitch_roll_deg
from fitting.camera import ScaledOrthographic, closed_form, joined_cameras, stacked_points, turned_points
from fitting.energy import Observations, residuals
from fitting.landmark_basis import LandmarkBasis
from fitting.robust_weights import robust_weight
from fitting.tracks import LandmarkSequence

MIN_POINTS = 6
"""A frame with fewer landmarks says too little about a camera with 6 parameters; the prior carries it."""
LEAST_WEIGHT = 1e-6
"""A landmark with less confidence counts as missing: in float32 nothing would be left of what it says."""
_CHUNK = 2048
"""Frames that are looked at at once."""
_CAMERA_NOISE = 0.1
"""Width of the robust weights of the first cameras, as a fraction of the outer-eye distance: the fit is still rough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstLook:
    """What a first look at some frames, with the mean face, says of each.

    Attributes:
        usable: Whether there are enough landmarks, and a camera.
        centre_px: Weighted mean of the landmarks, as float32 has it.
        scale_px_per_mm: Of the first camera.
        yaw_pitch_deg: Of the first camera.
        error_mm: Weighted mean distance between the landmarks and the mean face.
        confidence: Sum of the landmarks' weights.
        farthest_px: The largest coordinate off the centre.
    """

    usable: Bool[np.ndarray, " frames"]
    centre_px: Float64[np.ndarray, "frames 2"]
    scale_px_per_mm: Float32[np.ndarray, " frames"]
    yaw_pitch_deg: Float64[np.ndarray, "frames 2"]
    error_mm: Float32[np.ndarray, " frames"]
    confidence: Float32[np.ndarray, " frames"]
    farthest_px: Float32[np.ndarray, " frames"]

    def at(self, frames: slice) -> "FirstLook":
        """That of some frames."""
        return FirstLook(**{item.name: getattr(self, item.name)[frames] for item in fields(self)})


def look_at(sequences: Sequence[LandmarkSequence], basis: LandmarkBasis) -> list[FirstLook]:
    """Look at every frame of every sequence."""
    lengths = [len(sequence.pts_s) for sequence in sequences]
    looks = [
        _look(
            np.concatenate([sequences[number].smoothed_px[part] for number, part in pieces]),
            np.concatenate([sequences[number].weight[part] for number, part in pieces]),
            basis,
        )
        for pieces in _pieces(lengths)
    ]
    if not looks:
        return []
    whole = FirstLook(
        **{item.name: np.concatenate([getattr(look, item.name) for look in looks]) for item in fields(FirstLook)}
    )
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return [whole.at(slice(start, start + length)) for start, length in zip(starts, lengths, strict=False)]


def clean_weight(
    raw_px: Float32[np.ndarray, "frames points 2"], raw_weight: Float32[np.ndarray, "frames points"]
) -> Float32[np.ndarray, "frames points"]:
    """Confidences between 0 and 1, and 0 where a landmark is not finite or less than `LEAST_WEIGHT` is known of it."""
    weight = np.clip(np.nan_to_num(raw_weight, nan=0.0), 0.0, 1.0).astype(np.float32)
    weight[weight < LEAST_WEIGHT] = 0.0
    weight *= np.isfinite(raw_px[..., 0]) & np.isfinite(raw_px[..., 1])
    return np.asarray(weight)


def centred(
    raw_px: Float32[np.ndarray, "frames points 2"],
    shown: Bool[np.ndarray, "frames points"],
    centre_px: Float64[np.ndarray, "frames 2"],
) -> Float32[np.ndarray, "frames points 2"]:
    """Landmarks off their centre, 0 where they are not shown. Exact, where float32 has the centre."""
    with np.errstate(invalid="ignore"):
        points = raw_px - centre_px.astype(np.float32)[:, None]
    points[~shown] = 0.0
    return points


def first_cameras(
    observed: Observations, head: Float[Tensor, "frames 3 points"], basis: LandmarkBasis
) -> tuple[ScaledOrthographic, Bool[Tensor, " frames"]]:
    """Cameras of known heads (mm), robust to single bad landmarks; and where there are any. Units as observed."""
    parts = [
        _first_cameras(observed.at(part), head[part], basis)
        for part in (slice(start, start + _CHUNK) for start in range(0, max(1, len(head)), _CHUNK))
    ]
    camera = joined_cameras([camera for camera, _ in parts])
    return camera, torch.cat([found for _, found in parts])


def _first_cameras(
    observed: Observations, head: Float[Tensor, "frames 3 points"], basis: LandmarkBasis
) -> tuple[ScaledOrthographic, Bool[Tensor, " frames"]]:
    points = stacked_points(observed.points, head)
    weight = observed.weight * observed.precision
    rough = closed_form(points, weight)
    unit = (rough.scale * basis.outer_eye_mm)[:, None]
    robust = robust_weight(rough.squared_residuals(points) / (unit * unit), _CAMERA_NOISE)
    better = closed_form(points, weight * robust)
    return better.where(better.found, rough).camera(), rough.found


def _pieces(lengths: Sequence[int]) -> Iterator[list[tuple[int, slice]]]:
    """Parts of sequences of these lengths, together until they have `_CHUNK` frames."""
    pieces: list[tuple[int, slice]] = []
    room = _CHUNK
    for number, length in enumerate(lengths):
        start = 0
        while start < length:
            stop = min(length, start + room)
            pieces.append((number, slice(start, stop)))
            room -= stop - start
            start = stop
            if not room:
                yield pieces
                pieces, room = [], _CHUNK
    if pieces:
        yield pieces


def _look(
    raw_px: Float32[np.ndarray, "frames points 2"],
    raw_weight: Float32[np.ndarray, "frames points"],
    basis: LandmarkBasis,
) -> FirstLook:
    weight = clean_weight(raw_px, raw_weight)
    enough = np.count_nonzero(weight, axis=1) >= MIN_POINTS
    weight *= enough[:, None]
    shown = weight > 0
    share = weight / np.maximum(weight.sum(axis=1, keepdims=True), 1e-12)
    known = np.where(shown[..., None], raw_px, np.float32(0.0))
    # Any numbers in the middle will do, as long as all that follows takes the same ones off.
    centre = np.matmul(share[:, None], known)[:, 0].astype(np.float64)
    points = centred(raw_px, shown, centre)
    device = basis.mean.device
    observed = Observations(
        points=torch.from_numpy(points).to(device).mT.contiguous(),
        weight=torch.from_numpy(weight).to(device),
        precision=basis.noise_ratio**-2,
    )
    head = basis.mean.expand(len(points), -1, -1)
    camera, found = first_cameras(observed, head, basis)
    x, y = residuals(observed, turned_points(camera, head), camera).unbind(1)
    confidence = observed.weight.sum(-1).clamp_min(1e-12)
    error = (observed.weight * (x * x + y * y).sqrt()).sum(-1) / (confidence * camera.scale)
    return FirstLook(
        usable=enough & found.cpu().numpy(),
        centre_px=centre,
        scale_px_per_mm=camera.scale.cpu().numpy(),
        yaw_pitch_deg=yaw_pitch_roll_deg(camera.quaternion.cpu().numpy())[:, :2].astype(np.float64),
        error_mm=error.cpu().numpy(),
        confidence=confidence.cpu().numpy(),
        farthest_px=np.abs(points).max(axis=(1, 2)),
    )
