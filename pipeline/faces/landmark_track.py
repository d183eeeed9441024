"""The arrow from faces to the fit: one person's face through one shot."""

from dataclasses import dataclass, fields, replace

import numpy as np
from jaxtyping import Float32, Float64, Int32


@dataclass(frozen=True, slots=True, kw_only=True)
class LandmarkTrack:
    """One face through consecutive frames of one shot, and one person's.

    Pixels are those of the displayed picture (rotation and pixel aspect applied), x right, y down,
    (0, 0) the centre of the top-left pixel. Frames in which the face was missed for at most
    `FacesOptions.max_misses` are bridged: box, `observed_px`, sharpness, brightness and
    similarity are interpolated in time
    between the frames before and after, and their confidence is 0.

    Attributes:
        scheme: Landmark scheme.
        frame: Index of each frame in presentation order, consecutive.
        pts_s: Presentation times.
        box_px: Face boxes x0, y0, x1, y1.
        observed_px: Landmarks as detected.
        smoothed_px: Landmarks after the cubic smoothing spline over time.
        confidence: Face presence score, 0 to 1; 0 where the face was missed and bridged.
        sharpness: Variance of the Laplacian of the registered crop's luma (0 to 1), times 1000.
        brightness: Mean luma of the registered crop, 0 to 1.
        in_frame: Share of landmarks inside the picture, 0 to 1.
        similarity: How much the face looks as it does on the average of the track: 1 minus half the squared distance of
            their looks (see `appearance`). In a track over several spans, the average of the span.
        jump: How far the look leaps with this frame: the least half squared distance between the looks of five frames
            before and five from here on; 0 where there are fewer, and where the face was missed.
        occlusion: How surely something covers much of the face, 0 to 1 (see `occlusion`); NaN where the detector cannot
            tell.
    """

    scheme: str
    frame: Int32[np.ndarray, " frames"]
    pts_s: Float64[np.ndarray, " frames"]
    box_px: Float32[np.ndarray, "frames 4"]
    observed_px: Float32[np.ndarray, "frames points 2"]
    smoothed_px: Float32[np.ndarray, "frames points 2"]
    confidence: Float32[np.ndarray, " frames"]
    sharpness: Float32[np.ndarray, " frames"]
    brightness: Float32[np.ndarray, " frames"]
    in_frame: Float32[np.ndarray, " frames"]
    similarity: Float32[np.ndarray, " frames"]
    jump: Float32[np.ndarray, " frames"]
    occlusion: Float32[np.ndarray, " frames"]

    def at(self, frames: slice) -> "LandmarkTrack":
        """Some frames of it."""
        arrays = (own.name for own in fields(self) if own.name != "scheme")
        return replace(self, **{name: getattr(self, name)[frames] for name in arrays})
