"""Signed links: the address of a file, and with it what lets its bearer in for some hours or days.

A bucket's owner, or a content network, signs a link anew whenever it is asked for: the same file under another date,
another time of expiry and another signature. What names the file is the address without all that. Parameters belong to
a signature by their names, and the short names of some schemes (`se`, `t`, `Expires`) only beside those that tell the
scheme: an ordinary site may call something else by them. Standard library only.

Sources: AWS Signature Version 4 and 2 (query string authentication), Google Cloud Storage V4 and V2 signed URLs, Azure
Storage shared access signatures, CloudFront signed URLs, and the copies of the first by other clouds.
"""

import re
from dataclasses import dataclass
from urllib.parse import unquote

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+:[/\\]*[^?#]*)\?([^#]*)(.*)", re.DOTALL)
_PREFIXES = ("x-amz-", "x-goog-", "x-oss-")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scheme:
    """Parameters that belong to a signature.

    Attributes:
        signature: Names that are there, all of them, where a link is signed in this way; in lower case, like the rest.
        one_of: Of these names one is there, too.
        further: Names that belong to the signature then.
    """

    signature: frozenset[str]
    one_of: frozenset[str]
    further: frozenset[str]

    def of(self, names: frozenset[str]) -> frozenset[str]:
        """Those of an address's parameters that belong to a signature of this kind."""
        signed = self.signature <= names and not self.one_of.isdisjoint(names)
        return names & (self.signature | self.one_of | self.further) if signed else frozenset()


_SCHEMES = (
    _Scheme(  # V2 of Amazon and Google, CloudFront
        signature=frozenset({"signature"}),
        one_of=frozenset({"awsaccesskeyid", "googleaccessid", "key-pair-id", "ossaccesskeyid"}),
        further=frozenset({"expires", "policy", "hash-algorithm", "security-token"}),
    ),
    _Scheme(  # Azure: of an account, a service, a directory, or a user
        signature=frozenset({"sig"}),
        one_of=frozenset({"sv"}),
        further=frozenset({
            "sdd", "se", "ses", "si", "sip", "ske", "skoid", "sks", "skt", "sktid", "skv", "sp", "spr", "sr", "srt",
            "ss", "st", "saoid", "suoid", "scid",
        }),
    ),
)  # fmt: skip


def unsigned_url(url: str) -> str:
    """An address without its signature and all that belongs to that: the same for every signing of one file.

    Other secrets (a token, a password) stay, as by them alone nobody can tell two files apart: `public_urls` has them.

    Args:
        url: Any text. A path is returned as it is, and so is an address that is not signed.
    """
    match = _ADDRESS.fullmatch(url)
    if match is None:
        return url
    place, query, rest = match.groups()
    given = [(unquote(part.partition("=")[0]).lower(), part) for part in query.split("&")]
    names = frozenset(name for name, _ in given)
    signing = {name for name in names if name.startswith(_PREFIXES)}.union(*(each.of(names) for each in _SCHEMES))
    if not signing:
        return url
    kept = "&".join(part for name, part in given if name not in signing)
    return f"{place}?{kept}{rest}" if kept else place + rest
