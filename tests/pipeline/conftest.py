import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

from loopback import Loopback, loopback_server


@pytest.fixture
def server() -> Iterator[Loopback]:
    with loopback_server() as running:
        yield running
