"""Smoothing of a face over time that leaves the motion of the whole face alone.

A shaken camera throws the face about from frame to frame, as erratically as noise, and a spline on each landmark
would take that for noise: the smoothed landmarks would no longer lie on the face. So each frame is first mapped by a
similarity onto the track's mean shape, where the shake is gone; the shape is smoothed there, point by point; and the
similarity itself is smoothed only as far as the landmark noise explains.
"""

import numpy as np
from jaxtyping import Complex128, Float32, Float64

from pipeline.faces.smooth import Smoother, smoothed

_RIGID_NOISE = 1.5
"""Largest RMS change of the face's position, over the RMS change of the landmarks within it. Measured on steady videos:
the detector moves all landmarks together at most by as much as each alone (0.4 to 1.0); a shaken camera, by 5 times."""


def smoothed_face(
    points_px: Float32[np.ndarray, "frames points 2"],
    pts_s: Float64[np.ndarray, " frames"],
    weight: Float32[np.ndarray, " frames"],
) -> Float32[np.ndarray, "frames points 2"]:
    """Landmarks of one face after smoothing over time, its motion as a whole kept.

    Args:
        points_px: Landmarks, x right, y down.
        pts_s: Times, strictly increasing; the steps may differ.
        weight: Confidence of each frame. Frames of weight 0 do not count; they are filled.

    Raises:
        ValueError: The times do not increase, or a weight is negative or not finite.
    """
    known = weight > 0
    if known.sum() < 2 or points_px.shape[1] < 3:
        return smoothed(points_px, pts_s, weight)
    z = points_px[..., 0].astype(np.float64) + 1j * points_px[..., 1]
    mean = _mean_shape(z[known])
    turn, centre = _similarities(z, mean)
    turn[~known], centre[~known] = 1.0, 0.0  # whatever they are, they do not count
    shape = _as_points((z - centre[:, None]) / turn[:, None])
    smoother = Smoother(pts_s, weight)
    smooth_shape = smoother(shape)
    noise_px = np.sqrt(((smooth_shape - shape)[known].astype(np.float64) ** 2).sum(axis=2).mean())
    # Two handles carry the similarity: the centre, and a point one face radius beside it.
    radius = np.sqrt((np.abs(mean) ** 2).mean())
    handles = _as_points(np.stack([centre, centre + turn * radius], axis=1))
    smooth_handles = smoother(handles, largest_change=_RIGID_NOISE * float(noise_px))
    w = smooth_handles[..., 0].astype(np.float64) + 1j * smooth_handles[..., 1]
    s = smooth_shape[..., 0].astype(np.float64) + 1j * smooth_shape[..., 1]
    return _as_points(s * ((w[:, 1] - w[:, 0]) / radius)[:, None] + w[:, :1])


def _mean_shape(z: Complex128[np.ndarray, "frames points"]) -> Complex128[np.ndarray, " points"]:
    """The first frame's shape, centred, replaced twice by the mean of all shapes mapped onto it (Procrustes)."""
    mean = z[0] - z[0].mean()
    for _ in range(2):
        turn, centre = _similarities(z, mean)
        mean = ((z - centre[:, None]) / turn[:, None]).mean(axis=0)
        mean -= mean.mean()
    return np.asarray(mean)


def _similarities(
    z: Complex128[np.ndarray, "frames points"], shape: Complex128[np.ndarray, " points"]
) -> tuple[Complex128[np.ndarray, " frames"], Complex128[np.ndarray, " frames"]]:
    """Least-squares `z = turn * shape + centre` per frame, for a centred shape; scale and rotation are one factor."""
    turn = (z - z.mean(axis=1, keepdims=True)) @ shape.conj() / (np.abs(shape) ** 2).sum()
    return turn, z.mean(axis=1)


def _as_points(z: Complex128[np.ndarray, "frames points"]) -> Float32[np.ndarray, "frames points 2"]:
    return np.stack([z.real, z.imag], axis=2).astype(np.float32)
