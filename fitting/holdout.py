"""Which frames the hold-out error is taken over: all of a short track, some stretches of a long one.

The error is a median over frames, and frames are many: stretches spread evenly over a track say the same at a fraction
of its cost, which is then a small one that hardly grows with the track. Frames stay together, as the fit is smooth
over time.
"""

import numpy as np
from jaxtyping import Bool, Int64

STRETCHES, STRETCH_FRAMES = 8, 24


def holdout_frames(usable: Bool[np.ndarray, " frames"]) -> Int64[np.ndarray, " chosen"]:
    """The frames of a track that the hold-out fit is made of, increasing.

    Args:
        usable: Frames with enough landmarks, and a camera: a long track's are chosen from these.
    """
    wanted = STRETCHES * STRETCH_FRAMES
    if len(usable) <= wanted:
        return np.arange(len(usable), dtype=np.int64)
    candidates = np.flatnonzero(usable)
    if len(candidates) <= wanted:
        return candidates.astype(np.int64)
    starts = np.linspace(0, len(candidates) - STRETCH_FRAMES, STRETCHES).astype(np.int64)
    return np.asarray(candidates[(starts[:, None] + np.arange(STRETCH_FRAMES)).ravel()], dtype=np.int64)
