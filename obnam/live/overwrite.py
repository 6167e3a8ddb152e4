"""What becomes of what already stands where a restore wants to write. Decides, and does nothing."""

import os
from enum import Enum

from obnam.model.entry import Kind, kind_of


class Overwrite(Enum):
    """The choices of ``--overwrite``; without it, nothing may stand in the target at all."""

    NEVER = "never"
    IF_CHANGED = "if-changed"
    ALWAYS = "always"


class Decision(Enum):
    """What to do about an existing entry."""

    KEEP = "keep"
    REPLACE = "replace"
    REFUSE = "refuse"


def decide(
    overwrite: Overwrite | None,
    existing: os.stat_result,
    kind: Kind,
    size: int | None = None,
    mtime_ns: int | None = None,
) -> Decision:
    """Whether an existing entry makes room for one of ``kind``.

    A whole directory is never thrown away for something else; a directory that stands where one
    is wanted is kept and filled. A file is unchanged when size (bytes) and modification time are
    those of the generation; ``if-changed`` keeps it, with the metadata that it has.
    """
    standing = kind_of(existing.st_mode)
    if standing is Kind.DIRECTORY:
        return Decision.KEEP if kind is Kind.DIRECTORY else Decision.REFUSE
    if overwrite is None:
        return Decision.REFUSE
    if overwrite is Overwrite.NEVER:
        # Nothing could be put into what is kept here instead of a directory.
        return Decision.REFUSE if kind is Kind.DIRECTORY else Decision.KEEP
    unchanged = (
        kind is Kind.FILE
        and standing is Kind.FILE
        and existing.st_size == size
        and existing.st_mtime_ns == mtime_ns
    )
    if overwrite is Overwrite.IF_CHANGED and unchanged:
        return Decision.KEEP
    return Decision.REPLACE
