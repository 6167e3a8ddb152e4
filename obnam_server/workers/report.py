"""What a worker reports to the owner, on a pipe of its own: that it is done with a SIGHUP."""

import os

DESCRIPTOR = 4
"""In the worker."""

RELOADED = b"."
"""It has read the certificate anew; or has said in the log why it could not."""


def report_reloaded() -> None:
    """Say so. An owner that is gone is no trouble: the worker ends with it."""
    try:
        os.write(DESCRIPTOR, RELOADED)
    except BrokenPipeError:
        return
