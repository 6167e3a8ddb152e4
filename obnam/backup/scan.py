"""Walks the roots beside the previous generation's rows, and says which files must be read.

Blocking, and a generator: it is pulled, batch by batch, on the thread that owns the nascent
generation. Rows of entries without content are written on the way.
"""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from os.path import join, split

from attrs import define, frozen

from obnam.backup.batches import Batch, Batches, Place
from obnam.backup.entry_rows import error_row, row_of
from obnam.backup.meanwhile import EVER, NEVER, Meanwhile
from obnam.backup.plan import Entry, FileToRead, Mark, Plan, plan_directory
from obnam.generation.nascent import ROOT_DIRECTORY, NascentGeneration
from obnam.generation.rows import EntryRow, KnownRow
from obnam.live.metadata import NONE, read_attributes, read_attributes_at, read_link
from obnam.live.mounts import devices_of_the_kernel
from obnam.live.read import Identity, identity_of, open_directory
from obnam.live.scan import (
    CACHE_TAG_NAME,
    DEPTH_MAX,
    PATH_BYTES_MAX,
    Listing,
    Walk,
    is_cache_directory,
    is_too_deep,
)
from obnam.model.entry import Attributes, Kind, Reason, printable
from obnam.model.numbers import fits, kept_inode

_SHOWN_BYTES = 200
"""So much of a path that is too long is shown."""


@frozen
class ScanSettings:
    """What the user chose about scanning. ``left_out``: directories to be kept without contents."""

    roots: tuple[bytes, ...]
    full: bool = False
    skip_cache_directories: bool = True
    left_out: frozenset[Identity] = frozenset()


@define
class ScanCounts:
    """What the scan saw, for the report and the progress display."""

    entries: int = 0
    unchanged: int = 0
    unchanged_bytes: int = 0


@frozen
class _Directory:
    """A directory that is entered: where its row is, and its own number."""

    parent: int
    name: bytes
    number: int
    known: KnownRow | None
    stale: bool = False
    """What the generation before has of it, or of what it lies in, is of one before that."""


