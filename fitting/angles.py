"""Which way a head is turned, in degrees. numpy alone: writing tables does not wait for torch to load."""

import numpy as np
from jaxtyping import Float


def yaw_pitch_roll_deg(rotation_wxyz: Float[np.ndarray, "*batch 4"]) -> Float[np.ndarray, "*batch 3"]:
    """Head angles in degrees from quaternions head frame -> camera frame; all 0 for a frontal face.

    Yaw (turn to the subject's left positive) and pitch (looking up positive) say where the face points; roll
    (clockwise in the picture positive) is the turn about that direction. Yaw and roll lie in [-180, 180].
    """
    w, x, y, z = np.moveaxis(np.asarray(rotation_wxyz, dtype=np.float64), -1, 0)
    # The third column of the rotation is where the face points; flipping camera y and z gives upright head axes.
    ahead_x, ahead_y, ahead_z = 2 * (x * z + w * y), -2 * (y * z - w * x), -(1 - 2 * (x * x + y * y))
    side_y, up_y = -2 * (x * y + w * z), -(1 - 2 * (x * x + z * z))
    yaw = np.arctan2(ahead_x, ahead_z)
    pitch = np.arcsin(np.clip(ahead_y, -1.0, 1.0))
    roll = np.arctan2(-side_y, up_y)
    angles = np.degrees(np.stack([yaw, pitch, roll], axis=-1))
    return np.asarray(angles, dtype=rotation_wxyz.dtype)
