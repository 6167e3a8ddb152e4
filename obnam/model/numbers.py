"""Numbers that Linux gives and the generation database's 64-bit signed columns do not all hold.

Pure. A time can be set by whoever owns a file, to any second in 64 bits, and some file systems
make inode numbers of 64 bits from hashes: neither may stop a backup.
"""

from typing import Final

INTEGER_MIN: Final = -(1 << 63)
INTEGER_MAX: Final = (1 << 63) - 1
"""What an SQLite integer holds. As ns since the epoch: from September 1677 to April 2262."""


def fits(time_ns: int) -> bool:
    """Whether a time (ns since the epoch) can be kept as it is."""
    return INTEGER_MIN <= time_ns <= INTEGER_MAX


def kept_time(time_ns: int) -> int:
    """The nearest time that can be kept."""
    if INTEGER_MIN <= time_ns <= INTEGER_MAX:  # as for nearly all, and quicker than what follows
        return time_ns
    return INTEGER_MIN if time_ns < 0 else INTEGER_MAX


def kept_inode(inode: int) -> int:
    """An inode number as a signed one with the same 64 bits: each is still its own."""
    return inode if inode <= INTEGER_MAX else inode - (1 << 64)
