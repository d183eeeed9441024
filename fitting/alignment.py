"""The best similarity or rigid motion between corresponding points."""

import numpy as np
from jaxtyping import Float


def similarity(
    source: Float[np.ndarray, "points 3"], target: Float[np.ndarray, "points 3"], *, scaled: bool = True
) -> tuple[float, Float[np.ndarray, "3 3"], Float[np.ndarray, "3"]]:
    """Scale, rotation and shift with target ~ scale R source + shift, in least squares (Umeyama, PAMI 1991).

    Args:
        source: Points, any unit and frame.
        target: The corresponding points.
        scaled: False keeps the scale at 1.
    """
    centre, goal = source.mean(axis=0), target.mean(axis=0)
    u, strength, vt = np.linalg.svd((target - goal).T @ (source - centre))
    # A reflection would fit a mirrored face perfectly; a face cannot be reflected.
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * sign) @ vt
    scale = float((strength * sign).sum() / ((source - centre) ** 2).sum()) if scaled else 1.0
    return scale, rotation, goal - scale * rotation @ centre
