"""Lists of what may, or must not, be fetched: hosts with all below them, beginnings of addresses, videos, persons.

One entry per line, `#` begins a comment:

    example.org                       the host and all hosts below it
    https://video.example/user/anna   this address, and all that go on with / or ? or &
    id:clip-0007                      the row with this video_id
    subject:anna                      all rows with this subject_id
"""

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from facevid.video_address import video_address
from pipeline.text_encoding import other_encoding

_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*|[0-9a-f:.]+")
_BORDER = re.compile(r"[/?&]")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceList:
    """A list that was read.

    Attributes:
        hosts: Names of hosts, lower case.
        prefixes: Beginnings of addresses, in one spelling.
        ids: Video ids.
        subjects: Subject ids.
    """

    hosts: frozenset[str] = frozenset()
    prefixes: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()
    subjects: frozenset[str] = frozenset()

    @classmethod
    def read(cls, path: Path) -> "SourceList":
        """Read a list.

        Raises:
            ValueError: The file cannot be read, or a line is none of the four; all such lines are named.
        """
        try:
            lines = path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else f"it {other_encoding(path) or 'is not UTF-8'}"
            raise ValueError(f"cannot read the list {path}: {reason}") from error
        hosts, prefixes, ids, subjects, bad = set(), set(), set(), set(), []
        for number, line in enumerate(lines, 1):
            entry = re.sub(r"(^|\s)#.*", "", line).strip()
            if not entry:
                continue
            if entry.startswith("id:"):
                ids.add(entry.removeprefix("id:").strip())
            elif entry.startswith("subject:"):
                subjects.add(entry.removeprefix("subject:").strip())
            elif "://" in entry and (plain := _plain(video_address(entry))):
                prefixes.add(plain[1].rstrip("/"))
            elif _HOST.fullmatch(host := _plain_host(entry)):
                hosts.add(host)
            else:
                bad.append(f"line {number}: {entry!r} is no host, no address, no id:VIDEO_ID and no subject:ID")
        if bad:
            raise ValueError(f"the list {path} has lines that cannot be used: {'; '.join(bad)}")
        return cls(
            hosts=frozenset(hosts), prefixes=frozenset(prefixes), ids=frozenset(ids), subjects=frozenset(subjects)
        )

    def all_entries(self) -> set[str]:
        """The entries, as `entries` spells them."""
        ids, subjects = (f"id:{name}" for name in self.ids), (f"subject:{name}" for name in self.subjects)
        return {*self.hosts, *self.prefixes, *ids, *subjects}

    def names(self, url: str, video_id: str, subject_id: str | None = None) -> str | None:
        """The entry that a row falls under, or None; of several the first of `entries`."""
        return next(self.entries(url, video_id, subject_id), None)

    def entries(self, url: str, video_id: str, subject_id: str | None = None) -> Iterator[str]:
        """All entries that a row falls under.

        Args:
            url: The row's address; paths of local files fall under ids alone.
            video_id: The row's id.
            subject_id: Who it is, where the row says it.
        """
        if video_id in self.ids:
            yield f"id:{video_id}"
        if subject_id in self.subjects:
            yield f"subject:{subject_id}"
        for spelling in dict.fromkeys((url, video_address(url))):  # a host may be listed of either
            if (found := _plain(spelling)) is None:
                continue
            host, plain = found
            yield from self._hosts_above(host)
            ends = (*(match.start() for match in _BORDER.finditer(plain)), len(plain))
            yield from (plain[:end] for end in ends if plain[:end] in self.prefixes)

    def names_host(self, host: str) -> str | None:
        """The listed host that a host is, or is below of, or None."""
        return next(self._hosts_above(host), None)

    def _hosts_above(self, host: str) -> Iterator[str]:
        labels = _plain_host(host).split(".")
        above = (".".join(labels[begin:]) for begin in range(len(labels)))
        return (name for name in above if name in self.hosts)


def _plain_host(host: str) -> str:
    host = host.lower().strip("[]").rstrip(".")
    try:
        return host.encode("idna").decode() if not host.isascii() else host
    except UnicodeError:
        return host


def _plain(url: str) -> tuple[str, str] | None:
    # (host, whole address in one spelling); http and https are one, as sites are the same under both.
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not host:
        return None
    web = parts.scheme in _DEFAULT_PORTS
    host = _plain_host(host)
    place = host if port in {None, _DEFAULT_PORTS.get(parts.scheme)} else f"{host}:{port}"
    query = f"?{parts.query}" if parts.query else ""
    # `/x/../anna` is `/anna` to whoever asks for it (RFC 3986, section 5.2.4), and must be to those who forbid it.
    path = posixpath.normpath("/" + unquote(parts.path).lstrip("/")) if parts.path else ""
    return host, f"{'https' if web else parts.scheme}://{place}{path}{query}"
