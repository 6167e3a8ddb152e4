"""Is a row what an honest backup writes? A generation may be damaged or hostile. Pure."""

from obnam.generation.rows import EntryRow
from obnam.model.entry import Kind

NO_NAME = "that is no name of a file, and may lead out of the target"
NO_SENSE = "what the generation says of it makes no sense"
NO_CONTENT = "could not be read when it was backed up, so the generation has nothing of it"

_KINDS = frozenset(kind.value for kind in Kind)
_BYTES = frozenset(("name", "checksum", "attributes", "target"))
_NEEDED = frozenset(("directory", "name", "kind", "reason", "since"))

# SQLite puts a value of any type into any column. The types of a row's columns, taken together,
# are looked at once for all rows that have the same.
_good_types: set[tuple[type, ...]] = set()


def wrong_row(row: EntryRow) -> str | None:
    """What is wrong with an entry, its name apart; ``None``: nothing."""
    types = tuple(map(type, row))
    if types not in _good_types:
        if not _are_good(types):
            return NO_SENSE
        _good_types.add(types)
    kind = row.kind
    if kind not in _KINDS:
        return NO_SENSE
    if kind == Kind.FILE:
        if row.checksum is None:
            return NO_CONTENT
        if row.size is None or row.size < 0 or row.mtime_ns is None:
            return NO_SENSE
    if row.mode is None or row.uid is None or row.gid is None or row.mtime_ns is None:
        return NO_CONTENT
    if kind == Kind.SYMLINK and row.target is None:
        return NO_SENSE
    return None


def is_name(name: bytes) -> bool:
    """Whether it can be the name of an entry in a directory."""
    return (
        type(name) is bytes
        and name not in (b"", b".", b"..")
        and b"/" not in name
        and b"\0" not in name
    )


def _are_good(types: tuple[type, ...]) -> bool:
    for column, found in zip(EntryRow._fields, types, strict=True):
        if found is type(None) and column not in _NEEDED:
            continue
        if found is not (bytes if column in _BYTES else int):
            return False
    return True
