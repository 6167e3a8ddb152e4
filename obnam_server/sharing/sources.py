"""Where a connection comes from, as far as limits by address are concerned."""

from ipaddress import IPv4Address as Ip4
from ipaddress import IPv6Address as Ip6
from ipaddress import ip_address

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress

IPV6_PREFIX_BITS = 64
"""One subscriber has at least this much of the IPv6 address space, all of it his to use."""


def source_of(address: IAddress) -> str | None:
    """The IPv4 address, or the IPv6 network of /64; ``None``: no limit goes by it.

    That is a Unix socket, which only the server's own user can open.
    """
    if not isinstance(address, IPv4Address | IPv6Address):
        return None
    # A link-local address may have a zone behind it: fe80::1%eth0.
    host: Ip4 | Ip6 = ip_address(address.host.partition("%")[0])
    if isinstance(host, Ip6) and host.ipv4_mapped is not None:
        host = host.ipv4_mapped
    if isinstance(host, Ip4):
        return str(host)
    network = int(host) >> (128 - IPV6_PREFIX_BITS) << (128 - IPV6_PREFIX_BITS)
    return f"{Ip6(network)}/{IPV6_PREFIX_BITS}"
