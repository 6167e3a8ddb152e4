"""Is a row such as the schema has them? A generation may be damaged or hostile. Pure.

SQLite puts a value of any type into any column, or none, and a table whose inner pages lead to one
page many times has no end.
"""

from collections.abc import Sequence
from operator import lt
from typing import Any

from obnam.generation.rows import EntryRow
from obnam.model.entry import Kind, Reason, is_entry_name

NAME_MAX = 4095
"""Bytes of a name in a directory: ``PATH_MAX`` less a NUL. Most file systems of Linux have 255, and
some count characters instead."""

_BYTES = frozenset(("name", "checksum", "attributes", "target"))
_NEEDED = frozenset(("directory", "name", "kind", "reason", "since"))
_KINDS = frozenset(kind.value for kind in Kind)
_REASONS = frozenset(reason.value for reason in Reason)

# Nearly all rows have their types from a few combinations, each of which is judged once.
_good: set[tuple[type, ...]] = set()


def has_good_types(types: Sequence[type]) -> bool:
    """Whether the values of a row of ``entry`` may have these types."""
    for column, found in zip(EntryRow._fields, types, strict=True):
        if found is type(None) and column not in _NEEDED:
            continue
        if found is not (bytes if column in _BYTES else int):
            return False
    return True


def is_sound(row: EntryRow, *, root: bool) -> bool:
    """Whether a row can be shown: its types, its kind, its reason, and its name."""
    types = tuple(map(type, row))
    if types not in _good:
        if not has_good_types(types):
            return False
        _good.add(types)
    if row.kind not in _KINDS or row.reason not in _REASONS:
        return False
    if root:
        return b"\0" not in row.name  # A path.
    return is_name(row.name)


def is_name(name: bytes) -> bool:
    """Whether it can be the name of an entry in a directory."""
    return type(name) is bytes and len(name) <= NAME_MAX and is_entry_name(name)


def are_in_order(names: Sequence[Any], after: Any = None) -> bool:
    """Whether names that SQLite gave in order are so, each once; the first one behind ``after``."""
    try:
        return (after is None or after < names[0]) and all(map(lt, names, names[1:]))
    except TypeError:  # Not all are bytes; whether each is a name is asked later.
        keys = list(map(_rank, names))
        return (after is None or _rank(after) < keys[0]) and all(map(lt, keys, keys[1:]))


def _rank(value: Any) -> tuple[int, Any]:
    """SQLite's order of values of any type."""
    if value is None:
        return 0, 0
    return {int: 1, float: 1, str: 2}.get(type(value), 3), value


class Numbers:
    """A set of many numbers, a bit each, that lie near each other; others do no harm."""

    _PAGE_BITS = 1 << 10

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}

    def add(self, number: int) -> bool:
        """Whether it is new."""
        page, bit = divmod(number, self._PAGE_BITS)
        bits = self._pages.setdefault(page, bytearray())
        if not bits:
            bits.extend(bytes(self._PAGE_BITS // 8))
        at, mask = bit >> 3, 1 << (bit & 7)
        if bits[at] & mask:
            return False
        bits[at] |= mask
        return True
