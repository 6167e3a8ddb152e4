"""What may have changed while a backup before ran, without its times telling.

File systems write times by the tick of a clock, and some by the second: a file that is written
again in the tick in which it was read, and keeps its size, looks as it did. It would be taken for
unchanged by all later backups. So what changed when the previous one ran is looked at once more.

A backup that is ended early has not looked at all: then what changed while those before it ran is
still to be looked at, and the generation says so.
"""

import json

from attrs import frozen

from obnam.model.numbers import INTEGER_MAX, INTEGER_MIN

SECOND_NS = 1_000_000_000

COARSEST_NS = 2 * SECOND_NS
"""The longest tick there is: vfat's. Times by the second are those of ext3, of ext4 with small
inodes, of some servers of NFS and some of FUSE."""

FINE_NS = 20_000_000
"""Twice the longest tick of a Linux clock: what was written just after a backup began may have a
time from just before."""

RUNS_MAX = 16
"""Backups ended one after another, each by itself; of more, the first are taken for one."""

Run = tuple[int, int]
"""From when to when, ns since the epoch, by the clock of this computer."""


@frozen
class Meanwhile:
    """When the backups ran that are not to be trusted in this; the last of them first."""

    runs: tuple[Run, ...] = ()

    @classmethod
    def between(cls, began_ns: int, ended_ns: int) -> "Meanwhile":
        """That of one backup. The clock may have been set back while it ran."""
        return cls(((min(began_ns, ended_ns), max(began_ns, ended_ns)),))

    @classmethod
    def told(cls, member: object) -> "Meanwhile":
        """What a generation says; ``None``: nothing. What makes no sense may mean anything."""
        if member is None:
            return NEVER
        try:
            runs = [(began, ended) for began, ended in json.loads(str(member))]
        except (ValueError, TypeError, RecursionError):
            return EVER
        if len(runs) > RUNS_MAX or not all(type(n) is int for run in runs for n in run):
            return EVER
        return cls(tuple(runs))

    def and_before(self, earlier: "Meanwhile") -> "Meanwhile":
        """These, and those before them."""
        runs = self.runs + earlier.runs
        if len(runs) > RUNS_MAX:
            first = runs[RUNS_MAX - 1 :]
            joined = min(run[0] for run in first), max(run[1] for run in first)
            runs = (*runs[: RUNS_MAX - 1], joined)
        return Meanwhile(runs)

    @property
    def earliest_ns(self) -> int:
        """What has a ctime before this did not change meanwhile, whatever its file system."""
        return min((run[0] for run in self.runs), default=INTEGER_MAX) - COARSEST_NS

    def has(self, ctime_ns: int) -> bool:
        """Whether what has this ctime may have been changed again, and has the same one still."""
        for from_ns, upto_ns in self.runs:
            # One in the future is from a clock that was wrong.
            if from_ns - COARSEST_NS <= ctime_ns <= upto_ns + COARSEST_NS and (
                ctime_ns >= from_ns - FINE_NS or ctime_ns % SECOND_NS == 0
            ):
                return True
        return False


NEVER = Meanwhile()

EVER = Meanwhile.between(INTEGER_MIN, INTEGER_MAX)
"""For what a backup before has, and it is not known which one."""
