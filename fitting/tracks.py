"""What goes into the fit and what comes out: one landmark sequence per face track, one fitted track."""

import math
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from jaxtyping import Float32, Float64, Int64

FitStatus = Literal["converged", "iteration_limit", "diverged"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LandmarkSequence:
    """The landmarks of one face over time.

    Attributes:
        scheme: Landmark scheme; the face model must have its embedding.
        observed_px: Landmarks as detected: x right, y down. Errors are measured against these.
        smoothed_px: Landmarks that are fitted (pass `observed_px` where nothing was smoothed).
        weight: Confidence of each landmark, 0 (missing) to 1.
        pts_s: Presentation times, increasing.
        picture_px: Width and height of the picture, whose middle is the principal point; None where it is not known.
    """

    scheme: str
    observed_px: Float32[np.ndarray, "frames points 2"]
    smoothed_px: Float32[np.ndarray, "frames points 2"]
    weight: Float32[np.ndarray, "frames points"]
    pts_s: Float64[np.ndarray, " frames"]
    picture_px: tuple[int, int] | None = None

    def in_declared_types(self) -> "LandmarkSequence":
        """The same from other floating-point types, in those above; a number too large for one is infinite."""
        with np.errstate(over="ignore"):
            return replace(
                self,
                observed_px=np.asarray(self.observed_px, dtype=np.float32),
                smoothed_px=np.asarray(self.smoothed_px, dtype=np.float32),
                weight=np.asarray(self.weight, dtype=np.float32),
                pts_s=np.asarray(self.pts_s, dtype=np.float64),
            )

    def at(self, frames: slice | Int64[np.ndarray, " chosen"]) -> "LandmarkSequence":
        """Some frames of it."""
        return replace(
            self,
            observed_px=self.observed_px[frames],
            smoothed_px=self.smoothed_px[frames],
            weight=self.weight[frames],
            pts_s=self.pts_s[frames],
        )


def no_lens() -> Float32[np.ndarray, " 3"]:
    """`FittedTrack.lens` of a scaled-orthographic camera."""
    return np.zeros(3, dtype=np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedTrack:
    """One identity, and an expression and a camera per frame.

    `landmark_px = scale_px_per_mm * (R @ head_mm)[:2] + translation_px`; the camera frame is x right,
    y down, z forward; quaternions turn the head frame into the camera frame, w >= 0. A perspective camera has a lens
    before that (`fitting.lens.through_lens`), and then scale and translation are those of the head's origin.

    Attributes:
        status: `diverged` tracks hold zeros and infinite errors, never NaN; they are not to be used.
        iterations: Gauss-Newton iterations taken, both stages.
        identity: Coefficients, standard deviations.
        expression: Coefficients per frame, standard deviations.
        expression_sigma: Posterior standard deviation of each coefficient: the identity's uncertainty, errors that last
            through the track and noise that lasts over frames included.
        scale_px_per_mm: Camera scale.
        rotation_wxyz: Unit quaternions.
        translation_px: Where the head frame's origin falls.
        fitted_px: The scheme's landmarks of the fitted face, projected.
        reprojection_error: Per frame, the median over the inner 51 points of the distance to the observed
            landmark, as a fraction of the fitted outer-eye distance (seen from the front).
        holdout_error: The same on points that a second fit did not see (every other one): the median over the frames
            of `fitting.holdout.holdout_frames`.
        energy: What the second stage minimised, where it ended, with the identity's prior: minus the log probability of
            landmarks and coefficients, up to a constant. Windows of a long track take the last step one by one
            (`fitting.frame_stage`), and the constant depends on which of them could. Infinite where it is not known
            (`diverged`, baselines).
        lens: One over the focal length (1/px) and the principal point (px); zeros for scaled orthographic.
    """

    status: FitStatus
    iterations: int
    identity: Float32[np.ndarray, " n_identity"]
    expression: Float32[np.ndarray, "frames n_expression"]
    expression_sigma: Float32[np.ndarray, "frames n_expression"]
    scale_px_per_mm: Float32[np.ndarray, " frames"]
    rotation_wxyz: Float32[np.ndarray, "frames 4"]
    translation_px: Float32[np.ndarray, "frames 2"]
    fitted_px: Float32[np.ndarray, "frames points 2"]
    reprojection_error: Float32[np.ndarray, " frames"]
    holdout_error: float
    lens: Float32[np.ndarray, " 3"] = field(default_factory=no_lens)
    energy: float = math.inf

    @property
    def focal_px(self) -> float | None:
        """Focal length, pixels; None for scaled orthographic."""
        return 1.0 / float(self.lens[0]) if self.lens[0] else None

    def at(self, frames: slice) -> "FittedTrack":
        """Some frames of it; what is one of the track stays."""
        return replace(
            self,
            expression=self.expression[frames],
            expression_sigma=self.expression_sigma[frames],
            scale_px_per_mm=self.scale_px_per_mm[frames],
            rotation_wxyz=self.rotation_wxyz[frames],
            translation_px=self.translation_px[frames],
            fitted_px=self.fitted_px[frames],
            reprojection_error=self.reprojection_error[frames],
        )
