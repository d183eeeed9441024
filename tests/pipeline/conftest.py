import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

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
