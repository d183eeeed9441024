import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from pipeline.faces.probe import ffmpeg_program

MakeClip = Callable[..., Path]


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    cv2.setNumThreads(1)


@pytest.fixture
def make_clip(tmp_path: Path) -> MakeClip:
    """Makes a clip from ffmpeg's test sources: make_clip("a.mp4", "testsrc=...", "-vf", "...") -> its path."""

    def make(name: str, source: str, *arguments: str) -> Path:
        path = tmp_path / name
        command = [ffmpeg_program(), "-v", "error", "-nostdin", "-y", "-f", "lavfi", "-i", source, *arguments]
        subprocess.run([*command, f"file:{path}"], check=True, capture_output=True)
        return path

    return make
