"""Dissolves in a stream of thumbnails: stretches in which one picture slowly turns into another.

In a dissolve from A to B every frame is the mixture `(1 - a) A + a B` with `a` rising evenly from 0 to 1 (Lienhart,
"Reliable Transition Detection in Videos: A Survey and Practitioner's Guide", International Journal of Image and
Graphics 2001). So a stretch of frames is one if its first and last picture show different things, if every frame
between lies near the line from the one to the other, and if they follow one another evenly along this line. Pans and
zooms can pass for that where the picture is smooth; but a mixture has less contrast than its ends (Alattar,
"Detecting and compressing dissolve regions in video sequences with a DVI multimedia image compression algorithm",
ISCAS 1993), and what is in it is not found, at full contrast, beside its place in either end.

The mean of each channel is removed first, so that a light that is dimmed is a picture times a number, which shows the
same thing. What is asked of every frame follows from the inner products of the last frames: one product of a matrix
and a vector per frame, and a little algebra where the picture has changed a lot.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt8

THUMBNAIL = (64, 36)
"""Width and height of the pictures that are looked at."""

_MOST_FRAMES = 76
"""Longest dissolve and a little beside it; 2.5 s at 30 frames per second."""
_ROWS = 2 * _MOST_FRAMES
"""Room for that many, so that they need not be moved with every frame."""
_FEWEST_FRAMES = 5
# Measured on 45 dissolves between real videos (median, worst) against the videos' own motion, and pans, zooms,
# passers-by and dimmed lights made from them.
_SAME_PICTURE = 0.62
"""Correlation of the two ends, at most: 0.1, 0.53; within shots hardly below 0.7."""
_CHANGE_LEVELS = 22.0
"""RMS difference of the two ends, of 255 levels: 86, 55."""
_DISTANCE = 0.4
"""RMS distance of the frames from the line, over its length: 0.11, 0.34."""
_UNEVENNESS = 0.1
"""RMS difference of their place on the line from even steps: 0.01, 0.09."""
_HALFWAY_DISTANCE = 0.45
"""Distance of the frame half-way from the mixture of both ends, over their difference: 0.2; motion above 0.36."""
_HALFWAY_DIP = 0.08
"""How much contrast it loses against the mean of both ends, at least: 0.34; most pans and zooms lose none."""
_HALFWAY_NEW = 0.14
"""Share of its contrast that is not found shifted in either end, at least: 0.3, 0.16; pans below 0.1."""
_NEARLY = (1.3, 0.02)
_ARRIVED = 0.94
_SETTLED_FRAMES, _SETTLED_SHARE = 4, 0.12
"""After that many frames and that share of its length that are no further along the line, the new shot has begun."""
_BLOCK = (8, 9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """From one shot to the next; frames from `begin` up to, not including, `end` belong to neither.

    Attributes:
        begin: Index of the first frame that is not of the old shot alone.
        end: Index of the first frame of the new shot. A hard cut has none between: `begin == end`.
    """

    begin: int
    end: int


class DissolveDetector:
    """Give it thumbnails in order; it says so when a dissolve is over, a few frames later."""

    def __init__(self) -> None:
        width, height = THUMBNAIL
        self._thumbnails = np.zeros((_ROWS, height, width, 3), dtype=np.uint8)
        self._pictures = np.zeros((_ROWS, height // 2, width // 2, 3), dtype=np.float32)
        self._products_before = np.zeros((_ROWS, _ROWS))  # of a row with itself and those before it
        self._powers = np.zeros(_ROWS)  # of a row with itself
        self._first = 0
        self._index: list[int] = []
        self._begin: int | None = None

    @property
    def oldest(self) -> int | None:
        """The oldest frame with which a dissolve might still be found to have begun."""
        return self._index[0] if self._index else None

    @property
    def _products(self) -> Float64[np.ndarray, "frames frames"]:
        """Inner products of the pictures that are remembered, the oldest first."""
        remembered = slice(self._first, self._first + len(self._index))
        before = np.tril(self._products_before[remembered, remembered])
        return before + np.tril(before, -1).T

    def reset(self) -> None:
        """Forget all pictures, as after a hard cut."""
        self._index.clear()
        self._first = 0
        self._begin = None

    def __call__(
        self, thumbnail: UInt8[np.ndarray, "36 64 3"], index: int, *, half: UInt8[np.ndarray, "18 32 3"] | None = None
    ) -> Transition | None:
        """The dissolve that is known to be over with this frame, else None.

        Args:
            thumbnail: The frame's.
            index: Of the frame; they increase, and need not be consecutive.
            half: The thumbnail in half the size, by averages, where somebody has it.
        """
        if half is None:
            half = cv2.resize(thumbnail, (THUMBNAIL[0] // 2, THUMBNAIL[1] // 2), interpolation=cv2.INTER_AREA)
        self._remember(thumbnail, half, index)
        if len(self._index) <= _FEWEST_FRAMES:
            return None
        if self._begin is None:
            self._begin = self._beginning(len(self._index) - 1)
            return None
        return self._ending(self._begin)

    def _remember(
        self, thumbnail: UInt8[np.ndarray, "36 64 3"], half: UInt8[np.ndarray, "18 32 3"], index: int
    ) -> None:
        if len(self._index) == _MOST_FRAMES:
            self._forget(1)
        if self._first + len(self._index) == _ROWS:
            self._move_to_front()
        row = self._first + len(self._index)
        self._index.append(index)
        self._thumbnails[row] = thumbnail
        cv2.subtract(half, cv2.mean(half), dst=self._pictures[row], dtype=cv2.CV_32F)  # type: ignore[call-overload]
        remembered = slice(self._first, row + 1)
        pictures = self._pictures[remembered].reshape(row + 1 - self._first, -1)
        products = pictures @ pictures[-1] / pictures.shape[1]
        self._products_before[row, remembered] = products
        self._powers[row] = products[-1]

    def _move_to_front(self) -> None:
        old, new = slice(self._first, _ROWS), slice(0, _ROWS - self._first)
        self._thumbnails[new] = self._thumbnails[old].copy()
        self._pictures[new] = self._pictures[old].copy()
        self._products_before[new, new] = self._products_before[old, old].copy()
        self._powers[new] = self._powers[old].copy()
        self._first = 0

    def _forget(self, frames: int) -> None:
        self._first += frames
        del self._index[:frames]
        # A dissolve whose beginning is forgotten was none.
        if self._begin is not None:
            self._begin = self._begin - frames if self._begin >= frames else None

    def _beginning(self, last: int) -> int | None:
        """Where a dissolve that is over, or a long way on, with the picture `last` began, or None."""
        until_last = slice(self._first, self._first + last + 1)
        power, products = self._powers[until_last], self._products_before[self._first + last, until_last]
        far = power + power[last] - 2 * products > _CHANGE_LEVELS**2
        if not far.any():  # as nearly always
            return None
        far &= products < _SAME_PICTURE * np.sqrt(power * power[last])
        far[last - _FEWEST_FRAMES + 1 :] = False
        if not far.any():
            return None
        starts = np.flatnonzero(far)
        along, beside = self._line(starts, last)
        even = (np.arange(last + 1) - starts[:, None]) / (last - starts)[:, None]
        inside = even >= 0
        unevenness = _root_mean((along - even) ** 2, inside)
        distance = _root_mean(beside, inside)
        fits = (unevenness < _UNEVENNESS) & (distance < _DISTANCE)
        if not fits.any():
            return None
        misfit = np.where(fits, unevenness + distance, np.inf)
        # The earliest that fits nearly as well as the best: a part of a dissolve is as even as the whole.
        return int(starts[np.argmax(misfit <= _NEARLY[0] * misfit.min() + _NEARLY[1])])

    def _ending(self, begin: int) -> Transition | None:
        last = len(self._index) - 1
        along = self._line(np.array([begin]), last)[0][0, begin:]
        arrived = int(np.argmax(along >= _ARRIVED)) + begin
        if last - arrived < _SETTLED_FRAMES + _SETTLED_SHARE * (last - begin) and begin > 0:
            return None
        # Seen from its end, it may have begun elsewhere than it seemed on the way.
        begin = self._beginning(arrived) or begin
        along = self._line(np.array([begin]), arrived)[0][0, begin:]
        self._begin = None
        if not self._is_mixture(begin, int(np.argmax(along >= 0.5)) + begin, arrived):
            return None
        arrived = min(arrived + round((1 - _ARRIVED) * (arrived - begin)), last)
        found = Transition(begin=self._index[begin], end=self._index[arrived])
        self._forget(arrived)
        return found

    def _is_mixture(self, begin: int, halfway: int, arrived: int) -> bool:
        both = np.array([begin, arrived])
        g = self._products
        ends = g[np.ix_(both, both)]
        apart = ends[0, 0] + ends[1, 1] - 2 * ends[0, 1]
        distance = g[halfway, halfway] - g[halfway, both].sum() + ends.sum() / 4
        dip = 1 - 2 * g[halfway, halfway] / (ends[0, 0] + ends[1, 1])
        if distance > _HALFWAY_DISTANCE**2 * apart or dip < _HALFWAY_DIP:
            return False
        grey = self._thumbnails[self._first + np.array([halfway, begin, arrived])].mean(axis=3, dtype=np.float32)
        return _not_found_in(grey[0], grey[1:]) >= _HALFWAY_NEW

    def _line(
        self, starts: Int64[np.ndarray, " starts"], last: int
    ) -> tuple[Float64[np.ndarray, "starts frames"], Float64[np.ndarray, "starts frames"]]:
        """How far along the line from each start to the last picture all pictures are, and squared how far beside."""
        g = self._products[: last + 1, : last + 1]
        power = np.diagonal(g)
        length = np.maximum(power[starts] + power[last] - 2 * g[last, starts], 1e-12)[:, None]
        from_start = power + power[starts][:, None] - 2 * g[starts]
        along = (g[last] - g[starts] - g[last, starts][:, None] + power[starts][:, None]) / length
        return along, np.maximum(from_start / length - along**2, 0.0)


def _root_mean(
    values: Float64[np.ndarray, "starts frames"], inside: Bool[np.ndarray, "starts frames"]
) -> Float64[np.ndarray, " starts"]:
    return np.asarray(np.sqrt(np.where(inside, values, 0.0).sum(axis=1) / inside.sum(axis=1)))


def _not_found_in(
    picture: Float32[np.ndarray, "height width"], others: Float32[np.ndarray, "others height width"]
) -> float:
    """Share of a picture's contrast, block by block, that no block of the others explains, wherever it lies."""
    wide, high = _BLOCK
    places = np.s_[: picture.shape[0] - high + 1, : picture.shape[1] - wide + 1]
    # Sum of squares of every block of the others around its own mean.
    powers = [(_box_sums(other * other) - _box_sums(other) ** 2 / (wide * high))[places] for other in others]
    unexplained = total = 0.0
    for y in range(0, picture.shape[0] - high + 1, high):
        for x in range(0, picture.shape[1] - wide + 1, wide):
            block = picture[y : y + high, x : x + wide]
            own = float(((block - block.mean()) ** 2).sum())
            # TM_CCOEFF is the sum of products, both sides around their means.
            nearest = min(
                float((own + power - 2 * cv2.matchTemplate(other, block, cv2.TM_CCOEFF)).min())
                for other, power in zip(others, powers, strict=True)
            )
            unexplained += min(max(nearest, 0.0), own)
            total += own
    return unexplained / total if total > 0 else 0.0


def _box_sums(picture: Float32[np.ndarray, "height width"]) -> Float32[np.ndarray, "height width"]:
    return np.asarray(
        cv2.boxFilter(picture, -1, _BLOCK, anchor=(0, 0), normalize=False, borderType=cv2.BORDER_CONSTANT)
    )
