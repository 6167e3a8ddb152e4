"""Is a new generation unlike its client's others? Pure: figures in, a reason out.

Somebody who encrypts live data, or who has a stolen token, makes backups that replace most of what
there was, or many of them in order to push good ones out. All that the server sees is how many
chunks each generation adds and leaves out; it is compared with the client's own history only.

An alarm deletes nothing and refuses nothing: it keeps everything until somebody has looked. So it
may be wrong now and then (a new disk, a restored home directory, a new compression of the photos),
but not each week. What it cannot see: a change that is spread over many backups, and what happens
in the first ones.
"""

from collections.abc import Iterator, Sequence

from attrs import evolve, frozen

from obnam_server.store.seams.values import Past

BACKUPS_MIN = 5
"""Backups that must have been before: the first ones are large, and tell little."""

BACKUPS_COMPARED = 30
"""The latest backups are what is usual: a month of daily ones, with what comes once a month."""

TIMES_MORE = 4
"""So many times more than the most of those is unusual. A factor of two comes with a holiday."""

REPLACED_SHARE = 0.5
"""From this share of replaced chunks on nothing usual explains it: half of all data is gone."""

ADDED_SHARE = 0.5
"""The same for what is new, measured by what there was: a copy of half of all data."""

CHUNKS_MIN = 16
"""Chunks that must be concerned, about 8 MB: shares of less jump about."""

ADDED_MIN_BYTES = 1 << 30
"""New data of less than this does no harm by its size."""

FLOOD_MIN = 24
"""Generations in `FLOOD_NS` that are never a flood: one each hour."""

FLOOD_NS = 24 * 3600 * 1_000_000_000


@frozen
class _Backup:
    """One generation, with the checkpoints on the way to it, against the one before.

    ``before_count``: chunks of that one.
    """

    before_count: int
    added_count: int
    added_bytes: int
    removed_count: int

    @property
    def replaced(self) -> float:
        """The share of the chunks there were that are gone."""
        return self.removed_count / self.before_count if self.before_count else 0.0


def judge(history: Sequence[Past], new: Past) -> str | None:
    """Why ``new`` is unusual after ``history`` (oldest first, the same client's); or ``None``."""
    *backups, latest = _backups([*history, new])
    # The very first one adds everything, whatever is usual.
    usual = [backup for backup in backups if backup.before_count][-BACKUPS_COMPARED:]
    if len(backups) < BACKUPS_MIN or not usual:
        return None
    return _replaces(usual, latest) or _adds(usual, latest) or _floods(history, new)


def _backups(generations: Sequence[Past]) -> Iterator[_Backup]:
    """Whole backups: a checkpoint belongs to the generation that comes after it.

    Else a backup that takes hours would replace all there is in small steps.
    """
    before_count = 0
    running: _Backup | None = None
    for each in generations:
        if running is None:
            running = _Backup(before_count, 0, 0, 0)
        counted = each.counted
        running = evolve(
            running,
            added_count=running.added_count + counted.added_count,
            added_bytes=running.added_bytes + counted.added_bytes,
            removed_count=running.removed_count + counted.removed_count,
        )
        if not each.partial:
            yield running
            running, before_count = None, each.chunk_count
    if running is not None:
        yield running


def _replaces(usual: Sequence[_Backup], new: _Backup) -> str | None:
    most = max(backup.replaced for backup in usual)
    if (
        new.removed_count >= CHUNKS_MIN
        and new.replaced > REPLACED_SHARE
        and new.replaced > TIMES_MORE * most
    ):
        return (
            f"it replaces {min(new.replaced, 1):.0%} of the chunks there were; "
            f"at most {most:.1%} were usual"
        )
    return None


def _adds(usual: Sequence[_Backup], new: _Backup) -> str | None:
    most = max(backup.added_bytes for backup in usual)
    if (
        new.added_count >= CHUNKS_MIN
        and new.added_bytes >= ADDED_MIN_BYTES
        and new.added_count > ADDED_SHARE * new.before_count
        and new.added_bytes > TIMES_MORE * most
    ):
        return f"it adds {new.added_bytes:,} bytes; at most {most:,} were usual"
    return None


def _floods(history: Sequence[Past], new: Past) -> str | None:
    """Far more generations in a day than on any day before it."""
    if new.partial:
        return None
    times = sorted(past.received_ns for past in history if not past.partial)
    begin = new.received_ns - FLOOD_NS
    now = 1 + sum(time > begin for time in times)
    most = _most_at_once([time for time in times if time <= begin])
    if now > FLOOD_MIN and now > TIMES_MORE * most:
        return f"it is the {now}th generation in 24 hours; at most {most} were usual"
    return None


def _most_at_once(times: Sequence[int]) -> int:
    """The most times within `FLOOD_NS`. ``times`` are sorted."""
    most = first = 0
    for last, time in enumerate(times):
        while times[first] <= time - FLOOD_NS:
            first += 1
        most = max(most, last - first + 1)
    return most
