"""The kinds of events there are, by their names in configuration and messages."""

from enum import Enum


class Kind(Enum):
    """What happened that somebody should hear of."""

    ANOMALY = "anomaly"
    DAMAGE = "damage"
    QUOTA_SOFT = "quota-soft"
    QUOTA_FULL = "quota-full"
    MISSED_BACKUP = "missed-backup"
    UPKEEP_FAILED = "upkeep-failed"
    COMMIT = "commit"


USUAL = frozenset(Kind) - {Kind.COMMIT}
"""Kinds that a webhook gets which names none."""
