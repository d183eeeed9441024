"""Which split a video belongs to: by the manifest's word, else by a hash of who is seen."""

import hashlib
from typing import Literal, get_args

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

_VAL_PERCENT = 10
_TEST_PERCENT = 10


def split_of(*, video_id: str, subject_id: str | None = None, given: Split | None = None) -> Split:
    """The split of one video.

    Frames of one video, and videos of one subject, are near-duplicates of each other, so a whole
    subject (a whole video where no subject is named) falls on one side.

    Args:
        video_id: The manifest's id of the video, or another name for what must stay together.
        subject_id: The manifest's id of the person, if any; it replaces the video as the hashed key.
        given: The manifest's own choice, which wins.

    Returns:
        `given`, else train (80 %), val (10 %) or test (10 %) by the sha256 of the key.
    """
    if given is not None:
        return given
    key = f"subject:{subject_id}" if subject_id else f"video:{video_id}"
    percent = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % 100
    if percent < _TEST_PERCENT:
        return "test"
    return "val" if percent < _TEST_PERCENT + _VAL_PERCENT else "train"
