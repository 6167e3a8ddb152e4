"""A generation's entries in the order in which they are restored. Blocking.

A directory comes before what is in it, its own files before its subdirectories: so does a scan
lay small files end to end, and so each of their chunks is needed once. Names and rows are checked
here: a generation may be hostile.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from attrs import define

from obnam.errors import UnknownPath
from obnam.generation.local import LocalGeneration
from obnam.generation.nascent import ROOT_DIRECTORY
from obnam.generation.rows import EntryRow
from obnam.generation.sound import Numbers, is_name
from obnam.model.entry import Kind, Reason, printable
from obnam.restore.check import NO_NAME, wrong_row

Parts = tuple[bytes, ...]

ROWS_AT_ONCE = 1024
"""Entries of a directory that are dealt with together, and directories of one that are kept while
its own entries are dealt with: bounds the memory."""

DEPTH_MAX = 5_000
"""Directories within directories: more than a backup goes down (`obnam.live.scan.DEPTH_MAX`)."""

LOOP = "it is in the generation twice, or in a loop of directories"
TOO_DEEP = f"it lies more than {DEPTH_MAX} directories deep"


_DIRECTORY = Kind.DIRECTORY.value


class Directory(NamedTuple):
    """A directory; without a row it only leads to what is wanted, and gets default metadata."""

    parts: Parts
    row: EntryRow | None


class Entries(NamedTuple):
    """Anything else, in the directory with these parts."""

    parts: Parts
    rows: list[EntryRow]


class Problem(NamedTuple):
    """Something that cannot be restored, and why."""

    path: bytes
    text: str


class Selected(dict[bytes, "Selected | None"]):
    """Names of which something is wanted; ``None``: all of it."""


class _Visit(NamedTuple):
    """A directory, and what is wanted in it."""

    parts: Parts
    row: EntryRow
    selected: Selected | None


def path_of(parts: Parts) -> bytes:
    """The absolute path in the generation."""
    return b"/" + b"/".join(parts)


def split_path(path: bytes) -> Parts:
    """The names in an absolute path."""
    return tuple(name for name in path.split(b"/") if name)


def select(paths: Sequence[bytes]) -> Selected | None:
    """What is wanted; ``None``, which is everything, when there are no paths or one is ``/``."""
    wanted = Selected()
    for parts in sorted(map(split_path, paths)):
        if not parts:
            return None
        at: Selected | None = wanted
        for name in parts[:-1]:
            at = at.setdefault(name, Selected()) if at is not None else None
        if at is not None:
            at[parts[-1]] = None
    return wanted or None


@define
class Tree:
    """Walks what is wanted of a generation."""

    _generation: LocalGeneration
    _selected: Selected | None = None

    def check(self, paths: Sequence[bytes]) -> None:
        """Raises `UnknownPath` for one that is not in the generation."""
        for path in paths:
            if not path.startswith(b"/"):
                raise UnknownPath(printable(path), "not an absolute path")
            if not self._is_known(split_path(path)):
                raise UnknownPath(printable(path))

    def entries(self) -> Iterator[Directory | Entries | Problem]:
        """All that is wanted, and what is wrong with it."""
        seen = Numbers()
        roots: list[EntryRow] = []
        for rows in self._generation.rows_in(ROOT_DIRECTORY, ROWS_AT_ONCE):
            for root in rows:
                if root.kind == _DIRECTORY:
                    roots.append(root)
                else:
                    yield from self._root(root, seen)
        for root in roots:
            yield from self._root(root, seen)

    def _root(self, root: EntryRow, seen: Numbers) -> Iterator[Directory | Entries | Problem]:
        """A root that is wanted, or on the way, with all in it."""
        parts = _root_parts(root.name)
        if parts is None:
            yield Problem(_shown((), root), NO_NAME)
            return
        selected = self._selected
        for name in parts:
            if selected is not None:
                if name not in selected:
                    return
                selected = selected[name]
        if self._is_in_another(parts):
            return
        problem = wrong_row(root)
        if problem is not None:
            yield Problem(path_of(parts), problem)
            return
        if root.kind == _DIRECTORY or parts:
            for depth in range(1, len(parts)):
                yield Directory(parts[:depth], None)
        if root.kind == _DIRECTORY:
            yield from self._down(_Visit(parts, root, selected), seen)
        elif parts:
            yield Entries(parts[:-1], [root._replace(name=parts[-1])])

    def _down(self, top: _Visit, seen: Numbers) -> Iterator[Directory | Entries | Problem]:
        levels: list[tuple[_Visit, Iterator[EntryRow]]] = []
        found: _Visit | None = top
        while True:
            if found is not None:
                parts, row, selected = found
                if len(levels) > DEPTH_MAX:
                    yield Problem(path_of(parts), TOO_DEEP)
                elif row.number is None or not seen.add(row.number):
                    yield Problem(path_of(parts), LOOP)
                else:
                    yield Directory(parts, row if selected is None else None)
                    inside: list[EntryRow] = []
                    yield from self._own(found, row.number, inside)
                    levels.append((found, self._directories(found, row.number, inside)))
            if not levels:
                return
            visit, rows = levels[-1]
            below = next(rows, None)
            if below is None:
                levels.pop()
                found = None
            else:
                found = _Visit(
                    (*visit.parts, below.name),
                    below,
                    None if visit.selected is None else visit.selected[below.name],
                )

    def _own(
        self, visit: _Visit, number: int, inside: list[EntryRow]
    ) -> Iterator[Entries | Problem]:
        """What is wanted of a directory's own entries; its directories are put ``inside``.

        Of very many directories only the first are, one more than `ROWS_AT_ONCE`.
        """
        parts, _, selected = visit
        for rows in self._generation.rows_in(number, ROWS_AT_ONCE):
            others: list[EntryRow] = []
            for row in rows:
                if selected is not None and row.name not in selected:
                    continue
                problem = wrong_row(row) if is_name(row.name) else NO_NAME
                if problem is not None:
                    yield Problem(_shown(parts, row), problem)
                elif row.kind != _DIRECTORY:
                    others.append(row)
                elif len(inside) <= ROWS_AT_ONCE:
                    inside.append(row)
            if others:
                yield Entries(parts, others)

    def _directories(
        self, visit: _Visit, number: int, inside: list[EntryRow]
    ) -> Iterator[EntryRow]:
        """What `_own` put ``inside``, or, when that is not all, the same read as it is needed."""
        if len(inside) <= ROWS_AT_ONCE:
            return iter(inside)
        selected = visit.selected
        return (
            row
            for row in self._generation.directories_in(number)
            if (selected is None or row.name in selected)
            and is_name(row.name)
            and wrong_row(row) is None
        )

    def _is_in_another(self, parts: Parts) -> bool:
        """Whether a root lies in another one, which has all of it."""
        for depth in range(len(parts)):
            outer = self._generation.entry(ROOT_DIRECTORY, path_of(parts[:depth]))
            found = None if outer is None else self._find(outer, parts[depth:])
            if (
                found is not None
                and found.kind == Kind.DIRECTORY
                and found.reason not in (Reason.SKIPPED, Reason.ERROR)
            ):
                return True
        return False

    def _is_known(self, parts: Parts) -> bool:
        for root in chain.from_iterable(self._generation.rows_in(ROOT_DIRECTORY, ROWS_AT_ONCE)):
            own = _root_parts(root.name)
            if own is None:
                continue
            if own[: len(parts)] == parts:
                return True
            if parts[: len(own)] == own and self._find(root, parts[len(own) :]) is not None:
                return True
        return False

    def _find(self, row: EntryRow | None, parts: Parts) -> EntryRow | None:
        """What is called so beneath an entry."""
        for name in parts:
            if row is None or row.kind != Kind.DIRECTORY or row.number is None:
                return None
            row = self._generation.entry(row.number, name)
        return row


def _root_parts(name: bytes) -> Parts | None:
    """The names in a root's path; ``None`` for what is no path."""
    if type(name) is not bytes or not name.startswith(b"/"):
        return None
    if name == b"/":
        return ()
    parts = tuple(name[1:].split(b"/"))
    return parts if all(map(is_name, parts)) else None


def _shown(parts: Parts, row: EntryRow) -> bytes:
    name = row.name if type(row.name) is bytes else repr(row.name).encode()
    return path_of((*parts, name))
