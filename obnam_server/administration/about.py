"""What only the running server knows of itself."""

import os
from collections.abc import Sequence

from obnam import __version__
from obnam.wire.members import Json
from obnam_server.site import ApiSite


def about(site: ApiSite, addresses: Sequence[str], started_ns: int) -> Json:
    """Of this process and its connections. ``started_ns``: since the epoch."""
    counters = site.services.counters
    return {
        "pid": os.getpid(),
        "version": __version__,
        "started_ns": started_ns,
        "addresses": list(addresses),
        "connections": len(site.channels),
        "uploads": len(site.services.queues.uploads),
        "answers": sum(counters.answers.values()),
        "failed": sum(n for (_, status), n in counters.answers.items() if status >= 500),
        "received_bytes": counters.received_bytes,
        "sent_bytes": counters.sent_bytes,
    }
