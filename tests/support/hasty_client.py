"""``obnam``, whose clock makes a checkpoint due after every few looks at it.

Run as ``python hasty_client.py ARGUMENTS``. Time in a backup counts looks, not seconds, so that
checkpoints come at the same places each time.
"""

from itertools import count
from typing import Any

LOOKS_BETWEEN_CHECKPOINTS = 9
"""Each lane of a pipeline looks before each batch; a checkpoint takes a look or two."""


class Looks:
    """Stands in for the reactor's clock: each look at it is a second later."""

    def __init__(self) -> None:
        self._count = count()

    def seconds(self) -> float:
        """One more."""
        return float(next(self._count))


def main() -> None:
    """Be ``obnam``, with other backups."""
    from obnam.backup import run
    from obnam.cli.main import main

    class HastyBackup(run.Backup):
        def __init__(self, **parts: Any) -> None:
            parts |= {"clock": Looks(), "checkpoint_s": LOOKS_BETWEEN_CHECKPOINTS}
            super().__init__(**parts)

    run.Backup = HastyBackup  # type: ignore[misc, assignment]
    main()


if __name__ == "__main__":
    main()
