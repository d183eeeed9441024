"""Which row of a wave is next: the one whose host can be asked first.

A host has one video at a time with pauses between them, see `pipeline.egress`; a worker that waits for one host while
another could be asked loses time. So the rows of a wave are not dealt out in advance: each worker takes the next one
when it is ready, and what all of them know of the hosts (who is at which, until when it rests) is in one small file.
The proxy alone decides when a host is asked; this file only says where it is worth to queue. Which worker takes which
row changes no result.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.egress.wire import plain_host
from pipeline.manifest import is_bucket, is_remote
from pipeline.shared_json import begin_shared, shared_json

_DEFAULT_PORTS = {"http": 80, "https": 443}
_MUST_WAIT = 2


def host_of(url: str) -> str:
    """The host that a row waits for, with its port; empty for local files and buckets, which nobody waits for."""
    if not is_remote(url) or is_bucket(url):
        return ""
    parts = urlsplit(url)
    return f"{plain_host(parts.hostname or '')}:{parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)}"


def interleaved(rows: Sequence[int], hosts: Sequence[str]) -> list[int]:
    """Rows in an order in which each host's are spread evenly over the whole, and keep their order among themselves.

    Args:
        rows: Places in the manifest.
        hosts: The host of each.
    """
    counts, seen = Counter(hosts), Counter[str]()
    first = {host: place for place, host in enumerate(counts)}
    places = []
    for row, host in zip(rows, hosts, strict=True):
        places.append(((seen[host] + 0.5) / counts[host], first[host], row))
        seen[host] += 1
    return [row for _, _, row in sorted(places)]


@dataclass(slots=True, kw_only=True)
class _Host:
    """What is known of one host.

    Attributes:
        taken: How many of its rows were taken, in order.
        busy: How many workers wait for it or have a video of it, of which others do not know yet what it brings.
        free_s: When it may be asked next, as far as we know; on the machine's monotonic clock.
        rests_s: Until when it is left alone; 0 where it is not.
    """

    taken: int = 0
    busy: int = 0
    free_s: float = 0.0
    rests_s: float = 0.0


class WaveQueue:
    """The rows of one wave, as seen by one worker.

    Args:
        path: The file that all workers share; `begin` makes it.
        rows: Places in the manifest.
        hosts: The host of each, see `host_of`; empty where it needs none.
        pause_s: The longest pause between two videos of one host.
        clock: The machine's monotonic clock, seconds; tests replace it.
    """

    def __init__(
        self,
        path: Path,
        rows: Sequence[int],
        hosts: Sequence[str],
        *,
        pause_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._pause_s, self._clock = path, pause_s, clock
        self._rows: defaultdict[str, list[int]] = defaultdict(list)
        for row, host in zip(rows, hosts, strict=True):
            self._rows[host].append(row)

    def begin(self) -> None:
        """Make the file anew: nothing is taken."""
        begin_shared(self._path, {"hosts": {}, "refused": {}})

    def take(self, *, patient: bool = True) -> tuple[int, str] | None:
        """Take a row, and be counted at its host until `leave`; None where none is left that may be had now.

        Args:
            patient: Also a row whose host must be waited for, because of another worker or of the pause.
        """
        with self._shared() as (hosts, _):
            now_s = self._clock()
            if not (left := self._left(hosts, now_s)):
                return None
            # Who has most left is asked first: the last host to be done is what the wave waits for.
            host = min(left, key=lambda each: (*_wait(each, hosts[each], now_s), -left[each]))
            chosen = hosts[host]
            if not patient and _wait(host, chosen, now_s)[0] >= _MUST_WAIT:
                return None
            row = self._rows[host][chosen.taken]
            chosen.taken += 1
            chosen.busy += 1
            return row, host

    def over(self) -> bool:
        """Whether nobody fetches any more: no row may be had now, and all that were taken are left."""
        with self._shared() as (hosts, _):
            return not self._left(hosts, self._clock()) and not any(known.busy for known in hosts.values())

    def leave(self, host: str) -> None:
        """Be done with a host, once others can find what its row has brought."""
        with self._shared() as (hosts, _):
            hosts[host].busy -= 1
            hosts[host].free_s = self._clock() + self._pause_s

    def refuse(self, row: int, host: str, rest_s: float) -> None:
        """Note that a host is left alone for a time, and that this row of it was not asked for."""
        with self._shared() as (hosts, refused):
            until_s = self._clock() + rest_s
            hosts[host].rests_s = max(until_s, hosts[host].rests_s)
            refused[str(row)] = until_s

    def resting(self) -> dict[int, float]:
        """Rows that were not asked for since their host rests, and until when it does; when the wave is over."""
        with self._shared() as (hosts, refused):
            found = {int(row): until_s for row, until_s in refused.items()}
            for host, rows in self._rows.items():
                if hosts[host].rests_s:
                    found |= dict.fromkeys(rows[hosts[host].taken :], hosts[host].rests_s)
            return found

    def _left(self, hosts: defaultdict[str, _Host], now_s: float) -> dict[str, int]:
        """How many rows may be had of each host, of those that do not rest."""
        counts = {host: len(rows) - hosts[host].taken for host, rows in self._rows.items()}
        return {host: count for host, count in counts.items() if count and hosts[host].rests_s <= now_s}

    @contextmanager
    def _shared(self) -> Iterator[tuple[defaultdict[str, _Host], dict[str, float]]]:
        with shared_json(self._path) as plain:
            hosts = defaultdict(_Host, {host: _Host(**known) for host, known in plain["hosts"].items()})
            yield hosts, plain["refused"]
            plain["hosts"] = {host: asdict(known) for host, known in hosts.items()}


def _wait(host: str, known: _Host, now_s: float) -> tuple[int, float]:
    """How long one would wait there: first what can be downloaded now, then what needs no host, then what must wait."""
    if not host:
        return 1, 0.0
    if known.busy:
        return _MUST_WAIT + known.busy, 0.0
    return (0, 0.0) if known.free_s <= now_s else (_MUST_WAIT, known.free_s)


def due_first(resting: Mapping[int, float], now_s: float) -> list[int]:
    """Of rows whose hosts rest, those whose hosts may be asked again, in the order in which they may."""
    return sorted((row for row, until_s in resting.items() if until_s <= now_s), key=lambda row: (resting[row], row))
