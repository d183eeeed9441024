"""Hard cuts in a stream of frames, told from a small thumbnail of each.

Two frames are compared by how much the thumbnail's pixels differ (motion also raises this) and by how much the
colours as a whole differ (motion hardly raises this). A cut is a difference that stands out both from a fixed
threshold and from the recent past, so that a shaking camera cuts nothing and a flickering light only in its first
frames. Each frame is judged when it comes: nothing is held back. Dissolves and fades are not found.
"""

from collections import deque

import numpy as np
from jaxtyping import Float32

from pipeline.faces.picture import Picture

_THUMBNAIL = (32, 18)
_SAMPLES_PER_CELL = 4
_LEVELS_PER_CHANNEL = 4
_PAST_FRAMES = 15
_KNOWN_FRAMES = 3
# Of 255 levels, and of 1. Measured on face video: within shots up to 19 levels and 0.1, at cuts from about 40 and 0.4.
_CHANGE_LEVELS, _CHANGE_TIMES, _COLOUR_CHANGE = 10.0, 3.0, 0.25
_LARGE_CHANGE_LEVELS, _LARGE_CHANGE_TIMES = 30.0, 5.0


class CutDetector:
    """Say of each frame whether a new shot begins with it."""

    def __init__(self) -> None:
        self._last: tuple[Float32[np.ndarray, "18 32 3"], Float32[np.ndarray, " bins"]] | None = None
        self._past: deque[float] = deque(maxlen=_PAST_FRAMES)

    def __call__(self, picture: Picture) -> bool:
        """Whether a cut lies between the last frame and this one; False for the first."""
        last, self._last = self._last, _thumbnail(picture)
        if last is None:
            return False
        change = float(np.abs(self._last[0] - last[0]).mean())
        colours = float(np.abs(self._last[1] - last[1]).sum()) / 2
        usual = float(np.median(self._past)) if self._past else 0.0
        stands_out = change >= max(_CHANGE_LEVELS, _CHANGE_TIMES * usual)
        # Two shots of the same place share their colours; that their pixels differ only tells if the past is known.
        by_far = change >= max(_LARGE_CHANGE_LEVELS, _LARGE_CHANGE_TIMES * usual) and len(self._past) >= _KNOWN_FRAMES
        # Cuts stay in the past as well: one of them does not move the median, a flickering light does.
        self._past.append(change)
        return (stands_out and colours >= _COLOUR_CHANGE) or by_far


def _thumbnail(
    picture: Picture,
) -> tuple[Float32[np.ndarray, "18 32 3"], Float32[np.ndarray, " bins"]]:
    # Sixteen samples per cell are enough, and do not touch every pixel of a large frame.
    small = picture.thumbnail(*_THUMBNAIL, samples_per_pixel=_SAMPLES_PER_CELL)
    level = small // np.uint8(256 // _LEVELS_PER_CHANNEL)
    code = (level[..., 0] * _LEVELS_PER_CHANNEL + level[..., 1]) * _LEVELS_PER_CHANNEL + level[..., 2]
    counts = np.bincount(code.reshape(-1), minlength=_LEVELS_PER_CHANNEL**3)
    return small.astype(np.float32), (counts / code.size).astype(np.float32)
