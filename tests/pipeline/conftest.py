import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from imageio_ffmpeg import get_ffmpeg_exe

sys.path.append(str(Path(__file__).parent))

from fetching import ended_proxies
from loopback import Loopback, loopback_server


@pytest.fixture
def fetching() -> Iterator[None]:
    """Ends the proxies of the test's fetchers."""
    with ended_proxies():
        yield


@pytest.fixture
def server() -> Iterator[Loopback]:
    with loopback_server() as running:
        yield running


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A video of 2 s."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    source = ["-f", "lavfi", "-i", "color=size=32x32:rate=5:duration=2", "-c:v", "mpeg4", str(path)]
    subprocess.run([get_ffmpeg_exe(), "-nostdin", "-v", "error", *source], check=True)
    return path.read_bytes()
