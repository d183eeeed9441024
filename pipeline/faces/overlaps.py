"""How much boxes of faces overlap; without what reads pictures, which not all who ask have loaded."""

import numpy as np
from jaxtyping import Float32


def overlap(first: Float32[np.ndarray, " 4"], second: Float32[np.ndarray, " 4"]) -> float:
    """Intersection over union of two boxes x0, y0, x1, y1."""
    ax0, ay0, ax1, ay1 = first.tolist()
    bx0, by0, bx1, by1 = second.tolist()
    common = max(0.0, min(ax1, bx1) - max(ax0, bx0)) * max(0.0, min(ay1, by1) - max(ay0, by0))
    areas = (ax1 - ax0) * (ay1 - ay0) + (bx1 - bx0) * (by1 - by0)
    return float(common / max(areas - common, 1e-9))


def overlaps(box: Float32[np.ndarray, " 4"], others: Float32[np.ndarray, "boxes 4"]) -> Float32[np.ndarray, " boxes"]:
    """The same of one box with each of many."""
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[2:], others[:, 2:])
    common = np.prod(np.maximum(high - low, 0), axis=1)
    areas = np.prod(others[:, 2:] - others[:, :2], axis=1) + np.prod(box[2:] - box[:2])
    return np.asarray(common / np.maximum(areas - common, np.float32(1e-9)), dtype=np.float32)
