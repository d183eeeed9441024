"""What the proxy permits."""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.egress.connect import Connector
from pipeline.egress.politeness import Politeness


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressRules:
    """What the proxy permits.

    Attributes:
        politeness: How hosts are treated.
        connector: How it connects, and where not to.
        max_bytes: Bytes per video.
        max_fetch_s: Seconds that a video may be connected.
        max_bytes_per_s: Cap on the bandwidth of all, or None.
        denied: Says of a host why it is denied, or None.
    """

    politeness: Politeness
    connector: Connector
    max_bytes: int
    max_fetch_s: float
    max_bytes_per_s: int | None = None
    denied: Callable[[str], str | None] = lambda _: None
