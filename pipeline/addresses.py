"""Which network addresses may be asked. Standard library only."""

import ipaddress

# The ports on which browsers refuse to speak HTTP (WHATWG Fetch, section "Port blocking"), from 1024 on.
_OTHER_PROTOCOLS = frozenset({
    1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
})  # fmt: skip
# Not on the public internet either, whatever `ipaddress` of this Python says: IANA's special-purpose registries
# (192.0.0.0/24, where one cloud has its metadata; the 6to4 anycast; documentation), the site-local addresses of before
# RFC 3879, and the address at which another cloud serves its machines.
_NOT_PUBLIC = tuple(ipaddress.ip_network(network) for network in (
    "192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32", "fec0::/10", "3fff::/20", "5f00::/16", "64:ff9b:1::/48",
))  # fmt: skip


def is_public(address: str) -> bool:
    """Whether an IP address is on the public internet: not loopback, private, link-local, multicast or reserved.

    Raises:
        ValueError: It is no IP address.
    """
    parsed: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        # These carry an IPv4 address, to which a gateway on the way may connect.
        inner = parsed.ipv4_mapped or parsed.sixtofour or (parsed.teredo[1] if parsed.teredo else None)
        if inner is not None:
            parsed = inner
        elif parsed in ipaddress.ip_network("64:ff9b::/96"):
            parsed = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
    if any(parsed in network for network in _NOT_PUBLIC):
        return False
    return parsed.is_global and not parsed.is_multicast and not parsed.is_reserved


def is_web_port(port: int) -> bool:
    """Whether a web server may be expected on a port: 80, 443, or one from 1024 on that is no other protocol's."""
    return port in {80, 443} or (port >= 1024 and port not in _OTHER_PROTOCOLS)
