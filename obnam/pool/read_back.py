"""Job of ``restore --verify``: read what was restored from the file system, and check it."""

import os
from collections.abc import Sequence

from obnam.live.read import open_regular
from obnam.live.target import TargetTicket
from obnam.pool.worker import Tools
from obnam.pool.write_files import FAILURES, Group, joined_target, read_checksum, why

DIFFERS = "what was restored of it does not read back as it was written (wrong checksum)"


def read_back(tools: Tools, groups: Sequence[Group], ticket: TargetTicket) -> list[tuple[int, str]]:
    """Read files anew; those (counted over all groups, from 0) that are not as they should be.

    The page cache is told to forget each file first, so that what is on the disk is read, as far
    as it was written there.
    """
    target = joined_target(tools, ticket)
    troubles: list[tuple[int, str]] = []
    index = -1
    for group in groups:
        for file in group.all_files():
            index += 1
            try:
                descriptor = open_regular(file.name, target.directory(group.parts))
                try:
                    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                    if read_checksum(descriptor) != file.checksum:
                        troubles.append((index, DIFFERS))
                finally:
                    os.close(descriptor)
            except FAILURES as error:
                troubles.append((index, f"cannot be read back: {why(error, ticket)}"))
        index += len(group.others)
    return troubles
