"""Which frames the identity is found from: well seen, spread over pose and time, not too close together."""

import numpy as np
from jaxtyping import Bool, Float, Int64

POSE_SPREAD_DEG = 12.0
"""Turns of this size count as much as an even spacing in time."""


def choose_keyframes(
    pts_s: Float[np.ndarray, " frames"],
    angles_deg: Float[np.ndarray, "frames 2"],
    usable: Bool[np.ndarray, " frames"],
    count: int,
    spacing_s: float,
) -> Int64[np.ndarray, " chosen"]:
    """Pick up to `count` frames by farthest-point sampling over (time, yaw, pitch).

    Args:
        pts_s: Presentation times, not falling.
        angles_deg: Yaw and pitch.
        usable: Frames that may be picked.
        count: Largest number of frames.
        spacing_s: Least time between two of them: expressions of neighbours are nearly the same.

    Returns:
        Frame numbers, increasing; at least one, if any frame is usable.
    """
    candidates = np.flatnonzero(usable)
    if len(candidates) == 0:
        return candidates.astype(np.int64)
    times = pts_s[candidates]
    span = max(float(times[-1] - times[0]), 1e-9)
    # Time counts as much as 1 where frames are spread evenly.
    features = np.vstack([times * (count / span), angles_deg[candidates].T / POSE_SPREAD_DEG])
    # Squared distance from what has been chosen; -1 where a frame is too near in time.
    distance = np.full(len(candidates), np.inf)
    near_from, near_to = np.searchsorted(times, times - spacing_s, "right"), np.searchsorted(times, times + spacing_s)
    chosen: list[int] = []
    pick = len(candidates) // 2
    while len(chosen) < count and distance[pick] >= 0:
        chosen.append(pick)
        away = features - features[:, pick, None]
        np.minimum(distance, np.einsum("ij,ij->j", away, away), out=distance)
        distance[near_from[pick] : near_to[pick]] = -1.0
        # Without a least spacing nothing is near, but nothing is picked twice either.
        distance[pick] = -1.0
        pick = int(distance.argmax())
    return np.asarray(candidates[np.sort(chosen)], dtype=np.int64)
