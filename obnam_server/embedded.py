"""The beginning of an embedded server, for which one command of a client waits.

It does what ``python -m twisted obnam-server`` does, without what is in vain here: looking through
all plugins of Twisted, and loading OpenSSL. That was a third of the time until it is ready.
"""

import gc
import sys


def main() -> None:
    """Be a server, with the options of `obnam_server.tap`, until the client ends."""
    # Importing makes many objects and no garbage. `collect_seldom` switches it on again.
    gc.disable()
    # Twisted loads it wherever it is installed, and does without it where it is not. Through a
    # Unix socket nobody speaks TLS.
    sys.modules["OpenSSL"] = None  # type: ignore[assignment]
    from obnam_server import tap

    tap.run(sys.argv[1:])
