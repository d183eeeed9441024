"""What commands say while they run, and how they share the machine's cores."""

import sys


def say(line: str) -> None:
    """A line of progress: to standard error, so that what a command prints can be piped."""
    print(line, file=sys.stderr, flush=True)


def use_one_opencv_thread() -> None:
    """OpenCV's own threads fight the ones that decode and the ones that multiply."""
    import cv2

    cv2.setNumThreads(1)
