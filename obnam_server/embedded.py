"""The beginning of an embedded server, for which one command of a client waits.

It does what ``python -m twisted obnam-server`` does, without what is in vain here: looking through
all plugins of Twisted, and loading OpenSSL. That was a third of the time until it is ready.
"""

import gc
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path


def main() -> None:
    """Be a server, with the options of `obnam_server.tap`, until the client ends."""
    # Importing makes many objects and no garbage. `collect_seldom` switches it on again.
    gc.disable()
    # Twisted loads it wherever it is installed, and does without it where it is not. Through a
    # Unix socket nobody speaks TLS.
    sys.modules["OpenSSL"] = None  # type: ignore[assignment]
    from obnam_server import tap

    arguments = sys.argv[1:]
    try:
        tap.run(arguments)
    finally:
        _remove_private(arguments)


def _remove_private(arguments: Sequence[str]) -> None:
    """Remove the directory that was made for this process, if the client was killed meanwhile.

    And nothing else: who named another file by ``--config`` keeps what lies beside that.
    """
    if "--config" not in arguments:
        return
    configuration = Path(arguments[arguments.index("--config") + 1])
    lock = configuration.with_name("lock")
    if not lock.is_file():
        return
    with suppress(OSError):
        configuration.unlink()
        lock.unlink()
        configuration.parent.rmdir()
