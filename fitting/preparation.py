"""From landmark sequences to what the solver works on: clean weights, one unit for all tracks, first cameras."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, Int64
from torch import Tensor

from fitting.angles import yaw_pitch_roll_deg
from fitting.camera import ScaledOrthographic, closed_form, stacked_points, turned_points
from fitting.energy import Observations, residuals, robust_weight
from fitting.keyframes import choose_keyframes
from fitting.landmark_basis import LandmarkBasis
from fitting.options import FitOptions
from fitting.tracks import LandmarkSequence

MIN_POINTS = 6
"""A frame with fewer landmarks says too little about a camera with 6 parameters; the prior carries it."""
_CHUNK = 2048
"""Frames that are looked at at once."""
_CAMERA_NOISE = 0.1
"""Width of the robust weights of the first cameras, as a fraction of the outer-eye distance: the fit is still rough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedTrack:
    """One track in units of one landmark standard deviation, each frame centred on its landmarks.

    Landmarks are cleaned each time they are asked for: a long track's are never all there twice.

    Attributes:
        raw_px: Landmarks as they came.
        raw_weight: Their confidence as it came.
        centre_px: What is taken off each frame.
        sigma_px: One landmark standard deviation.
        spacing_s: Time since the frame before, first 0.
        pts_s: Presentation times.
        usable: Frames with enough landmarks, and a camera.
        keyframes: Frames of the whole track for the identity stage.
        picture_px: Width and height of the picture, where known.
    """

    raw_px: Float32[np.ndarray, "frames points 2"]
    raw_weight: Float32[np.ndarray, "frames points"]
    centre_px: Float64[np.ndarray, "frames 2"]
    sigma_px: float
    spacing_s: Float64[np.ndarray, " frames"]
    pts_s: Float64[np.ndarray, " frames"]
    usable: Bool[np.ndarray, " frames"]
    keyframes: Int64[np.ndarray, " keyframes"]
    picture_px: tuple[int, int] | None

    def landmarks(self) -> tuple[Float32[np.ndarray, "frames points 2"], Float32[np.ndarray, "frames points"]]:
        """Landmarks to fit, 0 where missing, and their confidence, 0 where missing or their frame is not usable."""
        points, weight = _cleaned(self.raw_px, self.raw_weight)
        weight *= self.usable[:, None]
        points = np.where(weight[..., None] > 0, (points - self.centre_px[:, None]) / self.sigma_px, 0.0)
        return points.astype(np.float32), weight.astype(np.float32)

    def at(self, frames: slice | Int64[np.ndarray, " chosen"]) -> "PreparedTrack":
        """The same at some frames, in order of time."""
        pts_s = self.pts_s[frames]
        return replace(
            self,
            raw_px=self.raw_px[frames],
            raw_weight=self.raw_weight[frames],
            centre_px=self.centre_px[frames],
            spacing_s=np.diff(pts_s, prepend=pts_s[:1]),
            pts_s=pts_s,
            usable=self.usable[frames],
        )

    @property
    def keyframe_gap(self) -> float:
        """Frames from one key frame to the next, median; infinite where there is only one."""
        return float(np.median(np.diff(self.keyframes))) if len(self.keyframes) > 1 else math.inf

    @property
    def principal_px(self) -> Float64[np.ndarray, " 2"]:
        """The principal point: the middle of the picture, or the origin where its size is not known."""
        width, height = self.picture_px or (1, 1)
        return np.array([(width - 1) / 2, (height - 1) / 2])


def check_sequences(sequences: Sequence[LandmarkSequence], points: int) -> None:
    """Check what only a mistake of the caller can cause.

    Raises:
        ValueError: Schemes differ, or shapes do not agree with each other or the scheme.
    """
    for number, sequence in enumerate(sequences):
        if sequence.scheme != sequences[0].scheme:
            raise ValueError(
                f"sequences[{number}] has scheme={sequence.scheme!r}, but sequences[0] {sequences[0].scheme!r}; "
                "one call fits one scheme"
            )
        frames = len(sequence.pts_s)
        wanted = {"observed_px": (frames, points, 2), "smoothed_px": (frames, points, 2), "weight": (frames, points)}
        for name, shape in wanted.items():
            seen = getattr(sequence, name).shape
            if seen != shape:
                raise ValueError(f"sequences[{number}].{name} has shape {seen}, expected {shape}")


