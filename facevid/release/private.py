"""What a tracks table may say of private things, and what of it a release passes on.

Addresses of the public web and of buckets are where a video can be had again; a path tells how somebody's disk is
arranged, and an address inside a network how that is. Columns that only the manifest knows may hold anything.
"""

import ipaddress
import json
import re
import socket
from collections.abc import Collection
from urllib.parse import unquote, urlsplit

from facevid.public_urls import public_url, without_secrets

_WEB = frozenset({"http", "https"})
_BUCKETS = frozenset({"gs", "s3"})
_INSIDE = (
    ".internal", ".intranet", ".lan", ".local", ".localdomain", ".localhost", ".home", ".corp", ".home.arpa",
    ".fritz.box",
)  # fmt: skip
_SEPARATOR = re.compile(r"[/\\]+")
NAMELESS = "local file"


def shared_url(url: str) -> str:
    """An address as it goes out: public ones without secrets; of paths and addresses inside a network the last name."""
    shown = public_url(url)
    try:
        parts = urlsplit(shown)
        host = (parts.hostname or "").rstrip(".")
    except ValueError:
        return NAMELESS
    if (parts.scheme in _BUCKETS and host) or (parts.scheme in _WEB and _is_public(host)):
        return shown
    path = unquote(parts.path) if parts.scheme in {*_WEB, "file"} else shown
    return _SEPARATOR.split(path.rstrip("/\\"))[-1] or NAMELESS


def shared_text(text: str | None) -> str | None:
    """A text in which no address lets anybody in."""
    return None if text is None else without_secrets(text)


def shared_extra(text: str | None, names: Collection[str]) -> str | None:
    """The manifest's further columns as they go out: those that were named, else nothing.

    Args:
        text: The column `extra` of a track: a JSON object of strings, or None.
        names: Which of them go out.
    """
    found = {name: without_secrets(value) for name, value in extra_columns(text).items() if name in names}
    return json.dumps(found, ensure_ascii=False) if found else None


def extra_columns(text: str | None) -> dict[str, str]:
    """The manifest's further columns of a track; none where they cannot be read."""
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}


def _is_public(host: str) -> bool:
    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        try:
            address = ipaddress.IPv4Address(socket.inet_aton(host))  # 127.1, 0x7f.0.0.1: what resolvers take for one
        except (OSError, ValueError):
            return "." in host and not f".{host}".endswith(_INSIDE)
    return address.is_global
