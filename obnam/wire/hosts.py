"""Whether a URL's host is one that can be looked up, before anybody tries."""

import ipaddress
import re

_HOST_MAX = 253
"""Characters: what its 255 bytes on the wire leave."""

_NAME = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?", re.IGNORECASE)
"""Labels of at most 63 characters: RFC 1035, 2.3.4."""


def is_host(url: str, host: str | None) -> bool:
    """Whether ``host`` is a name or an address, ``urlsplit(url).hostname``.

    That function takes anything for a name, and drops line ends.
    """
    if host is None or not url.isascii() or not url.isprintable():
        return False
    if ":" in host:
        try:
            # One with a zone (`fe80::1%eth0`) leads elsewhere on each computer, and in no URL.
            return ipaddress.IPv6Address(host).scope_id is None
        except ValueError:
            return False
    return len(host) <= _HOST_MAX and _NAME.fullmatch(host) is not None
