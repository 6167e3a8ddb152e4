"""What may have changed while the previous backup ran, without its times telling.

File systems write times by the tick of a clock, and some by the second: a file that is written
again in the tick in which it was read, and keeps its size, looks as it did. It would be taken for
unchanged by all later backups. So what changed when the previous one ran is looked at once more.
"""

from attrs import frozen

SECOND_NS = 1_000_000_000

COARSEST_NS = 2 * SECOND_NS
"""The longest tick there is: vfat's. Times by the second are those of ext3, of ext4 with small
inodes, of some servers of NFS and some of FUSE."""


@frozen
class Meanwhile:
    """When the previous backup ran: ns since the epoch, by the clock of this computer."""

    from_ns: int
    upto_ns: int

    @classmethod
    def between(cls, began_ns: int, ended_ns: int) -> "Meanwhile":
        """That of a backup. The clock may have been set back while it ran."""
        return cls(min(began_ns, ended_ns), max(began_ns, ended_ns))

    @property
    def earliest_ns(self) -> int:
        """What has a ctime before this did not change meanwhile, whatever its file system."""
        return self.from_ns - COARSEST_NS

    def has(self, ctime_ns: int) -> bool:
        """Whether what has this ctime may have been changed again, and has the same one still."""
        if not self.earliest_ns <= ctime_ns <= self.upto_ns + COARSEST_NS:
            return False  # One in the future is from a clock that was wrong.
        return ctime_ns >= self.from_ns or ctime_ns % SECOND_NS == 0
