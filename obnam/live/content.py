"""Put content into a file that is open for writing."""

import os
from collections.abc import Sequence

from obnam.live.apply import NO_SUCH_THING

_PIECES_MAX = os.sysconf("SC_IOV_MAX")


def write_at(descriptor: int, pieces: Sequence[memoryview | bytes], offset: int) -> None:
    """Write pieces end to end from ``offset`` on, all of them. What is not written is a hole."""
    for start in range(0, len(pieces), _PIECES_MAX):
        group = pieces[start : start + _PIECES_MAX]
        wanted = sum(map(len, group))
        done = os.pwritev(descriptor, group, offset)
        while done < wanted:
            # Cut short by a signal, a limit (2 GiB a call), or a disk about to be full.
            rest = memoryview(b"".join(group))[done:]
            done += os.pwritev(descriptor, [rest], offset + done)
        offset += wanted


def enlarge(descriptor: int, size: int) -> None:
    """Give a file that ends with a hole its size: by its last zero, where there is no other way."""
    try:
        os.ftruncate(descriptor, size)
    except OSError as error:
        if error.errno not in NO_SUCH_THING:
            raise
        if os.fstat(descriptor).st_size < size:
            os.pwrite(descriptor, b"\0", size - 1)
