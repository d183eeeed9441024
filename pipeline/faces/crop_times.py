"""Which frames keep a crop, where not all of them do: the crops are most of what a dataset takes on disk."""

import math

from pipeline.faces.decoding import PHASE


class CropTimes:
    """The first frame of each interval of `1 / crops_per_s` seconds of the file's clock, with a face or without.

    So the frames of a part of a video, but for its first one, are those of the whole; and all faces of a frame have
    their crops, or none.

    Args:
        crops_per_s: At most so many a second; None for every frame.
    """

    def __init__(self, crops_per_s: float | None) -> None:
        self._crops_per_s = crops_per_s
        self._interval: int | None = None

    def keeps(self, pts_s: float) -> bool:
        """Whether a frame keeps its crops; ask for every frame that is read, in order.

        Args:
            pts_s: Its time on the file's clock, seconds.
        """
        if self._crops_per_s is None:
            return True
        before, self._interval = self._interval, math.floor(pts_s * self._crops_per_s + PHASE)
        return self._interval != before
