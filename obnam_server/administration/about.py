"""What only the running server knows of itself."""

import os
from collections.abc import Sequence

from obnam import __version__
from obnam.wire.members import Json
from obnam_server.channel import ApiChannel
from obnam_server.services import Services


def about(
    services: Services,
    channels: Sequence[ApiChannel],
    addresses: Sequence[str],
    started_ns: int,
    workers: Sequence[int],
) -> Json:
    """Of this process and the connections of clients.

    ``started_ns``: since the epoch; ``workers``: the processes of those that run.
    """
    counters = services.counters
    return {
        "pid": os.getpid(),
        "version": __version__,
        "started_ns": started_ns,
        "addresses": list(addresses),
        "workers": list(workers),
        "connections": len(channels),
        "uploads": len(services.queues.uploads),
        "answers": sum(counters.answers.values()),
        "failed": sum(n for (_, status), n in counters.answers.items() if status >= 500),
        "received_bytes": counters.received_bytes,
        "sent_bytes": counters.sent_bytes,
    }
