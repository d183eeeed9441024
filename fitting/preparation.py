"""From landmark sequences to what the solver works on: one unit for all tracks, key frames."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from fitting.first_look import FirstLook, centred, clean_weight, look_at
from fitting.keyframes import choose_keyframes
from fitting.landmark_basis import LandmarkBasis
from fitting.options import FitOptions
from fitting.tracks import LandmarkSequence


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedTrack:
    """One track in units of one landmark standard deviation, each frame centred on its landmarks.

    Landmarks are cleaned each time they are asked for: a long track's are never all there twice.

    Attributes:
        raw_px: Landmarks as they came.
        raw_weight: Their confidence as it came.
        centre_px: What is taken off each frame; numbers that float32 has.
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
        weight = clean_weight(self.raw_px, self.raw_weight)
        weight *= self.usable[:, None]
        points = centred(self.raw_px, weight > 0, self.centre_px)
        points /= np.float32(self.sigma_px)
        return points, weight

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


def prepare(
    sequences: Sequence[LandmarkSequence], basis: LandmarkBasis, options: FitOptions
) -> list[PreparedTrack | None]:
    """Find each track's unit and its key frames; None where there is nothing to fit.

    Nothing about a track depends on other tracks. Landmarks that are not finite count as missing.
    """
    timed = [number for number, sequence in enumerate(sequences) if _is_timed(sequence)]
    looks = look_at([sequences[number] for number in timed], basis)
    prepared: list[PreparedTrack | None] = [None] * len(sequences)
    for number, look in zip(timed, looks, strict=True):
        prepared[number] = _prepared(sequences[number], look, basis, options)
    return prepared


def _is_timed(sequence: LandmarkSequence) -> bool:
    pts_s = sequence.pts_s
    return bool(len(pts_s) and np.isfinite(pts_s).all() and (np.diff(pts_s) >= 0).all())


def _prepared(
    sequence: LandmarkSequence, look: FirstLook, basis: LandmarkBasis, options: FitOptions
) -> PreparedTrack | None:
    pts_s, usable = sequence.pts_s.astype(np.float64), look.usable
    if not usable.any():
        return None
    sigma_px = options.landmark_noise * float(np.median(look.scale_px_per_mm[usable])) * basis.outer_eye_mm
    # The comparison is false for what is not a number.
    if not (sigma_px > 0 and float(look.farthest_px[usable].max()) / sigma_px < 1e18):
        return None
    trusted = _well_explained(look.error_mm, look.confidence, usable)
    return PreparedTrack(
        raw_px=sequence.smoothed_px,
        raw_weight=sequence.weight,
        # A frame that nothing is fitted to has its centre from anywhere, and a lens would look there.
        centre_px=np.where(usable[:, None], look.centre_px, 0.0),
        sigma_px=sigma_px,
        spacing_s=np.diff(pts_s, prepend=pts_s[0]),
        pts_s=pts_s,
        usable=usable,
        picture_px=sequence.picture_px,
        keyframes=choose_keyframes(pts_s, look.yaw_pitch_deg, trusted, options.keyframes, options.keyframe_spacing_s),
    )


def _well_explained(
    error_mm: Float32[np.ndarray, " frames"],
    confidence: Float32[np.ndarray, " frames"],
    usable: Bool[np.ndarray, " frames"],
) -> Bool[np.ndarray, " frames"]:
    # Frames that the mean face explains far worse than the track's median, or with few landmarks, may be no face.
    good = usable & (error_mm <= 2.0 * np.median(error_mm[usable]))
    good &= confidence >= 0.5 * np.median(confidence[usable])
    return good if good.any() else usable
