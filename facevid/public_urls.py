"""Addresses as others may see them: in logs, in messages and in the tables, which are published.

An address may carry what lets anyone in: a user name and password, the signature of a link that a bucket's owner
made for us, a token of a session. To know where a video is from, nobody needs these. The manifest, and the copy of its
rows in the build's state folder, keep addresses as the user gave them: they are what is fetched. Standard library only.
"""

import re
from urllib.parse import unquote

from facevid.signed_links import unsigned_url

REMOVED = "removed"
"""What stands in the place of a secret."""

_ADDRESS = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+:[/\\]*)(?P<place>[^/?#\\]*)(?P<path>[^?#]*)(?P<rest>.*)", re.DOTALL
)
_IN_TEXT = re.compile(r"(?<![A-Za-z0-9+.-])[A-Za-z][A-Za-z0-9+.-]{1,20}:[/\\]+[^\s\"'<>]+")
_PARAMETER = re.compile(r"([^?#&;=]+)=([^#&;]*)")
_NAME = re.compile(r"([^?#&;=]+)=")
_USER_INSIDE = re.compile(r":[/\\]+[^/?#\\]*@")
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")
# Names of parameters, or words in them: signatures of schemes that `signed_links` does not know, or of which a part is
# missing (sig, Key-Pair-Id, hdnts), sessions and keys of everyone else's (access_token, apiKey, jwt).
_SECRET = frozenset({
    "accesskey", "accesstoken", "apikey", "auth", "authkey", "authorization", "authtoken", "credential", "credentials",
    "hdnea", "hdntl", "hdnts", "hmac", "jwt", "key", "pass", "passwd", "password", "policy", "pwd", "secret", "session",
    "sessionid", "sessiontoken", "sig", "signature", "token",
})  # fmt: skip


def public_url(url: str) -> str:
    """An address without user name and password, without its signature, and without values that let someone in.

    A signature goes with all that belongs to it, so that a link which is signed anew looks the same.

    Args:
        url: Any text. A local path is returned as it is, and so is an address without secrets.
    """
    match = _ADDRESS.fullmatch(url)
    if match is None:
        return url
    scheme, place, path, rest = match["scheme"], match["place"], match["path"], match["rest"]
    host, colon, port = place.partition(":")
    if "@" in place:
        place = place.rpartition("@")[2]
    elif colon and port and not port.isdecimal() and not host.startswith("[") and "@" in path + rest:
        # A password with a slash, or the like, in it: whatever it was meant to be, nobody is to read it.
        place, path, rest = (path + rest).rpartition("@")[2], "", ""
    return unsigned_url(f"{scheme}{place}{path}{_PARAMETER.sub(_public_parameter, rest)}")


def without_secrets(text: str) -> str:
    """A text in which every address is as others may see it."""
    return _IN_TEXT.sub(lambda match: public_url(match[0]), text)


def _public_parameter(match: re.Match[str]) -> str:
    name, value = match[1], match[2]
    inside = unquote(value)  # which may be an address of its own
    names = [name, *_NAME.findall(inside)]
    secret = any(_is_secret(own) for own in names) or _USER_INSIDE.search(inside)
    return f"{name}={REMOVED}" if value and secret else match[0]


def _is_secret(name: str) -> bool:
    return not _SECRET.isdisjoint(word.lower() for word in _WORD.findall(unquote(name)))
