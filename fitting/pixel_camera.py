"""Cameras back in pixels, as numpy arrays; frames that no landmark speaks for are filled in from their neighbours."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Float64

from fitting.camera import ScaledOrthographic
from fitting.face_model import OUTER_EYE_POINTS
from fitting.lens import through_lens
from fitting.preparation import PreparedTrack
from fitting.rotation import canonical, matrix_from_quaternion


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelCamera:
    """One camera per frame of a track: `px = scale * (R @ head)[:2] + translation`, through the track's lens."""

    scale_px_per_mm: Float64[np.ndarray, " frames"]
    rotation_wxyz: Float64[np.ndarray, "frames 4"]
    translation_px: Float64[np.ndarray, "frames 2"]
    lens: Float32[np.ndarray, " 3"]

    def at(self, frames: slice) -> "PixelCamera":
        """The cameras of some frames."""
        return PixelCamera(
            scale_px_per_mm=self.scale_px_per_mm[frames],
            rotation_wxyz=self.rotation_wxyz[frames],
            translation_px=self.translation_px[frames],
            lens=self.lens,
        )

    def project(self, head_mm: Float32[np.ndarray, "frames points 3"]) -> Float64[np.ndarray, "frames points 2"]:
        """Picture coordinates of points of the head frame."""
        rotation = matrix_from_quaternion(torch.from_numpy(self.rotation_wxyz))
        turn = torch.from_numpy(self.scale_px_per_mm)[:, None, None] * rotation
        # About the head's origin, where float32 has a 100,000th of a pixel.
        scaled = torch.bmm(torch.from_numpy(head_mm), turn.float().mT).numpy()
        return np.asarray(through_lens(scaled, self.translation_px, self.lens.astype(np.float64)))

    def outer_eye_px(self, head_mm: Float32[np.ndarray, "frames points 3"]) -> Float64[np.ndarray, " frames"]:
        """Outer-eye distance as it would be seen from the front."""
        left, right = OUTER_EYE_POINTS
        distance = np.linalg.norm(head_mm[:, left].astype(np.float64) - head_mm[:, right], axis=-1)
        return np.asarray(self.scale_px_per_mm * distance)


def pixel_camera(
    camera: ScaledOrthographic, track: PreparedTrack, lens: Float32[np.ndarray, " 3"]
) -> PixelCamera:
    """Undo the centring and scaling of `prepare`; cameras of unusable frames are interpolated over time."""
    log_scale = np.log(camera.scale.double().cpu().numpy() * track.sigma_px)
    quaternion = canonical(camera.quaternion.double()).cpu().numpy()
    translation = camera.translation.double().cpu().numpy() * track.sigma_px + track.centre_px
    # Of the two quaternions of a rotation, the one nearer to the last frame's, so that a mean lies between them.
    turned_over = (quaternion[1:] * quaternion[:-1]).sum(axis=1) < 0
    quaternion[1:] *= np.where(np.cumsum(turned_over) % 2, -1.0, 1.0)[:, None]
    values = np.column_stack([log_scale, quaternion, translation])
    missing = ~track.usable
    if missing.any():
        known = np.flatnonzero(track.usable)
        for column in range(values.shape[1]):
            values[missing, column] = np.interp(track.pts_s[missing], track.pts_s[known], values[known, column])
    rotation = values[:, 1:5] / np.linalg.norm(values[:, 1:5], axis=1, keepdims=True)
    rotation = np.where(rotation[:, :1] < 0, -rotation, rotation)
    return PixelCamera(
        scale_px_per_mm=np.exp(values[:, 0]), rotation_wxyz=rotation, translation_px=values[:, 5:], lens=lens
    )