def prepare(sequence: LandmarkSequence, basis: LandmarkBasis, options: FitOptions) -> PreparedTrack | None:
    """Find a track's unit and its key frames; None where there is nothing to fit.

    Nothing here depends on other tracks. Landmarks that are not finite count as missing.
    """
    pts_s = sequence.pts_s.astype(np.float64)
    if len(pts_s) == 0 or not np.isfinite(pts_s).all() or (np.diff(pts_s) < 0).any():
        return None
    looks = [
        _look(sequence.smoothed_px[part], sequence.weight[part], basis)
        for part in (slice(start, start + _CHUNK) for start in range(0, len(pts_s), _CHUNK))
    ]
    usable = np.concatenate([look.usable for look in looks])
    if not usable.any():
        return None
    scale = np.concatenate([look.scale_px_per_mm for look in looks])
    sigma_px = options.landmark_noise * float(np.median(scale[usable])) * basis.outer_eye_mm
    # The comparison is false for what is not a number.
    if not (sigma_px > 0 and float(np.max([look.farthest_px for look in looks])) / sigma_px < 1e18):
        return None
    angles = np.concatenate([look.yaw_pitch_deg for look in looks])
    trusted = _well_explained(
        np.concatenate([look.error_mm for look in looks]), np.concatenate([look.confidence for look in looks]), usable
    )
    return PreparedTrack(
        raw_px=sequence.smoothed_px,
        raw_weight=sequence.weight,
        centre_px=np.concatenate([look.centre_px for look in looks]),
        sigma_px=sigma_px,
        spacing_s=np.diff(pts_s, prepend=pts_s[0]),
        pts_s=pts_s,
        usable=usable,
        picture_px=sequence.picture_px,
        keyframes=choose_keyframes(pts_s, angles, trusted, options.keyframes, options.keyframe_spacing_s),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """What a first look at some frames, with the mean face, says of each.

    Attributes:
        usable: Whether there are enough landmarks, and a camera.
        centre_px: Weighted mean of the landmarks.
        scale_px_per_mm: Of the first camera.
        yaw_pitch_deg: Of the first camera.
        error_mm: Weighted mean distance between the landmarks and the mean face.
        confidence: Sum of the landmarks' weights.
        farthest_px: The largest coordinate off the centre, of all frames.
    """

    usable: Bool[np.ndarray, " frames"]
    centre_px: Float64[np.ndarray, "frames 2"]
    scale_px_per_mm: Float64[np.ndarray, " frames"]
    yaw_pitch_deg: Float64[np.ndarray, "frames 2"]
    error_mm: Float64[np.ndarray, " frames"]
    confidence: Float64[np.ndarray, " frames"]
    farthest_px: float


def _look(
    raw_px: Float32[np.ndarray, "frames points 2"],
    raw_weight: Float32[np.ndarray, "frames points"],
    basis: LandmarkBasis,
) -> _Look:
    points, weight = _cleaned(raw_px, raw_weight)
    enough = (weight > 0).sum(axis=1) >= MIN_POINTS
    weight *= enough[:, None]
    points = np.where(weight[..., None] > 0, points, 0.0)
    total = np.maximum(weight.sum(axis=1), 1e-12)
    centre = (points * weight[..., None]).sum(axis=1) / total[:, None]
    points = np.where(weight[..., None] > 0, points - centre[:, None], 0.0)
    observed = _observations(points, weight, basis)
    head = basis.mean.double().expand(len(points), -1, -1)
    camera, found = first_cameras(observed, head, basis)
    x, y = residuals(observed, turned_points(camera, head), camera).unbind(1)
    confidence = observed.weight.sum(-1).clamp_min(1e-12)
    error = (observed.weight * (x * x + y * y).sqrt()).sum(-1) / (confidence * camera.scale)
    return _Look(
        usable=enough & found.cpu().numpy(),
        centre_px=centre,
        scale_px_per_mm=camera.scale.cpu().numpy(),
        yaw_pitch_deg=yaw_pitch_roll_deg(camera.quaternion.cpu().numpy())[:, :2].astype(np.float64),
        error_mm=error.cpu().numpy(),
        confidence=confidence.cpu().numpy(),
        farthest_px=float(np.abs(points).max()),
    )


def _cleaned(
    raw_px: Float32[np.ndarray, "frames points 2"], raw_weight: Float32[np.ndarray, "frames points"]
) -> tuple[Float64[np.ndarray, "frames points 2"], Float64[np.ndarray, "frames points"]]:
    points = raw_px.astype(np.float64)
    weight = np.clip(np.nan_to_num(raw_weight.astype(np.float64), nan=0.0), 0.0, 1.0)
    weight *= np.isfinite(points).all(axis=-1)
    return points, weight


def _observations(
    points: Float64[np.ndarray, "frames points 2"], weight: Float64[np.ndarray, "frames points"], basis: LandmarkBasis
) -> Observations:
    device = basis.mean.device
    picture = torch.tensor(np.ascontiguousarray(points.transpose(0, 2, 1)), device=device)
    precision = basis.noise_ratio.double() ** -2
    return Observations(points=picture, weight=torch.tensor(weight, device=device), precision=precision)


def first_cameras(
    observed: Observations, head: Float[Tensor, "frames 3 points"], basis: LandmarkBasis
) -> tuple[ScaledOrthographic, Bool[Tensor, " frames"]]:
    """Cameras of known heads (mm), robust to single bad landmarks; and where there are any. Units as observed."""
    parts = [
        _first_cameras(observed.at(part), head[part], basis)
        for part in (slice(start, start + _CHUNK) for start in range(0, max(1, len(head)), _CHUNK))
    ]
    cameras = [camera for camera, _ in parts]
    camera = ScaledOrthographic(
        scale=torch.cat([one.scale for one in cameras]),
        quaternion=torch.cat([one.quaternion for one in cameras]),
        translation=torch.cat([one.translation for one in cameras]),
    )
    return camera, torch.cat([found for _, found in parts])


def _first_cameras(
    observed: Observations, head: Float[Tensor, "frames 3 points"], basis: LandmarkBasis
) -> tuple[ScaledOrthographic, Bool[Tensor, " frames"]]:
    points = stacked_points(observed.points, head)
    weight = (observed.weight * observed.precision).double()
    rough = closed_form(points, weight)
    unit = (rough.scale * basis.outer_eye_mm)[:, None]
    robust = robust_weight(rough.squared_residuals(points) / (unit * unit), _CAMERA_NOISE)
    better = closed_form(points, weight * robust)
    return better.where(better.found, rough).camera(observed.points.dtype), rough.found


def _well_explained(
    error_mm: Float64[np.ndarray, " frames"],
    confidence: Float64[np.ndarray, " frames"],
    usable: Bool[np.ndarray, " frames"],
) -> Bool[np.ndarray, " frames"]:
    # Frames that the mean face explains far worse than the track's median, or with few landmarks, may be no face.
    good = usable & (error_mm <= 2.0 * np.median(error_mm[usable]))
    good &= confidence >= 0.5 * np.median(confidence[usable])
    return good if good.any() else usable
