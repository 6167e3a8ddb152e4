"""Is a row what an honest backup writes? A generation may be damaged or hostile. Pure."""

from obnam.generation.rows import EntryRow
from obnam.generation.sound import has_good_types
from obnam.model.entry import Kind

NO_NAME = "that is no name of a file, and may lead out of the target"
NO_SENSE = "what the generation says of it makes no sense"
NO_CONTENT = "could not be read when it was backed up, so the generation has nothing of it"

# SQLite puts a value of any type into any column, or none. Nearly all rows have their types from
# a few combinations, and so each that is good is judged once, for each kind: ``None`` is fine.
_judged: dict[tuple[type, ...], dict[int, str | None]] = {}


def wrong_row(row: EntryRow) -> str | None:
    """What is wrong with an entry, its name apart; ``None``: nothing."""
    types = tuple(map(type, row))
    judged = _judged.get(types)
    if judged is None:
        if not has_good_types(types):
            return NO_SENSE
        judged = _judged[types] = _judge(types)
    problem = judged.get(row.kind, NO_SENSE)
    if problem is None and row.size is not None and row.size < 0:
        return NO_SENSE
    return problem


def _judge(types: tuple[type, ...]) -> dict[int, str | None]:
    """What rows of these types lack, by their kind."""
    has = EntryRow._make(found is not type(None) for found in types)
    has_metadata = has.mode and has.uid and has.gid and has.mtime_ns
    judged: dict[int, str | None] = {
        kind.value: None if has_metadata else NO_CONTENT for kind in Kind
    }
    if not has.checksum:
        judged[Kind.FILE.value] = NO_CONTENT
    elif not (has.size and has.mtime_ns):
        judged[Kind.FILE.value] = NO_SENSE
    if has_metadata and not has.target:
        judged[Kind.SYMLINK.value] = NO_SENSE
    return judged