class Scan:
    """One scan of all roots into a nascent generation. ``warn`` is told at once, on its thread."""

    def __init__(
        self,
        nascent: NascentGeneration,
        settings: ScanSettings,
        slab_bytes: int,
        warn: Callable[[str], object],
        *,
        first: bool,
        before: Meanwhile = NEVER,
    ) -> None:
        self.counts = ScanCounts()
        self._nascent = nascent
        self._settings = settings
        self._warn = warn
        self._first = first
        self._before = before
        self._meanwhile = before
        self._has_met_stale = False
        self._kernel_devices = devices_of_the_kernel()
        self._batches = Batches(slab_bytes)
        # By the path of the directory that they lie in (a root: b""), and their name there: a
        # directory may hold very many, with a very long path.
        self._entered: dict[bytes, dict[bytes, _Directory]] = {}

    def batches(self) -> Iterator[Batch]:
        """Walk everything; gives batches of files to read as they become full.

        Raises ``BadRoot`` before anything is given when a root cannot be walked.
        """
        told = Meanwhile.told(self._nascent.member("unsettled"))
        self._meanwhile = self._before.and_before(told)
        walks = [Walk(root) for root in self._settings.roots]
        try:
            yield from self._roots(walks)
        finally:
            for walk in walks:
                walk.close()
        yield from self._batches.rest()

    @property
    def unsettled(self) -> Meanwhile:
        """What the next backup is to look at again, should this one end before it has."""
        return EVER if self._has_met_stale else self._meanwhile

    def _roots(self, walks: Sequence[Walk]) -> Iterator[Batch]:
        known = self._nascent.known(ROOT_DIRECTORY)
        roots = sorted(walks, key=lambda walk: walk.root)
        plan = plan_directory(
            [walk.root for walk in roots],
            [walk.root_status for walk in roots],
            known,
            self._nascent.sequence,
            meanwhile=self._meanwhile,
        )
        self.counts.entries += len(roots)
        self._apply(plan, ROOT_DIRECTORY, b"", -1)
        for walk in roots:
            yield from self._walk(walk)

    def _walk(self, walk: Walk) -> Iterator[Batch]:
        after, skipping = b"", False
        for listing in walk:
            above, name = split(listing.path) if listing.path != walk.root else (b"", walk.root)
            directory = self._entered[above][name]
            if listing.last:
                self._leave(above, name)
            if listing.first:
                after, skipping = b"", True
                if self._is_left_out(listing, walk):
                    self._leave_out(directory)
                elif self._is_cache(listing):
                    yield from self._keep_tag(listing, directory)
                else:
                    skipping = False
            if skipping:
                continue
            if listing.error is not None:
                self._failed_directory(listing, directory)
            plan = plan_directory(
                listing.names,
                listing.stats,
                self._known(directory, listing, after),
                self._nascent.sequence,
                full=self._settings.full,
                again=self._nascent.to_read_again(directory.number, listing.names),
                complete=listing.error is None,
                meanwhile=EVER if directory.stale else self._meanwhile,
            )
            after = listing.names[-1] if listing.names else after
            self.counts.entries += len(listing.names)
            where = directory.number, listing.path, listing.descriptor
            walk.enter(self._apply(plan, *where, stale=directory.stale))
            yield from self._read(plan, directory.number, listing)

    def _leave(self, above: bytes, name: bytes) -> None:
        entered = self._entered[above]
        del entered[name]
        if not entered:
            del self._entered[above]

    def _known(
        self, directory: _Directory, listing: Listing, after: bytes
    ) -> dict[bytes, KnownRow]:
        """What the previous generation knows of what is listed."""
        if directory.known is None:
            return {}  # Its number is new.
        upto = None if listing.last or not listing.names else listing.names[-1]
        return self._nascent.known(directory.number, after, upto)

    def _read(self, plan: Plan, directory: int, listing: Listing) -> Iterator[Batch]:
        if not plan.read:
            return
        # The workers open it by its path, and must find this directory, not one swapped for it.
        identity = identity_of(os.fstat(listing.descriptor))
        for mark, files in plan.read.items():
            place = Place(directory, listing.path, identity, mark)
            yield from self._batches.add(place, self._leaders(place, files))

    def _leaders(self, place: Place, files: Iterable[FileToRead]) -> Iterator[tuple[bytes, int]]:
        """Names and sizes of files, of those with several links only the first that is met."""
        directory, path, _, mark = place
        for name, status in files:
            if not fits(status.st_mtime_ns):
                self._warn_of_time(join(path, name))
            if status.st_nlink > 1 and self._nascent.follow(
                status.st_dev, kept_inode(status.st_ino), directory, name, *mark
            ):
                continue
            yield name, status.st_size

    def _apply(
        self, plan: Plan, directory: int, path: bytes, descriptor: int, *, stale: bool = False
    ) -> list[bytes]:
        """Write what the plan says but for content; gives the directories to enter."""
        self.counts.unchanged += plan.unchanged
        self.counts.unchanged_bytes += plan.unchanged_bytes
        if plan.gone:
            self._nascent.drop(directory, plan.gone)
        for name, error in plan.failed:
            self._failed_entry(directory, path, name, error)
        entered: dict[bytes, _Directory] = {}
        for name, known in plan.enter:
            number = known.number if known is not None else None
            if number is None:
                number = self._nascent.new_directory()
            in_error = known is not None and known.reason == Reason.ERROR
            self._has_met_stale = self._has_met_stale or in_error
            entered[name] = _Directory(directory, name, number, known, stale or in_error)
        if plan.write:
            rows = [self._row(directory, path, entry, entered, descriptor) for entry in plan.write]
            self._nascent.put(row for row in rows if row is not None)
        if entered and is_too_deep(path):
            self._too_deep(directory, path, entered)
        elif entered:
            self._entered.setdefault(path, {}).update(entered)
            return list(entered)
        return []

    def _row(
        self,
        directory: int,
        path: bytes,
        entry: Entry,
        entered: dict[bytes, _Directory],
        descriptor: int,
    ) -> EntryRow | None:
        """The row of an entry without content; ``None`` when it vanished or cannot be read."""
        target = None
        number = entered[entry.name].number if entry.name in entered else None
        if not fits(entry.status.st_mtime_ns):
            self._warn_of_time(join(path, entry.name) if path else entry.name)
        try:
            if directory == ROOT_DIRECTORY:
                attributes = root_attributes(entry.name)
            else:
                attributes = read_attributes_at(descriptor, entry.name)
            if entry.kind is Kind.SYMLINK:
                target = read_link(descriptor, entry.name)
        except FileNotFoundError:
            self._nascent.drop(directory, [entry.name])
            # Without a row, what another one of that name holds could not be found.
            entered.pop(entry.name, None)
            return None
        except OSError as error:
            if number is None or entry.known is not None:
                self._failed_entry(directory, path, entry.name, error)
                return None
            # What is in a directory needs its row, though its attributes cannot be read.
            self._failed(join(path, entry.name) if path else entry.name, error)
            attributes = NONE
            entry = entry._replace(mark=Mark(Reason.ERROR, self._nascent.sequence))
        return row_of(directory, entry, number, attributes, target)

    # What is left out

    def _is_left_out(self, listing: Listing, walk: Walk) -> bool:
        """By identity, or as the kernel's: but for a root that itself lies there, as was asked."""
        if listing.descriptor < 0:
            return False
        status = os.fstat(listing.descriptor)
        if identity_of(status) in self._settings.left_out:
            return True
        return status.st_dev in self._kernel_devices and status.st_dev != walk.root_status.st_dev

    def _leave_out(self, directory: _Directory) -> None:
        """Store a directory without what is in it, and say so."""
        known, since = directory.known, self._nascent.sequence
        if known is not None and known.reason == Reason.SKIPPED:
            since = known.since
        self._nascent.drop(directory.number, self._nascent.known(directory.number))
        self._nascent.set_reason(directory.parent, directory.name, Reason.SKIPPED, since)

    def _is_cache(self, listing: Listing) -> bool:
        return (
            self._settings.skip_cache_directories
            and (not listing.last or CACHE_TAG_NAME in listing.names)
            and is_cache_directory(listing.descriptor)
        )

    def _keep_tag(self, listing: Listing, directory: _Directory) -> Iterator[Batch]:
        """Store a cache directory with its tag only."""
        known = directory.known
        inside = self._nascent.known(directory.number)
        if known is not None and known.reason == Reason.SKIPPED:
            since = known.since
        else:
            since = self._nascent.sequence
            if not self._first or inside.keys() - {CACHE_TAG_NAME}:
                self._warn(
                    f"{printable(listing.path)}: a new CACHEDIR.TAG: its files are no longer "
                    f"backed up. If you did not expect that, look who put it there"
                )
        self._nascent.set_reason(directory.parent, directory.name, Reason.SKIPPED, since)
        try:
            status = os.stat(CACHE_TAG_NAME, dir_fd=listing.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return
        plan = plan_directory(
            [CACHE_TAG_NAME],
            [status],
            inside,
            self._nascent.sequence,
            full=self._settings.full,
            again=self._nascent.to_read_again(directory.number, [CACHE_TAG_NAME]),
            meanwhile=self._meanwhile,
        )
        self.counts.entries += 1
        self._apply(plan, directory.number, listing.path, listing.descriptor)
        yield from self._read(plan, directory.number, listing)

    # What cannot be read

    def _too_deep(self, directory: int, path: bytes, names: Collection[bytes]) -> None:
        for name in names:
            self._nascent.mark_error(directory, name)
        self._warn(
            f"{printable(path[:_SHOWN_BYTES])}…: {len(names)} directories in it lie too deep (more "
            f"than {DEPTH_MAX} directories, or {PATH_BYTES_MAX} bytes of path): what is in them is "
            f"not backed up. Move them up, or remove them"
        )

    def _failed_directory(self, listing: Listing, directory: _Directory) -> None:
        if isinstance(listing.error, FileNotFoundError):
            self._nascent.drop(directory.parent, [directory.name])
            return
        self._nascent.mark_error(directory.parent, directory.name)
        self._failed(listing.path, listing.error)

    def _failed_entry(self, directory: int, path: bytes, name: bytes, error: OSError) -> None:
        if not self._nascent.mark_error(directory, name):
            self._nascent.put([error_row(directory, name, self._nascent.sequence)])
        self._failed(join(path, name) if path else name, error)

    def _warn_of_time(self, path: bytes) -> None:
        self._warn(
            f"{printable(path)}: its modification time is not within the years 1678 to 2261, and "
            f"is stored as the nearest that can be. Set another, if it matters (touch -h)"
        )

    def _failed(self, path: bytes, error: OSError | None) -> None:
        why = error.strerror if error is not None else "unknown error"
        self._warn(f"{printable(path)}: cannot be read: {why}")


def root_attributes(path: bytes) -> Attributes:
    """The extended attributes of a root, which has no directory above it."""
    descriptor = open_directory(path)
    try:
        return read_attributes(descriptor)
    finally:
        os.close(descriptor)
